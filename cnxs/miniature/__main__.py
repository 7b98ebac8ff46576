"""Rebuild the miniature's data and go on training its base.

    npm install @iconify-json/fluent-emoji-flat @iconify-json/noto @iconify-json/twemoji \\
        @lobehub/fluent-emoji-3d emojibase-data
    python -m pip install resvg-py
    python -m cnxs.miniature artwork node_modules work/artwork
    python -m cnxs.miniature pool work/artwork work/pool --count 28000 --all-concepts
    python -m cnxs.miniature train-base work/base --pools work/pool --minutes 60
"""

import argparse
import logging
import sys
from pathlib import Path
from typing import TypeAlias

from cnxs.errors import UserError
from cnxs.miniature import ASSETS
from cnxs.miniature.artwork import PACKAGES, Artwork, render

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def main(arguments: list[str] | None = None) -> int:
    """Run a subcommand; return the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(
        prog="python -m cnxs.miniature", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in (_add_artwork, _add_pool, _add_maps, _add_train_base, _add_preview_fit, _add_cases):
        add(commands)
    options = parser.parse_args(arguments)
    try:
        return options.run(options)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2


def _add_artwork(commands: Commands) -> None:
    parser = commands.add_parser(
        "artwork",
        help="render the emoji artwork to sprites (1 GB, about a minute)",
        description="Render the emoji artwork to sprites. Needs resvg-py and the npm packages " + ", ".join(PACKAGES),
    )
    parser.add_argument("packages", type=Path, help="the node_modules folder that holds the packages")
    parser.add_argument("output", type=Path, help="folder for sprites.npy and sprites.json")
    parser.add_argument("--processes", type=int, default=2, help="drawing processes (default: %(default)s)")
    parser.set_defaults(run=_artwork)


def _add_pool(commands: Commands) -> None:
    parser = commands.add_parser(
        "pool",
        help="make a training pool: latents, captions, and maps of edges, lines, depth and colours",
        description="Make a training pool. The same command goes on where an earlier run stopped. For several cores, "
        "run one process per core, each with its own range and folder.",
    )
    parser.add_argument("artwork", type=Path, help="folder written by `artwork`")
    parser.add_argument("output", type=Path, help="folder of the pool")
    parser.add_argument("--first", type=int, default=0, help="number of the first sample (default: %(default)s)")
    parser.add_argument("--count", type=int, default=16_000, help="number of samples (default: %(default)s)")
    parser.add_argument(
        "--all-concepts",
        action="store_true",
        help="include the held-out concepts: for training the base, never for training a control",
    )
    parser.add_argument("--threads", type=int, default=1, help="threads of the autoencoder (default: %(default)s)")
    _add_device(parser)
    parser.set_defaults(run=_pool)


def _add_maps(commands: Commands) -> None:
    parser = commands.add_parser("maps", help="add maps of depth and colours to pools that were made without them")
    parser.add_argument("artwork", type=Path, help="folder written by `artwork`")
    parser.add_argument("pools", type=Path, nargs="+", help="folders written by `pool`")
    parser.set_defaults(run=_maps)


def _add_train_base(commands: Commands) -> None:
    parser = commands.add_parser(
        "train-base",
        help="go on training the base from the shipped weights",
        description="Train U-Net and text encoder. The same command goes on where an earlier run stopped; the finished "
        "model lies in the folder `export` of the run.",
    )
    parser.add_argument("run_folder", type=Path, help="folder of the run's state")
    parser.add_argument("--pools", type=Path, nargs="+", required=True, help="pools made with --all-concepts")
    parser.add_argument("--minutes", type=float, default=60, help="length of the whole run (default: %(default)s)")
    parser.add_argument("--start", type=Path, default=ASSETS, help="model to start from (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="threads (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=32, help="samples of one step (default: %(default)s)")
    parser.add_argument("--learning-rate", type=float, default=4e-4, help="default: %(default)s")
    parser.add_argument("--bfloat16", action="store_true", help="faster on GPUs, and processors with the instructions")
    _add_device(parser)
    parser.set_defaults(run=_train_base)


def _add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, mps, auto (default: %(default)s)")


def _add_preview_fit(commands: Commands) -> None:
    parser = commands.add_parser("preview-fit", help="fit the latent preview's projection anew, say how good it is")
    parser.add_argument("artwork", type=Path, help="folder written by `artwork`")
    parser.add_argument("--output", type=Path, default=ASSETS / "preview.safetensors", help="default: %(default)s")
    parser.set_defaults(run=_preview_fit)


def _add_cases(commands: Commands) -> None:
    parser = commands.add_parser("cases", help="choose the held-out concepts and the evaluation's cases anew")
    parser.add_argument("artwork", type=Path, help="folder written by `artwork`")
    parser.add_argument("--output", type=Path, default=ASSETS, help="folder to write to (default: %(default)s)")
    parser.set_defaults(run=_cases)


def _artwork(options: argparse.Namespace) -> int:
    print(f"{render(options.packages, options.output, processes=options.processes)} sprites in {options.output}")
    return 0


def _pool(options: argparse.Namespace) -> int:
    import cv2
    import torch

    from cnxs.codec import PatchCodec
    from cnxs.devices import choose_device
    from cnxs.miniature.pool import PoolConfig, make_pool

    torch.set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)
    config = PoolConfig(first=options.first, count=options.count, without_held_out=not options.all_concepts)
    device, codec = choose_device(options.device), PatchCodec.load(ASSETS)
    codec.autoencoder.to(device)
    make_pool(Artwork.load(options.artwork), codec, options.output, config=config, device=device)
    return 0


def _maps(options: argparse.Namespace) -> int:
    from cnxs.miniature.pool import add_maps

    artwork = Artwork.load(options.artwork)
    for folder in options.pools:
        print(f"{folder}: {'maps added' if add_maps(artwork, folder) else 'has its maps already'}", flush=True)
    return 0


def _train_base(options: argparse.Namespace) -> int:
    from cnxs.devices import choose_device
    from cnxs.miniature.base_training import BaseTrainingConfig, train

    config = BaseTrainingConfig(
        pools=tuple(options.pools),
        start=options.start,
        run=options.run_folder,
        minutes=options.minutes,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        threads=options.threads,
        bfloat16=options.bfloat16,
        device=choose_device(options.device),
    )
    for line in train(config):
        print(line, flush=True)
    return 0


def _preview_fit(options: argparse.Namespace) -> int:
    from safetensors.torch import save_file

    from cnxs.miniature.preview import fit_preview

    projection, correlation = fit_preview(Artwork.load(options.artwork))
    save_file({"projection": projection}, options.output)
    print(f"correlation with decoded pictures that were not fitted: {correlation:.3f}; written to {options.output}")
    return 0


def _cases(options: argparse.Namespace) -> int:
    from cnxs.miniature.cases import choose_cases, write_cases
    from cnxs.miniature.split import write_split

    artwork = Artwork.load(options.artwork)
    held_out = write_split(artwork.sprites, options.output)
    write_cases(choose_cases(artwork, held_out), artwork, options.output)
    print(f"{len(held_out)} held-out concepts and their cases in {options.output}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
