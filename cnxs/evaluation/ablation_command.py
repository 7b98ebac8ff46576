"""`python -m cnxs.evaluation ablation`: train and measure row by row, each in a process of its own."""

import argparse
import dataclasses
import multiprocessing
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, get_args

from cnxs import text
from cnxs.devices import choose_device
from cnxs.errors import InputError
from cnxs.evaluation.ablation import Result, Task, run_reference, run_row
from cnxs.evaluation.ablation_report import budget_line, table, write
from cnxs.evaluation.measure import Budget
from cnxs.evaluation.options import add_device
from cnxs.evaluation.rows import find_rows
from cnxs.evaluation.speeds import run_speeds
from cnxs.miniature.cases import COUNT
from cnxs.training.config import Precision
from cnxs.training.stopping import stopping


def add_command(commands: Any) -> None:
    """Add the command to those of `cnxs.evaluation`."""
    parser = commands.add_parser("ablation", help=text.get("cli.ablation"), description=text.get("cli.ablation_about"))
    add = parser.add_argument
    add("--pools", type=Path, nargs="+", required=True, metavar="FOLDER", help=text.get("cli.ablation_pools"))
    add("--output", type=Path, required=True, metavar="FOLDER", help=text.get("cli.ablation_output"))
    add("--rows", nargs="+", metavar="ROW", help=text.get("cli.ablation_rows"))
    add("--widths", action="store_true", help=text.get("cli.ablation_widths"))
    add("--images", type=int, metavar="N", help=text.get("cli.ablation_images"))
    add("--budget-minutes", type=float, metavar="M", help=text.get("cli.ablation_minutes"))
    for name, default in (
        ("batch_size", 24),
        ("seed", 0),
        ("held_out", 256),
        ("cases", COUNT),
        ("steps", 20),
        ("threads", 1),
    ):
        option = f"--{name.replace('_', '-')}"
        add(option, type=int, default=default, metavar="N", help=text.get(f"cli.ablation_{name}"))
    add("--precision", choices=get_args(Precision), default="no", help=text.get("cli.ablation_precision"))
    add_device(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the rows that are not finished, then print and write what all asked rows came to.

    Raises:
        InputError: `out_of_range`, `ablation_budget`, `ablation_row`, `ablation_differs`.
        UnavailableError: `device_not_here`.
    """
    device = choose_device(options.device)
    if not 3 <= options.cases <= COUNT:
        raise InputError("out_of_range", name="--cases", given=options.cases, minimum=3, maximum=COUNT)
    shared = ("images", "batch_size", "seed", "held_out", "cases", "steps", "threads", "precision")
    budget = Budget(minutes=options.budget_minutes, **{name: getattr(options, name) for name in shared})
    budget.check()
    rows = find_rows(options.rows, widths=options.widths)
    same = {"budget": budget, "pools": tuple(options.pools), "device": options.device}
    tasks = [Task(row=row, folder=options.output / row.name, **same) for row in rows]
    found = {task.row.name: task.finished() for task in tasks}  # another budget is refused before hours are spent
    with stopping() as stop:
        reference = _in_process(run_reference, budget, options.output / "reference", device)
        for task in tasks:
            if found[task.row.name] is None and not stop.is_set():
                found[task.row.name] = _in_process(_row, task)
    results = [result for result in found.values() if result is not None]
    if len(results) == len(tasks):
        speeds = _in_process(run_speeds, tasks, options.output)
        results = [dataclasses.replace(result, speed=speeds[result.row]) for result in results]
    if results:
        options.output.mkdir(parents=True, exist_ok=True)
        write(results, reference, options.output)
        print(f"{budget_line(results[0])}\n\n{table(results, reference)}")
    if len(results) < len(tasks):
        print(text.get("cli.ablation_stopped", done=len(results), rows=len(tasks)), file=sys.stderr)
    return 0


def _row(task: Task) -> Result | None:
    with stopping() as stop:
        return run_row(task, stop, report=_report)


def _in_process(call: Callable[..., Any], *given: Any) -> Any:
    """Call in a process of its own: so its peak of memory is its own, and all of it is freed after it."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(call, *given).result()


def _report(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
