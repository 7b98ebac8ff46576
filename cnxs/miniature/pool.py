"""Training pools: scenes made once, with latents, control maps and captions kept side by side.

A pool is a folder of arrays with one row per sample:

- `latents.npy` (N, 16, 16, 16) float16, scaled for the U-Net
- `canny.npy`, `scribble.npy` (N, 8192) uint8: maps of 256 x 256 bits, rows packed by `numpy.packbits`
- `depth.npy` (N, 2, 8192) uint8: two such maps, where an object is seen and where the nearest is
- `colour.npy` (N, 16, 16, 3) uint8: colour grids
- `captions.json` list of N strings, `concepts.json` list of N lists of names
- `pool.json`: how it was made, and how many samples are finished
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from cnxs.codec import LatentCodec
from cnxs.devices import CPU
from cnxs.errors import InputError
from cnxs.miniature import LATENT_CHANNELS, LATENT_SIZE, SIZE
from cnxs.miniature.artwork import Artwork
from cnxs.miniature.captions import random_caption
from cnxs.miniature.drawing import Hand, TracedArtwork, line_map
from cnxs.miniature.maps import DISTANCES, GRID, depth_planes, random_colour_map
from cnxs.miniature.scenes import Recipe, Scene, draw, random_recipe
from cnxs.miniature.split import held_out_concepts

logger = logging.getLogger(__name__)

PACKED_BYTES = SIZE * SIZE // 8
_BLOCK = 32  # samples that are encoded together
_SAVE_EVERY = 25  # blocks
_COMMON_CANNY = (100, 200)
_LAYOUTS: dict[str, tuple[tuple[int, ...], type]] = {
    "latents": ((LATENT_CHANNELS, LATENT_SIZE, LATENT_SIZE), np.float16),
    "canny": ((PACKED_BYTES,), np.uint8),
    "scribble": ((PACKED_BYTES,), np.uint8),
    "depth": ((DISTANCES, PACKED_BYTES), np.uint8),
    "colour": ((GRID, GRID, 3), np.uint8),
}
NO_LINES = ("depth", "colour")  # drawn by chance of their own, so that pools from before they were kept can get them


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


def make_pool(
    artwork: Artwork, codec: LatentCodec, folder: Path, *, config: PoolConfig, device: torch.device = CPU
) -> None:
    """Make the samples of `config` in `folder`, or go on where an earlier call stopped.

    Args:
        artwork: what scenes are made of.
        codec: encodes them, two thirds of the work on a CPU.
        folder: of the pool.
        config: which samples.
        device: where the codec is.

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
    if resuming:
        add_maps(artwork, folder)
    arrays = _open_arrays(folder, config.count, resuming=resuming)
    captions = json.loads((folder / "captions.json").read_text("utf-8")) if resuming else []
    concepts = json.loads((folder / "concepts.json").read_text("utf-8")) if resuming else []
    positions = _positions(artwork, config)
    traced = TracedArtwork(artwork)
    for block, start in enumerate(range(state["done"], config.count, _BLOCK), start=1):
        rows = range(start, min(start + _BLOCK, config.count))
        pictures = []
        for row in rows:
            rng, recipe, scene = _sample(row, artwork, positions, config)
            rgb = scene.rgb
            _write_no_lines(arrays, row, scene, config)
            arrays["canny"][row] = np.packbits(random_canny(rgb, rng=rng))
            arrays["scribble"][row] = np.packbits(line_map(recipe, traced, hand=Hand.random(rng), rng=rng))
            captions.append(random_caption(rng, recipe, artwork))
            concepts.append([item.name for item in recipe.items])
            pictures.append(rgb)
        pixels = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1
        arrays["latents"][rows.start : rows.stop] = codec.encode(pixels.to(device)).cpu().numpy()
        if block % _SAVE_EVERY == 0 or rows.stop == config.count:
            for array in arrays.values():
                array.flush()
            (folder / "captions.json").write_text(json.dumps(captions), "utf-8")
            (folder / "concepts.json").write_text(json.dumps(concepts), "utf-8")
            (folder / "pool.json").write_text(json.dumps({**state, "done": rows.stop}), "utf-8")
            logger.info("%d of %d samples", rows.stop, config.count)


def add_maps(artwork: Artwork, folder: Path) -> bool:
    """Add depth maps and colour grids to a pool that was made without them; its latents stay as they are.

    Returns:
        Whether any were missing.

    Raises:
        InputError: `pool_missing` if `folder` holds no pool.
    """
    if not (folder / "pool.json").is_file():
        raise InputError("pool_missing", folder=folder)
    missing = [name for name in NO_LINES if not (folder / f"{name}.npy").is_file()]
    if not missing:
        return False
    state = json.loads((folder / "pool.json").read_text("utf-8"))
    config = PoolConfig(**state["config"])
    positions = _positions(artwork, config)
    partial = {name: folder / f"{name}.partial" for name in NO_LINES}
    arrays = {name: _new_array(path, name, config.count) for name, path in partial.items()}
    for row in range(state["done"]):
        _, _, scene = _sample(row, artwork, positions, config)
        _write_no_lines(arrays, row, scene, config)
        if (row + 1) % (_BLOCK * _SAVE_EVERY) == 0:
            logger.info("%d of %d samples", row + 1, state["done"])
    for name, array in arrays.items():
        array.flush()
        partial[name].replace(folder / f"{name}.npy")
    return True


def _positions(artwork: Artwork, config: PoolConfig) -> list[int]:
    excluded = held_out_concepts() if config.without_held_out else frozenset()
    return [i for i, sprite in enumerate(artwork.sprites) if sprite.name not in excluded]


def _sample(
    row: int, artwork: Artwork, positions: list[int], config: PoolConfig
) -> tuple[np.random.Generator, Recipe, Scene]:
    """Return a sample's scene, and the chance that goes on to draw its lines and words."""
    rng = np.random.default_rng([config.seed, config.first + row])
    recipe = random_recipe(rng, artwork, positions=positions)
    return rng, recipe, draw(recipe, artwork)


def _write_no_lines(arrays: Mapping[str, np.ndarray], row: int, scene: Scene, config: PoolConfig) -> None:
    rng = np.random.default_rng([config.seed, config.first + row, 1])
    arrays["colour"][row] = random_colour_map(scene.rgb, rng=rng)
    arrays["depth"][row] = np.packbits(depth_planes(scene.masks).reshape(DISTANCES, -1), axis=1)


def _open_arrays(folder: Path, count: int, *, resuming: bool) -> dict[str, np.memmap]:
    if resuming:
        return {name: np.lib.format.open_memmap(folder / f"{name}.npy", mode="r+") for name in _LAYOUTS}
    return {name: _new_array(folder / f"{name}.npy", name, count) for name in _LAYOUTS}


def _new_array(path: Path, name: str, count: int) -> np.memmap:
    shape, dtype = _LAYOUTS[name]
    return np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=(count, *shape))
