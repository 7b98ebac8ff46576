"""A training pool of a few samples, made from the evaluation's committed pictures: no artwork is needed."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from cnxs.codec import PatchCodec
from cnxs.metrics import canny_edges
from cnxs.miniature import ASSETS
from cnxs.miniature.cases import load_cases, load_depth_maps, load_pictures
from cnxs.miniature.maps import random_colour_map


def write_pool(folder: Path, count: int, *, extra: Sequence[tuple[str, np.ndarray]] = ()) -> Path:
    """Write a pool of the first `count` cases with canny maps, and with `extra` maps by their names."""
    folder.mkdir(parents=True)
    pictures = load_pictures()[:count]
    pixels = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1
    np.save(folder / "latents.npy", PatchCodec.load(ASSETS).encode(pixels).numpy().astype(np.float16))
    edges = [np.packbits(canny_edges(Image.fromarray(picture))) for picture in pictures]
    for name, maps in (("canny", np.stack(edges)), *extra):
        np.save(folder / f"{name}.npy", maps)
    captions = [case.caption for case in load_cases()[:count]]
    (folder / "captions.json").write_text(json.dumps(captions), "utf-8")
    (folder / "pool.json").write_text(json.dumps({"done": count}), "utf-8")
    return folder


def maps_without_lines(count: int) -> list[tuple[str, np.ndarray]]:
    """Return colour grids and depth maps of the first `count` cases, for `write_pool`."""
    rng = np.random.default_rng(0)
    colours = np.stack([random_colour_map(picture, rng=rng) for picture in load_pictures()[:count]])
    planes = [np.stack([depth > 0, depth == 255]).reshape(2, -1) for depth in load_depth_maps()[:count]]
    return [("colour", colours), ("depth", np.packbits(np.stack(planes), axis=-1))]
