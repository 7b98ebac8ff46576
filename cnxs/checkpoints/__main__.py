"""Command line: convert a control between formats, or say what a file holds.

python -m cnxs.checkpoints convert sd21_encD_canny_14m.ckpt canny.safetensors
python -m cnxs.checkpoints convert canny.safetensors adapter/
python -m cnxs.checkpoints info sd21_encD_canny_14m.ckpt
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cnxs import text
from cnxs.checkpoints import diffusers_adapter, native
from cnxs.checkpoints.families import FAMILIES, Note
from cnxs.checkpoints.loading import Loaded, load_control
from cnxs.errors import CheckpointError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return 0, or 1 after a sentence on what is wrong."""
    options = _parser().parse_args(arguments)
    given = {
        name: getattr(options, name) for name in ("base_family", "num_heads", "head_channels", "condition", "licence")
    }
    try:
        loaded = load_control(
            options.source, overrides={name: value for name, value in given.items() if value is not None}
        )
        notes = list(loaded.notes)
        if options.command == "convert":
            notes += convert(loaded, options.target)
            print(text.get("cli.checkpoints_written", target=options.target))
        else:
            print(describe(loaded))
    except CheckpointError as error:
        print(error.sentence(), file=sys.stderr)
        return 1
    for key, fields in notes:
        print(text.get(f"note.{key}", "en", **fields))
    return 0


def convert(loaded: Loaded, target: Path) -> list[Note]:
    """Write a control in the precision of its file: our format to a .safetensors file, diffusers' to a folder.

    Raises:
        CheckpointError: if the target's name says neither, or diffusers cannot express the control.
    """
    if target.suffix == ".safetensors":
        native.save(loaded.control, target, dtype=loaded.dtype)
        return []
    if target.suffix and not target.is_dir():
        raise CheckpointError("convert_target", target=target.name)
    return diffusers_adapter.save(loaded.control, target, dtype=loaded.dtype)


def describe(loaded: Loaded) -> str:
    """Return what a control is, line by line."""
    spec = loaded.control.spec
    facts: dict[str, Any] = {
        "format": loaded.format,
        "control_type": spec.control_type,
        "base_family": spec.base_family,
        "condition": spec.condition,
        "parameters": f"{sum(p.numel() for p in loaded.control.parameters()):,}",
        "dtype": str(loaded.dtype).removeprefix("torch."),
        "control_channels": spec.control_channels,
        "base_channels": spec.base_channels,
        "heads": spec.num_heads or f"<= {spec.head_channels} channels",
        "learn_time_embedding": spec.learn_time_embedding,
        "gains": spec.gains or 1,
        "licence": spec.licence or "-",
        **dict(spec.training),
    }
    return "\n".join(f"{name:22}{value}" for name, value in facts.items())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m cnxs.checkpoints", description=text.get("cli.checkpoints_about"))
    commands = parser.add_subparsers(dest="command", required=True)
    convert_command = commands.add_parser("convert", help=text.get("cli.checkpoints_convert"))
    info_command = commands.add_parser("info", help=text.get("cli.checkpoints_info"))
    for command in (convert_command, info_command):
        command.add_argument("source", type=Path, metavar="IN", help=text.get("cli.checkpoints_source"))
        command.add_argument(
            "--family", dest="base_family", choices=sorted(FAMILIES), help=text.get("cli.checkpoints_family")
        )
        heads = command.add_mutually_exclusive_group()
        heads.add_argument("--num-heads", type=int, metavar="N", help=text.get("cli.checkpoints_num_heads"))
        heads.add_argument("--head-channels", type=int, metavar="N", help=text.get("cli.checkpoints_head_channels"))
        command.add_argument("--condition", help=text.get("cli.checkpoints_condition"))
        command.add_argument("--licence", help=text.get("cli.checkpoints_licence"))
    convert_command.add_argument("target", type=Path, metavar="OUT", help=text.get("cli.checkpoints_target"))
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
