"""Command line of the measurements.

python -m cnxs.evaluation edges --sheet edges.png
python -m cnxs.evaluation colours --sheet colours.png
python -m cnxs.evaluation depths --sheet depths.png
python -m cnxs.evaluation together --sheet together.png
python -m cnxs.evaluation connections --plot connections.png
python -m cnxs.evaluation bias --pools work/pool
python -m cnxs.evaluation delay
python -m cnxs.evaluation coco --images val2017 --captions captions_val2017.json --out coco
python -m cnxs.evaluation results --pools work/pools --output work/results --budget-minutes 25
python -m cnxs.evaluation ablation --pools work/pool --output work/ablation --images 24000
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict

from cnxs import text
from cnxs.errors import UserError
from cnxs.evaluation import ablation_command, bias_command, coco, connections_command, own_commands, results_command
from cnxs.evaluation import options as shared
from cnxs.evaluation.bench import Bench
from cnxs.evaluation.delay import mean_delays, miniature_unet, probe_types, stable_diffusion_unet
from cnxs.evaluation.following import EDGE_TOLERANCE, LINE_TOLERANCE, Following, follow
from cnxs.evaluation.sheet import Section, contact_sheet
from cnxs.evaluation.subjects import case_pictures, drawing_subjects, edge_subjects, line_subjects
from cnxs.evaluation.tables import delays_table, edges_table, lines_table
from cnxs.model import ControlNetXS

SHOWN = 12  # subjects of each section of the sheet, and drawings


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return 0, or 2 after a sentence on what is wrong."""
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2


def _edges(options: argparse.Namespace) -> int:
    bench = shared.open_bench(options)
    controls = shared.load_controls(bench, shared.find_controls(options.controls))
    sections: list[Section[Following]] = []
    print(shared.settings_line(options), flush=True)
    for name, control in controls.items():
        own = _follow_edges if control.spec.condition == "canny" else _follow_lines
        sections.append(own(bench, control, name, options.cases))
        print(_shown(sections[-1].followed), flush=True)
    # The last network is the one for lines where there is one.
    name, control = list(controls.items())[-1]
    sections.append(_follow_drawings(bench, control, name, min(options.cases, SHOWN)))
    print(_shown(sections[-1].followed), flush=True)
    shared.write_json(options, [_record(section.followed) for section in sections])
    shared.write_sheet(options, lambda: contact_sheet(sections, rows=SHOWN))
    return 0


def _follow_edges(bench: Bench, control: ControlNetXS, network: str, count: int) -> Section[Following]:
    subjects = edge_subjects(count)
    following = follow(
        bench,
        subjects,
        control,
        network=network,
        kind="cases",
        tolerance=EDGE_TOLERANCE,
        references=case_pictures(count),
        report=shared.report,
    )
    return Section(subjects, following)


def _follow_lines(bench: Bench, control: ControlNetXS, network: str, count: int) -> Section[Following]:
    subjects = line_subjects(count)
    following = follow(
        bench,
        subjects,
        control,
        network=network,
        kind="line_maps",
        strengths=(0.0, 1.0),
        tolerance=LINE_TOLERANCE,
        report=shared.report,
    )
    return Section(subjects, following)


def _follow_drawings(bench: Bench, control: ControlNetXS, network: str, count: int) -> Section[Following]:
    subjects = drawing_subjects(count, condition=control.spec.condition)
    following = follow(
        bench, subjects, control, network=network, kind="drawings", tolerance=LINE_TOLERANCE, report=shared.report
    )
    return Section(subjects, following)


def _delay(options: argparse.Namespace) -> int:
    base = miniature_unet if options.base == "miniature" else stable_diffusion_unet
    probed = probe_types(base())
    print(f"{text.get('cli.evaluation_delay_title', base=options.base)}\n\n{delays_table(probed)}")
    if options.json:
        stages = ("encoder", "middle", "decoder")
        means = {name: {stage: mean_delays(signals, stage) for stage in stages} for name, signals in probed.items()}
        options.json.write_text(json.dumps(means, indent=1) + "\n", "utf-8")
    return 0


def _shown(following: Following) -> str:
    title = text.get(
        f"cli.evaluation_follow_{following.subjects}", network=following.network, tolerance=f"{following.tolerance:g}"
    )
    table = edges_table(following) if following.ceiling else lines_table(following)
    return f"\n{title}\n\n{table}"


def _record(following: Following) -> dict[str, object]:
    return {
        "network": following.network,
        "subjects": following.subjects,
        "tolerance": following.tolerance,
        "rows": [asdict(row) for row in following.rows],
        "ceiling": asdict(following.ceiling) if following.ceiling else None,
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m cnxs.evaluation", description=text.get("cli.evaluation"))
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    edges = commands.add_parser("edges", help=text.get("cli.evaluation_edges"))
    delay = commands.add_parser("delay", help=text.get("cli.evaluation_delay"))
    shared.add_controls(edges)
    shared.add_sheet(edges)
    shared.add_sampling(edges)
    delay.add_argument("--base", choices=("sd21", "miniature"), default="sd21", help=text.get("cli.evaluation_base"))
    pictures = commands.add_parser("coco", help=text.get("cli.coco"))
    coco.add_command(pictures)
    for command, run in ((edges, _edges), (delay, _delay), (pictures, coco.run)):
        shared.add_json(command)
        command.set_defaults(run=run)
    own_commands.add_commands(commands)
    for module in (connections_command, bias_command, ablation_command, results_command):
        module.add_command(commands)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
