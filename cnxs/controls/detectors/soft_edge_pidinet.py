"""Soft edges by PiDiNet (Su et al. 2021)."""

from pathlib import Path

import torch
from torch import nn

from cnxs.controls.detectors.loading import auxiliary, build, read
from cnxs.controls.detectors.pictures import map_of, tensor_of, working_size
from cnxs.images import Pixels


def load(files: tuple[Path, ...]) -> nn.Module:
    """Build the network from `table5_pidinet.pth`."""
    (file,) = files
    return build(auxiliary("pidi.model").pidinet, read(file, under="state_dict"), file=file)


@torch.inference_mode()
def draw(image: Pixels, *, network: nn.Module, device: str, resolution: float) -> Pixels:
    """Return soft edges, white on black.

    Args:
        image: (H, W, 3) uint8 RGB.
        network: what `load` returned, on `device`.
        device: where it is.
        resolution: side of the square, in pixels, whose area the network sees.
    """
    size = working_size(image, resolution=resolution, multiple=8)
    bgr = tensor_of(image, size, device=device).flip(1)
    return map_of(network(bgr)[-1][0, 0], image)  # the last of its outputs joins the others
