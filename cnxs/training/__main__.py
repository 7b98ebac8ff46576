"""Train a control on a frozen base.

    python -m cnxs.training --condition scribble --pool work/pool --minutes 60 --output scribble.safetensors

    python -m cnxs.training --condition canny --images pictures --steps 20000 --output mine.safetensors

The same command goes on where an earlier start stopped; Ctrl+C saves and stops.
"""

import argparse
import logging
import sys
from pathlib import Path
from typing import get_args

import torch
from accelerate import Accelerator

from cnxs import text
from cnxs.devices import peak_bytes
from cnxs.errors import UserError, line_of
from cnxs.registry import MINIATURE
from cnxs.training import cache
from cnxs.training.config import PRESETS, Prediction, TrainingConfig
from cnxs.training.data import PoolData, TrainingData
from cnxs.training.dry_run import estimates
from cnxs.training.folder import Picture, find_pictures, kind_for
from cnxs.training.frozen_base import FrozenBase, find_base, load_base
from cnxs.training.optimizer import check_optimizer
from cnxs.training.stopping import stopping
from cnxs.training.trainer import Trainer


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    options = _parser().parse_args(arguments)
    dry_run, events = options.__dict__.pop("dry_run"), options.__dict__.pop("events")
    try:
        config = config_of(options)
        config.check()
        check_optimizer(config)
        return _train(config, dry_run=dry_run)
    except UserError as error:
        print(line_of(error) if events else error, file=sys.stderr)
        return 2


def config_of(options: argparse.Namespace) -> TrainingConfig:
    """Return the preset of the base's family with the options that were given."""
    given = {name: value for name, value in vars(options).items() if value is not None}
    given["pools"] = tuple(given.get("pools", ()))
    given.setdefault("run", given["output"].with_suffix(".run"))
    return TrainingConfig(**PRESETS[find_base(options.base, options.models).spec.family] | given)


def _train(config: TrainingConfig, *, dry_run: bool) -> int:
    if config.threads:
        torch.set_num_threads(config.threads)
    pictures = [] if config.images is None else find_pictures(config.images, maps=config.maps, caption=config.caption)
    if pictures and config.maps is None:
        kind_for(config.condition)  # refuse a condition that nobody draws before the base is loaded
    accelerator = Accelerator(mixed_precision=config.precision)
    config.check(processes=accelerator.num_processes)
    half = {"no": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[config.precision]
    on_processor = accelerator.device.type == "cpu"
    base = load_base(
        config.base,
        device=accelerator.device,
        dtype=torch.float32 if on_processor else half,
        models=config.models,
        prediction=config.prediction,
    )
    if dry_run:
        _dry_run(config, pictures, base, accelerator)
        return 0
    trainer = Trainer(config, base=base, data=_data(config, pictures, base, accelerator), accelerator=accelerator)
    main = accelerator.is_main_process
    if main:
        print(_description(trainer, base), flush=True)
        trainer.write_config()
    with stopping() as stop:
        for progress in trainer.run(stop):
            if main:
                print(progress.line(), flush=True)
    if main:
        peak = peak_bytes(accelerator.device) / 1e6
        print(text.get("cli.training_peak", device=accelerator.device.type, megabytes=f"{peak:.0f}"))
        print(f"{'finished' if trainer.fraction >= 1 else 'stopped'}: {config.output}", flush=True)
    return 0


def _dry_run(config: TrainingConfig, pictures: list[Picture], base: FrozenBase, accelerator: Accelerator) -> None:
    if pictures:
        megabytes = cache.estimated_bytes(len(pictures), config=config, base=base) / 1e6
        print(f"{len(pictures)} pictures; their samples will take about {megabytes:.0f} MB in {config.run}")
    for line in estimates(config, base, accelerator):
        print(line, flush=True)


def _data(config: TrainingConfig, pictures: list[Picture], base: FrozenBase, accelerator: Accelerator) -> TrainingData:
    if not pictures:
        return PoolData(
            config.pools,
            condition=config.condition,
            encode_captions=base.encode_captions,
            held_out=config.held_out,
            device=accelerator.device,
        )
    folder = cache.cache_folder(config, pictures, base)
    with accelerator.main_process_first():
        cache.fill(folder, pictures, config=config, base=base)
    captions = [picture.caption for picture in pictures]
    return cache.FolderData(folder, captions, base=base, held_out=config.held_out, seed=config.seed)


def _description(trainer: Trainer, base: FrozenBase) -> str:
    parameters = sum(parameter.numel() for parameter in trainer.control.parameters())
    share = parameters / sum(parameter.numel() for parameter in base.unet.parameters())
    samples = sum(map(len, trainer.data.buckets))
    return (
        f"type {trainer.spec.control_type}, widths {trainer.config.widths}: {parameters:,} parameters, "
        f"{share:.1%} of the base; {samples} samples; from step {trainer.step} of "
        f"{trainer.config.steps or '-'} steps, {trainer.config.minutes or '-'} minutes"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m cnxs.training", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add(
        "--base",
        default=MINIATURE.name,
        help="a base model: miniature, sd15, sd21, sdxl, the name of one in --models, a folder, or a single file "
        "(default: %(default)s)",
    )
    add("--models", type=Path, default=Path("models"), help="folder of your models (default: %(default)s)")
    add("--prediction", choices=get_args(Prediction), help="what the base predicts (default: what it shows of itself)")
    add("--condition", required=True, help="what the control follows: canny, scribble, ...")
    add("--pool", dest="pools", type=Path, nargs="+", metavar="FOLDER", help="pools made by `cnxs.miniature pool`")
    add(
        "--images",
        type=Path,
        metavar="FOLDER",
        help="pictures, each with a caption in a .txt beside it, or all in metadata.jsonl",
    )
    add("--maps", type=Path, metavar="FOLDER", help="their control maps, by the same names (default: drawn here)")
    add("--caption", metavar="WORDS", help="for pictures without a caption of their own")
    add("--size", type=int, metavar="PIXELS", help="side of the square whose area pictures get (default: the base's)")
    add("--no-flip", dest="flip", action="store_false", default=None, help="do not train on mirror images")
    add("--output", type=Path, required=True, metavar="FILE", help="the control: a .safetensors file")
    add("--run", type=Path, metavar="FOLDER", help="state, curve and sheets (default: beside the output)")
    add(
        "--init",
        type=Path,
        metavar="FILE",
        help="a control of the same structure to start from; without effect on a run that goes on",
    )
    _add_settings(parser)
    add("--events", action="store_true", help=argparse.SUPPRESS)  # errors as lines of JSON, for the page
    add("--dry-run", action="store_true", help="say what would be trained, and write nothing")
    return parser


def _add_settings(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--minutes", type=float, help="end after so many minutes, earlier starts included")
    add("--steps", type=int, help="end after so many steps")
    add("--type", dest="control_type", choices=["A", "B", "C"], help="type of the paper (default: B)")
    add("--widths", type=_widths, metavar="48,96,96", help="channels of the control, one number per level")
    add("--batch-size", type=int, help="samples of one step")
    add("--accumulation", type=int, help="parts a batch is worked through in, to save memory")
    add(
        "--gradient-checkpointing",
        action="store_true",
        default=None,
        help="compute activations twice instead of keeping them: much less memory, about a third more time",
    )
    add("--optimizer", choices=["adamw", "adamw8bit"], help="adamw8bit: a quarter of its memory; needs bitsandbytes")
    add("--learning-rate", type=float)
    add("--held-out", type=int, help="samples kept for validation")
    add("--precision", choices=["no", "bf16", "fp16"], help="of the arithmetic; no: float32")
    add("--threads", type=int, help="processor threads (default: as many as torch likes)")
    add("--seed", type=int)
    add("--report-every", type=int, metavar="STEPS")
    add("--save-every", type=int, metavar="STEPS", help="saves, each with a validation")
    add("--sheet-every", type=int, metavar="STEPS", help="sample sheets; 0: none")
    add("--licence", help="of the finished control, written into its file")


def _widths(text: str) -> tuple[int, ...]:
    return tuple(int(width) for width in text.split(","))


if __name__ == "__main__":
    raise SystemExit(main())
