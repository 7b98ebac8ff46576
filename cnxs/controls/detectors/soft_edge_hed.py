"""Soft edges by HED (Xie and Tu 2015), in the version retrained for ControlNet."""

from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from cnxs.controls.detectors.loading import auxiliary, build, read
from cnxs.controls.detectors.pictures import map_of, tensor_of, working_size
from cnxs.images import Pixels


def load(files: tuple[Path, ...]) -> nn.Module:
    """Build the network from `ControlNetHED.pth`."""
    (file,) = files
    return build(auxiliary("hed").ControlNetHED_Apache2, read(file), file=file)


@torch.inference_mode()
def draw(image: Pixels, *, network: nn.Module, device: str, resolution: float) -> Pixels:
    """Return soft edges, white on black: the mean of the network's five scales.

    Args:
        image: (H, W, 3) uint8 RGB.
        network: what `load` returned, on `device`.
        device: where it is.
        resolution: side of the square, in pixels, whose area the network sees.
    """
    size = working_size(image, resolution=resolution, multiple=16)
    scales = network(tensor_of(image, size, device=device) * 255)  # it takes 0 to 255
    logits = [functional.interpolate(scale, size, mode="bilinear") for scale in scales]
    return map_of(torch.stack(logits).mean(dim=0).sigmoid()[0, 0], image)
