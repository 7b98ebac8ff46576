"""Training pools: scenes made once, with latents, canny maps, hand-drawn line maps and captions kept side by side.

A pool is a folder of arrays with one row per sample:

- `latents.npy` (N, 16, 16, 16) float16, scaled for the U-Net
- `canny.npy`, `scribble.npy` (N, 8192) uint8: maps of 256 x 256 bits, rows packed by `numpy.packbits`
- `captions.json` list of N strings, `concepts.json` list of N lists of names
- `pool.json`: how it was made, and how many samples are finished
"""

import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from cnxs.codec import LatentCodec
from cnxs.errors import InputError
from cnxs.miniature import LATENT_CHANNELS, LATENT_SIZE, SIZE
from cnxs.miniature.artwork import Artwork
from cnxs.miniature.captions import random_caption
from cnxs.miniature.drawing import Hand, TracedArtwork, line_map
from cnxs.miniature.scenes import draw, random_recipe
from cnxs.miniature.split import held_out_concepts

logger = logging.getLogger(__name__)

PACKED_BYTES = SIZE * SIZE // 8
_BLOCK = 32  # samples that are encoded together
_SAVE_EVERY = 25  # blocks
_COMMON_CANNY = (100, 200)


@dataclass(frozen=True, kw_only=True)
class PoolConfig:
    """Which samples a pool holds. Sample i depends on `seed` and i alone, so parts of one pool can be made apart."""

    first: int = 0
    count: int = 16_000
    seed: int = 20_261_124
    without_held_out: bool = True  # held-out concepts appear in no scene, not even as the second object


def random_canny(rgb: np.ndarray, *, rng: np.random.Generator) -> np.ndarray:
    """Return a map of edges with chance thresholds: four in ten with 100 / 200 and no blur, as the app's default.

    Args:
        rgb: (H, W, 3) uint8.
        rng: decides thresholds (low 40 to 140, high 1.8 to 3 times that) and blur (none or sigma 0.5 to 1.5).

    Returns:
        (H, W) uint8 of 0 and 1, edges 1.
    """
    if rng.random() < 0.4:
        return (cv2.Canny(rgb, *_COMMON_CANNY) > 0).astype(np.uint8)
    low = rng.uniform(40, 140)
    high = min(255.0, low * rng.uniform(1.8, 3.0))
    if rng.random() < 0.4:
        rgb = cv2.GaussianBlur(rgb, (0, 0), rng.uniform(0.5, 1.5))
    return (cv2.Canny(rgb, low, high) > 0).astype(np.uint8)


def make_pool(artwork: Artwork, codec: LatentCodec, folder: Path, *, config: PoolConfig) -> None:
    """Make the samples of `config` in `folder`, or go on where an earlier call stopped.

    Raises:
        InputError: if `folder` holds a pool made otherwise.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state = {"config": asdict(config), "done": 0}
    if (folder / "pool.json").is_file():
        state = json.loads((folder / "pool.json").read_text("utf-8"))
        if state["config"] != asdict(config):
            raise InputError("pool_differs", folder=folder)
    resuming = state["done"] > 0
    arrays = _open_arrays(folder, config.count, resuming=resuming)
    captions = json.loads((folder / "captions.json").read_text("utf-8")) if resuming else []
    concepts = json.loads((folder / "concepts.json").read_text("utf-8")) if resuming else []
    excluded = held_out_concepts() if config.without_held_out else frozenset()
    positions = [i for i, sprite in enumerate(artwork.sprites) if sprite.name not in excluded]
    traced = TracedArtwork(artwork)
    for block, start in enumerate(range(state["done"], config.count, _BLOCK), start=1):
        rows = range(start, min(start + _BLOCK, config.count))
        pictures = []
        for row in rows:
            rng = np.random.default_rng([config.seed, config.first + row])
            recipe = random_recipe(rng, artwork, positions=positions)
            rgb = draw(recipe, artwork).rgb
            arrays["canny"][row] = np.packbits(random_canny(rgb, rng=rng))
            arrays["scribble"][row] = np.packbits(line_map(recipe, traced, hand=Hand.random(rng), rng=rng))
            captions.append(random_caption(rng, recipe, artwork))
            concepts.append([item.name for item in recipe.items])
            pictures.append(rgb)
        pixels = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1
        arrays["latents"][rows.start : rows.stop] = codec.encode(pixels).numpy()
        if block % _SAVE_EVERY == 0 or rows.stop == config.count:
            for array in arrays.values():
                array.flush()
            (folder / "captions.json").write_text(json.dumps(captions), "utf-8")
            (folder / "concepts.json").write_text(json.dumps(concepts), "utf-8")
            (folder / "pool.json").write_text(json.dumps({**state, "done": rows.stop}), "utf-8")
            logger.info("%d of %d samples", rows.stop, config.count)


def _open_arrays(folder: Path, count: int, *, resuming: bool) -> dict[str, np.memmap]:
    layouts: dict[str, tuple[tuple[int, ...], type]] = {
        "latents": ((count, LATENT_CHANNELS, LATENT_SIZE, LATENT_SIZE), np.float16),
        "canny": ((count, PACKED_BYTES), np.uint8),
        "scribble": ((count, PACKED_BYTES), np.uint8),
    }
    if resuming:
        return {name: np.lib.format.open_memmap(folder / f"{name}.npy", mode="r+") for name in layouts}
    return {
        name: np.lib.format.open_memmap(folder / f"{name}.npy", mode="w+", dtype=dtype, shape=shape)
        for name, (shape, dtype) in layouts.items()
    }
