"""`python -m cnxs.evaluation results`: all measurements of the results page in one command, and the page itself."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from cnxs import text
from cnxs.errors import InputError
from cnxs.evaluation import ablation_command, bias_command, connections_command
from cnxs.evaluation.options import add_device
from cnxs.evaluation.results_page import write_page
from cnxs.evaluation.rows import PEERS, WIDTHS
from cnxs.miniature import ASSETS
from cnxs.miniature.cases import COUNT
from cnxs.training.config import Precision

PAGE = ASSETS.parent / "results"


def add_command(commands: Any) -> None:
    """Add the command to those of `cnxs.evaluation`."""
    parser = commands.add_parser("results", help=text.get("cli.results"), description=text.get("cli.results_about"))
    add = parser.add_argument
    add("--pools", type=Path, nargs="+", default=[], metavar="FOLDER", help=text.get("cli.ablation_pools"))
    add("--output", type=Path, required=True, metavar="FOLDER", help=text.get("cli.ablation_output"))
    add("--page", type=Path, default=PAGE, metavar="FOLDER", help=text.get("cli.results_page"))
    add("--page-only", action="store_true", help=text.get("cli.results_page_only"))
    add("--budget-minutes", type=float, metavar="M", help=text.get("cli.ablation_minutes"))
    add("--images", type=int, metavar="N", help=text.get("cli.ablation_images"))
    add("--learn-steps", type=int, default=4000, metavar="N", help=text.get("cli.bias_learn_steps"))
    for name, default in (("batch_size", 24), ("held_out", 256), ("cases", COUNT), ("steps", 20), ("threads", 1)):
        help_text = text.get(f"cli.ablation_{name}")
        add(f"--{name.replace('_', '-')}", type=int, default=default, metavar="N", help=help_text)
    add("--precision", choices=get_args(Precision), default="no", help=text.get("cli.ablation_precision"))
    add_device(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Measure what is not measured yet, then write the page.

    Raises:
        InputError: `results_no_pools`, and those of the parts.
    """
    if not options.page_only:
        if not options.pools:
            raise InputError("results_no_pools")
        _measure(options)
    write_page(options.output, options.page)
    print(text.get("cli.results_written", file=options.page / "README.md"))
    return 0


def _measure(options: argparse.Namespace) -> None:
    output, ablation = options.output, options.output / "ablation"
    pools = ["--pools", *options.pools]
    same = ["--steps", options.steps, "--threads", options.threads, "--device", options.device]
    length = ["--budget-minutes", options.budget_minutes] if options.budget_minutes else []
    length += ["--images", options.images] if options.images else []
    data = [
        "--precision",
        options.precision,
        "--batch-size",
        options.batch_size,
        "--held-out",
        options.held_out,
        "--cases",
        options.cases,
    ]
    _call("ablation", [*pools, "--output", ablation, "--widths", *length, *data, *same])
    files = [ablation / row.name / "control.safetensors" for row in (*PEERS, *WIDTHS) if row.name.startswith("b")]
    controls = [file for file in files if file.is_file()]
    if not (output / "bias.json").is_file() and len(controls) == len(files):
        written = ["--json", output / "bias.json", "--plot", output / "bias.png"]
        taught = ["--learn-steps", options.learn_steps, "--cases", options.cases]
        _call("bias", [*pools, "--controls", *controls, *taught, *same, *written])
    if not (output / "connections.json").is_file():
        written = ["--json", output / "connections.json", "--plot", output / "connections.png"]
        _call("connections", ["--cases", min(8, options.cases), *same, *written])


def _call(name: str, given: Sequence[object]) -> None:
    """Run another command of `cnxs.evaluation` with these words."""
    commands = argparse.ArgumentParser().add_subparsers()
    for module in (ablation_command, bias_command, connections_command):
        module.add_command(commands)
    options = commands.choices[name].parse_args([str(word) for word in given])
    options.run(options)
