"""What several commands of the evaluation share: options, controls by their files, settings and figures written."""

import argparse
import datetime
import json
import os
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from cnxs import text
from cnxs.checkpoints import native
from cnxs.devices import choose_device
from cnxs.errors import InputError
from cnxs.evaluation.bench import Bench
from cnxs.miniature import ASSETS
from cnxs.miniature.cases import COUNT
from cnxs.model import ControlNetXS

CONTROLS = ASSETS / "controls"
_SETTINGS = ("cases", "steps", "threads")


def find_controls(paths: Sequence[Path], *, conditions: Sequence[str] = ("canny", "scribble")) -> list[Path]:
    """Return the control files among `paths`, folders opened, of these conditions and in their order.

    Raises:
        InputError: `evaluation_no_control` if there are none.
    """
    files = [file for path in paths for file in (sorted(path.glob("*.safetensors")) if path.is_dir() else [path])]
    found = [file for file in files if native.read_spec(file).condition in conditions]
    if not found:
        raise InputError("evaluation_no_control", given=", ".join(map(str, paths)), allowed=", ".join(conditions))
    return sorted(found, key=lambda file: conditions.index(native.read_spec(file).condition))


def load_controls(bench: Bench, files: Sequence[Path]) -> dict[str, ControlNetXS]:
    """Return controls that fit the bench, by the file's name, with its folder's where two have one name.

    Raises:
        CheckpointError: as `load_control`.
    """
    stems = [file.stem for file in files]
    controls = {
        file.stem if stems.count(file.stem) == 1 else f"{file.parent.name}/{file.stem}": load_control(bench, file)
        for file in files
    }
    return controls


def load_control(bench: Bench, file: Path) -> ControlNetXS:
    """Return a control on the bench's device.

    Raises:
        CheckpointError: if it does not fit the bench.
    """
    control = native.load(file)
    bench.check(control)
    return control.to(bench.device)


def add_sampling(parser: argparse.ArgumentParser, *, cases: int = COUNT) -> None:
    """Add the options that every command with samples has."""
    for name, default in zip(_SETTINGS, (cases, 20, 1), strict=True):
        help_text = text.get(f"cli.evaluation_{name}")
        parser.add_argument(f"--{name}", type=int, default=default, metavar="N", help=help_text)
    add_device(parser)


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add the option for where networks run."""
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help=text.get("cli.evaluation_device"))


def add_controls(parser: argparse.ArgumentParser) -> None:
    """Add the option for the controls that are measured."""
    parser.add_argument(
        "--controls", type=Path, nargs="+", default=[CONTROLS], metavar="PATH", help=text.get("cli.evaluation_controls")
    )


def add_sheet(parser: argparse.ArgumentParser) -> None:
    """Add the option for the contact sheet."""
    parser.add_argument("--sheet", type=Path, metavar="PNG", help=text.get("cli.evaluation_sheet"))


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add the option for the figures."""
    parser.add_argument("--json", type=Path, metavar="FILE", help=text.get("cli.evaluation_json"))


def open_bench(options: argparse.Namespace) -> Bench:
    """Return the bench of a command's settings.

    Raises:
        InputError: `out_of_range`.
        UnavailableError: `device_not_here`.
    """
    in_range("--cases", options.cases, minimum=2, maximum=COUNT)
    in_range("--steps", options.steps, minimum=1, maximum=1000)
    torch.set_num_threads(max(1, options.threads))
    return Bench(steps=options.steps, device=choose_device(options.device))


def in_range(name: str, given: int, *, minimum: int, maximum: int) -> None:
    """Check a number of the command line.

    Raises:
        InputError: `out_of_range`.
    """
    if not minimum <= given <= maximum:
        raise InputError("out_of_range", name=name, given=given, minimum=minimum, maximum=maximum)


def settings_line(options: argparse.Namespace) -> str:
    """Return the settings in words."""
    return text.get("cli.evaluation_settings", **settings(options))


def settings(options: argparse.Namespace) -> dict[str, Any]:
    """Return the settings by name."""
    return {name: getattr(options, name) for name in _SETTINGS}


def write_json(options: argparse.Namespace, results: Sequence[Mapping[str, Any]], **more: Any) -> None:
    """Write settings, where the figures come from, `more` and the figures where --json says."""
    if options.json is None:
        return
    options.json.parent.mkdir(parents=True, exist_ok=True)
    content = {**settings(options), "provenance": provenance(), **more, "results": results}
    options.json.write_text(json.dumps(content, indent=1) + "\n", "utf-8")


def write_sheet(options: argparse.Namespace, draw: Callable[[], Image.Image]) -> None:
    """Draw the contact sheet and write it where --sheet says."""
    if options.sheet is None:
        return
    options.sheet.parent.mkdir(parents=True, exist_ok=True)
    draw().save(options.sheet, optimize=True)


def provenance() -> dict[str, str]:
    """Return the command without the folders of this machine, the date, and the machine in general words.

    Where a command measured on a GPU, its figures say so themselves.
    """
    words = [Path(word).name if Path(word).is_absolute() else word for word in sys.argv[1:]]
    system = f"{platform.machine()}, {os.cpu_count()} processor cores, PyTorch {torch.__version__}, float32"
    return {
        "command": " ".join(["python -m cnxs.evaluation", *words]),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": system,
    }


def report(line: str) -> None:
    """Print a line of progress."""
    print(line, file=sys.stderr, flush=True)
