"""`python -m cnxs.evaluation connections`: where a control acts."""

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cnxs import text
from cnxs.evaluation import options as shared
from cnxs.evaluation.connections import measure_connections
from cnxs.evaluation.plot import effects_plot
from cnxs.evaluation.subjects import edge_subjects, line_subjects
from cnxs.evaluation.tables import effects_table


def add_command(commands: Any) -> None:
    """Add the command to those of `cnxs.evaluation`."""
    parser = commands.add_parser("connections", help=text.get("cli.evaluation_connections"))
    about = text.get("cli.evaluation_control")
    parser.add_argument("--control", type=Path, default=shared.CONTROLS, metavar="FILE", help=about)
    parser.add_argument("--plot", type=Path, metavar="PNG", help=text.get("cli.evaluation_plot"))
    shared.add_sampling(parser, cases=8)
    shared.add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Switch off each part of a control in turn, and print what changes."""
    bench = shared.open_bench(options)
    file = shared.find_controls([options.control])[0]
    control = shared.load_control(bench, file)
    subjects = edge_subjects(options.cases) if control.spec.condition == "canny" else line_subjects(options.cases)
    print(shared.settings_line(options), flush=True)
    effects = measure_connections(bench, subjects, control, report=shared.report)
    print(f"\n{text.get('cli.evaluation_connections_title', network=file.stem)}\n\n{effects_table(effects)}")
    shared.write_json(options, [asdict(effect) for effect in effects], network=file.stem)
    if options.plot:
        options.plot.parent.mkdir(parents=True, exist_ok=True)
        effects_plot(effects).save(options.plot, optimize=True)
    return 0
