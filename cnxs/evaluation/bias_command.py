"""`python -m cnxs.evaluation bias`: do style and background of the prompt survive under control, by its size?"""

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from PIL import Image

from cnxs import text
from cnxs.evaluation import options as shared
from cnxs.evaluation.bias import LEAST_ACCURACY, Row, judge, measure_bias
from cnxs.evaluation.charts import Series, line_chart, stacked
from cnxs.evaluation.styles import learn, read_pools
from cnxs.evaluation.tables import markdown
from cnxs.miniature.cases import COUNT, load_cases


def add_command(commands: Any) -> None:
    """Add the command to those of `cnxs.evaluation`."""
    parser = commands.add_parser("bias", help=text.get("cli.bias"), description=text.get("cli.bias_about"))
    add = parser.add_argument
    add("--pools", type=Path, nargs="+", required=True, metavar="FOLDER", help=text.get("cli.ablation_pools"))
    controls = text.get("cli.evaluation_controls")
    add("--controls", type=Path, nargs="+", default=[shared.CONTROLS], metavar="PATH", help=controls)
    add("--learn-steps", type=int, default=4000, metavar="N", help=text.get("cli.bias_learn_steps"))
    add("--judge-cases", type=int, default=COUNT, metavar="N", help=text.get("cli.bias_judge_cases"))
    add("--seed", type=int, default=0, metavar="N", help=text.get("cli.bias_seed"))
    add("--plot", type=Path, metavar="PNG", help=text.get("cli.evaluation_plot"))
    shared.add_sampling(parser)
    shared.add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Teach the judge, sample, and print the table.

    Raises:
        InputError: `out_of_range`, `pool_missing`, `bias_no_samples`, `bias_too_few`, `evaluation_no_control`.
    """
    shared.in_range("--learn-steps", options.learn_steps, minimum=2, maximum=100_000)
    shared.in_range("--judge-cases", options.judge_cases, minimum=1, maximum=COUNT)
    bench = shared.open_bench(options)
    files = shared.find_controls(options.controls, conditions=["canny"])
    # The ablation names the folder by its row and the file in it always `control`.
    controls = {name.removesuffix("/control"): found for name, found in shared.load_controls(bench, files).items()}
    net = learn(read_pools(options.pools), steps=options.learn_steps, seed=options.seed, report=shared.report)
    found = judge(bench, net, load_cases()[: options.judge_cases])
    accuracies = {"style_accuracy": found.style_accuracy, "background_accuracy": found.background_accuracy}
    print(f"{shared.settings_line(options)}\n{judge_line(cases=options.cases, **accuracies)}", flush=True)
    rows = measure_bias(bench, controls, found, count=options.cases, report=shared.report)
    print(f"\n{bias_table(rows)}")
    shared.write_json(options, [asdict(row) for row in rows], **accuracies)
    if options.plot:
        options.plot.parent.mkdir(parents=True, exist_ok=True)
        bias_plot(rows).save(options.plot, optimize=True)
    return 0


def judge_line(*, style_accuracy: float, background_accuracy: float, cases: int) -> str:
    """Return how far the judge can be trusted."""
    fields = {
        "style": f"{style_accuracy:.0%}",
        "background": f"{background_accuracy:.0%}",
        "least": f"{LEAST_ACCURACY:.0%}",
        "error": f"{100 * 0.5 / cases**0.5:.0f}",
    }
    return text.get("cli.bias_judge" if style_accuracy >= LEAST_ACCURACY else "cli.bias_judge_untrusted", **fields)


def bias_table(rows: Sequence[Row]) -> str:
    """Return the rows as Markdown, differences to no control in brackets."""
    plain = rows[0]
    cells = [
        [
            row.network or text.get("cli.ablation_plain"),
            f"{row.share:.1%}" if row.network else "",
            f"{row.strength:g}",
            text.get(f"cli.bias_maps_{row.maps}"),
            f"{row.f:.3f}",
            _share(row.style, plain.style, first=row is plain),
            _share(row.background, plain.background, first=row is plain),
        ]
        for row in rows
    ]
    return markdown(text.get("cli.bias_columns"), cells)


def _share(value: float | None, plain: float | None, *, first: bool) -> str:
    if value is None or plain is None:
        return "-"
    return f"{value:.0%}" if first else f"{value:.0%} ({100 * (value - plain):+.0f})"


def bias_plot(rows: Sequence[Row]) -> Image.Image:
    """Return what survives at strength 1 over the control's share of the base, in percent."""
    charts = []
    for name in ("style", "background"):
        series = []
        for maps in ("own", "contrary"):
            full = sorted((row for row in rows if row.maps == maps and row.strength == 1), key=lambda row: row.share)
            points = [(100 * row.share, 100 * value) for row in full if (value := getattr(row, name)) is not None]
            if points:
                series.append(Series(text.get(f"cli.bias_maps_{maps}"), points))
        if series:
            label = text.get("cli.ablation_widths_share")
            title = text.get(f"cli.bias_plot_{name}")
            charts.append(line_chart(series, title=title, x_label=label, logarithmic=True))
    return stacked(charts)
