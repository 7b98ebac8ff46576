"""Line art of photos by Informative Drawings (Chan et al. 2022)."""

from pathlib import Path

import torch
from torch import nn

from cnxs.controls.detectors.loading import auxiliary, build, read
from cnxs.controls.detectors.pictures import map_of, tensor_of, working_size
from cnxs.images import Pixels


def load(files: tuple[Path, ...]) -> nn.Module:
    """Build both networks, fine and coarse, from `sk_model.pth` and `sk_model2.pth`."""
    generator = auxiliary("lineart").Generator
    networks = {
        name: build(lambda: generator(3, 1, n_residual_blocks=3), read(file), file=file)
        for name, file in zip(("fine", "coarse"), files, strict=True)
    }
    return nn.ModuleDict(networks)


@torch.inference_mode()
def draw(image: Pixels, *, network: nn.ModuleDict, device: str, resolution: float, strokes: str) -> Pixels:
    """Return lines, white on black.

    Args:
        image: (H, W, 3) uint8 RGB.
        network: what `load` returned, on `device`.
        device: where it is.
        resolution: side of the square, in pixels, whose area the network sees.
        strokes: "fine", or "coarse" for fewer and broader ones.
    """
    size = working_size(image, resolution=resolution, multiple=16)
    paper = network[strokes](tensor_of(image, size, device=device))
    return map_of(1 - paper[0, 0], image)
