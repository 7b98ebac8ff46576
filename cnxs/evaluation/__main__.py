"""Command line of the measurements.

python -m cnxs.evaluation edges --sheet edges.png
python -m cnxs.evaluation colours --sheet colours.png
python -m cnxs.evaluation depths --sheet depths.png
python -m cnxs.evaluation together --sheet together.png
python -m cnxs.evaluation connections --plot connections.png
python -m cnxs.evaluation delay
python -m cnxs.evaluation coco --images val2017 --captions captions_val2017.json --out coco
python -m cnxs.evaluation ablation --pools work/pool --output work/ablation --images 24000
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from cnxs import text
from cnxs.checkpoints import native
from cnxs.errors import UserError
from cnxs.evaluation import ablation_command, coco, own_commands
from cnxs.evaluation import options as shared
from cnxs.evaluation.bench import Bench
from cnxs.evaluation.connections import measure_connections
from cnxs.evaluation.delay import mean_delays, miniature_unet, probe_types, stable_diffusion_unet
from cnxs.evaluation.following import EDGE_TOLERANCE, LINE_TOLERANCE, Following, follow
from cnxs.evaluation.plot import effects_plot
from cnxs.evaluation.sheet import Section, contact_sheet
from cnxs.evaluation.subjects import case_pictures, drawing_subjects, edge_subjects, line_subjects
from cnxs.evaluation.tables import delays_table, edges_table, effects_table, lines_table
from cnxs.miniature.cases import COUNT
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
    if options.sheet:
        options.sheet.parent.mkdir(parents=True, exist_ok=True)
        contact_sheet(sections, rows=SHOWN).save(options.sheet, optimize=True)
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


def _connections(options: argparse.Namespace) -> int:
    bench = shared.open_bench(options)
    file = shared.find_controls([options.control])[0]
    control = native.load(file)
    bench.check(control)
    subjects = edge_subjects(options.cases) if control.spec.condition == "canny" else line_subjects(options.cases)
    print(shared.settings_line(options), flush=True)
    effects = measure_connections(bench, subjects, control, report=shared.report)
    print(f"\n{text.get('cli.evaluation_connections_title', network=file.stem)}\n\n{effects_table(effects)}")
    shared.write_json(options, [asdict(effect) for effect in effects])
    if options.plot:
        options.plot.parent.mkdir(parents=True, exist_ok=True)
        effects_plot(effects).save(options.plot, optimize=True)
    return 0


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
    connections = commands.add_parser("connections", help=text.get("cli.evaluation_connections"))
    delay = commands.add_parser("delay", help=text.get("cli.evaluation_delay"))
    edges.add_argument(
        "--controls",
        type=Path,
        nargs="+",
        default=[shared.CONTROLS],
        metavar="PATH",
        help=text.get("cli.evaluation_controls"),
    )
    edges.add_argument("--sheet", type=Path, metavar="PNG", help=text.get("cli.evaluation_sheet"))
    connections.add_argument(
        "--control", type=Path, default=shared.CONTROLS, metavar="FILE", help=text.get("cli.evaluation_control")
    )
    connections.add_argument("--plot", type=Path, metavar="PNG", help=text.get("cli.evaluation_plot"))
    for command, cases in ((edges, COUNT), (connections, 8)):
        shared.add_sampling(command, cases=cases)
    delay.add_argument("--base", choices=("sd21", "miniature"), default="sd21", help=text.get("cli.evaluation_base"))
    pictures = commands.add_parser("coco", help=text.get("cli.coco"))
    coco.add_command(pictures)
    for command, run in ((edges, _edges), (connections, _connections), (delay, _delay), (pictures, coco.run)):
        shared.add_json(command)
        command.set_defaults(run=run)
    own_commands.add_commands(commands)
    ablation_command.add_command(commands)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
