"""Pictures on their way into a network and maps on their way out."""

import math

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from cnxs.images import Pixels

_LONGEST = 4  # times the working size: what is longer is squeezed

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def working_size(image: Pixels, *, resolution: float, multiple: int) -> tuple[int, int]:
    """Return the (height, width) that a network sees: about the area of a square of side `resolution`.

    Each side is a multiple of `multiple`; the shape is the picture's, unless one side is over 16 times the other.
    """
    height, width = image.shape[:2]
    scale = resolution / math.sqrt(height * width)
    sides = (min(side * scale, _LONGEST * resolution) / multiple for side in (height, width))
    tall, wide = (max(round(side), 1) * multiple for side in sides)
    return tall, wide


def resized(image: Pixels, size: tuple[int, int]) -> Pixels:
    """Return the picture at (height, width): averaged where it shrinks, cubic where it grows."""
    shrinks = size[0] * size[1] < image.shape[0] * image.shape[1]
    return np.asarray(cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC))


def tensor_of(image: Pixels, size: tuple[int, int], *, device: str) -> torch.Tensor:
    """Return the picture at (height, width) as (1, 3, height, width) float32 RGB from 0 to 1."""
    return torch.from_numpy(resized(image, size).copy()).to(device).permute(2, 0, 1)[None].float() / 255


def normalised(
    pixels: torch.Tensor, mean: tuple[float, ...] = IMAGENET_MEAN, std: tuple[float, ...] = IMAGENET_STD
) -> torch.Tensor:
    """Return (1, 3, h, w) pixels from 0 to 1, less the mean, over the standard deviation."""
    centre, spread = (torch.tensor(values, device=pixels.device).view(1, 3, 1, 1) for values in (mean, std))
    return (pixels - centre) / spread


def map_of(values: torch.Tensor, image: Pixels) -> Pixels:
    """Return values from 0 to 1 as an RGB map of the picture's size.

    Args:
        values: (h, w) of a grey map, or (3, h, w).
        image: (H, W, 3), for its size.
    """
    planes = values.float().cpu().numpy()
    return _pixels(np.stack([planes] * 3) if planes.ndim == 2 else planes, image)


def depth_map(depth: torch.Tensor, image: Pixels) -> Pixels:
    """Return (h, w) inverse depth, of any scale, as a map of the picture's size: nearest white, farthest black."""
    near = depth.float()
    return map_of((near - near.min()) / (near.max() - near.min()).clamp(min=1e-6), image)


def _pixels(planes: NDArray[np.float32], image: Pixels) -> Pixels:
    height, width = image.shape[:2]
    values = np.stack([cv2.resize(plane, (width, height), interpolation=cv2.INTER_LINEAR) for plane in planes], axis=2)
    return np.rint(values.clip(0, 1) * 255).astype(np.uint8)
