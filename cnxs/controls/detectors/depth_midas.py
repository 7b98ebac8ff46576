"""Depth by MiDaS (Ranftl et al. 2021): the hybrid DPT that the published depth controls were trained on."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from cnxs.controls.detectors.loading import pretrained
from cnxs.controls.detectors.pictures import depth_map, normalised, tensor_of
from cnxs.images import Pixels

_HALF = (0.5, 0.5, 0.5)


def load(files: tuple[Path, ...]) -> nn.Module:
    """Load the folder `dpt-hybrid-midas`."""
    return pretrained("DPTForDepthEstimation", files)


@torch.inference_mode()
def draw(image: Pixels, *, network: Any, device: str) -> Pixels:
    """Return inverse depth: the nearest white, the farthest black.

    Args:
        image: (H, W, 3) uint8 RGB; the network sees it as a square of its own size.
        network: what `load` returned, on `device`.
        device: where it is.
    """
    side = network.config.image_size
    pixels = normalised(tensor_of(image, (side, side), device=device), mean=_HALF, std=_HALF)
    return depth_map(network(pixel_values=pixels).predicted_depth[0], image)
