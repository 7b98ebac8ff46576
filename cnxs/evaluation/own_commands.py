"""`python -m cnxs.evaluation colours`, `depths` and `together`: controls by their own measures, alone and in pairs."""

import argparse
import functools
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cnxs import text
from cnxs.errors import InputError
from cnxs.evaluation import options as shared
from cnxs.evaluation.bench import Subject
from cnxs.evaluation.own import Keeping, keep
from cnxs.evaluation.pair_sheet import pair_sheet
from cnxs.evaluation.sheet import Section, contact_sheet
from cnxs.evaluation.subjects import case_pictures, colour_subjects, depth_subjects
from cnxs.evaluation.tables import keeping_table
from cnxs.evaluation.together import SUBJECTS, measure_together, pair_tables, partner

SHOWN = 12  # subjects on the sheet
PAIR = [shared.CONTROLS / "canny.safetensors", shared.CONTROLS / "colour.safetensors"]

# Command -> condition of its controls, and what is followed.
COMMANDS: dict[str, tuple[str, Callable[[int], Sequence[Subject]]]] = {
    "colours": ("colour", colour_subjects),
    "depths": ("depth", depth_subjects),
}


def add_commands(commands: Any) -> None:
    """Add the commands to those of `cnxs.evaluation`."""
    for name in COMMANDS:
        parser = commands.add_parser(name, help=text.get(f"cli.evaluation_{name}"))
        shared.add_controls(parser)
        shared.add_sheet(parser)
        shared.add_sampling(parser)
        shared.add_json(parser)
        parser.set_defaults(run=functools.partial(run, name))
    pair = commands.add_parser("together", help=text.get("cli.evaluation_together"))
    names = text.get("cli.evaluation_together_controls")
    pair.add_argument("--controls", type=Path, nargs=2, default=PAIR, metavar="FILE", help=names)
    shared.add_sheet(pair)
    shared.add_sampling(pair, cases=24)
    shared.add_json(pair)
    pair.set_defaults(run=run_together)


def run(name: str, options: argparse.Namespace) -> int:
    """Measure every control of the command's condition at every strength."""
    bench = shared.open_bench(options)
    condition, subjects_of = COMMANDS[name]
    controls = shared.load_controls(bench, shared.find_controls(options.controls, conditions=[condition]))
    subjects, references = subjects_of(options.cases), case_pictures(options.cases)
    print(shared.settings_line(options), flush=True)
    sections = []
    for network, control in controls.items():
        kept = keep(bench, subjects, control, network=network, references=references, report=shared.report)
        sections.append(Section(subjects, kept))
        print(f"\n{text.get(f'cli.evaluation_{name}_title', network=network)}\n\n{keeping_table(kept)}", flush=True)
    shared.write_json(options, [_record(section.followed) for section in sections])
    shared.write_sheet(options, lambda: contact_sheet(sections, rows=SHOWN))
    return 0


def run_together(options: argparse.Namespace) -> int:
    """Measure two controls at once, each at several strengths.

    Raises:
        InputError: `evaluation_no_control` if a file is not there.
    """
    for file in options.controls:
        if not file.is_file():
            raise InputError("evaluation_no_control", given=file, allowed=", ".join(SUBJECTS))
    bench = shared.open_bench(options)
    loaded = shared.load_controls(bench, options.controls)
    if len(loaded) < 2:
        raise InputError("evaluation_one_control", given=options.controls[0])
    first, second = (partner(network, control, count=options.cases) for network, control in loaded.items())
    print(shared.settings_line(options), flush=True)
    pair = measure_together(bench, (first, second), report=shared.report)
    print(f"\n{pair_tables(pair)}")
    shared.write_json(options, [pair.record()])
    shared.write_sheet(options, lambda: pair_sheet(pair))
    return 0


def _record(kept: Keeping) -> dict[str, Any]:
    return {
        "network": kept.network,
        "measure": kept.measure.name,
        "rows": [asdict(level) for level in kept.levels],
        "ceiling": kept.ceiling,
    }
