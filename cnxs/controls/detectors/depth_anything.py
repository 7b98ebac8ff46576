"""Depth by Depth Anything V2 (Yang et al. 2024), the small model."""

from pathlib import Path

import torch
from torch import nn

from cnxs.controls.detectors.loading import pretrained
from cnxs.controls.detectors.pictures import depth_map, normalised, tensor_of, working_size
from cnxs.images import Pixels

_PATCH = 14  # pixels


def load(files: tuple[Path, ...]) -> nn.Module:
    """Load the folder `depth-anything-v2-small`."""
    return pretrained("DepthAnythingForDepthEstimation", files)


@torch.inference_mode()
def draw(image: Pixels, *, network: nn.Module, device: str, resolution: float) -> Pixels:
    """Return inverse depth: the nearest white, the farthest black.

    Args:
        image: (H, W, 3) uint8 RGB.
        network: what `load` returned, on `device`.
        device: where it is.
        resolution: side of the square, in pixels, whose area the network sees.
    """
    size = working_size(image, resolution=resolution, multiple=_PATCH)
    pixels = normalised(tensor_of(image, size, device=device))
    return depth_map(network(pixel_values=pixels).predicted_depth[0], image)
