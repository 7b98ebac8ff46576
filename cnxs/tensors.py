"""Pictures to tensors and back; the one place that knows the ranges. Names carry the range."""

import numpy as np
import torch
from PIL import Image


def to_unit_tensor(image: Image.Image, *, channels: int = 3) -> torch.Tensor:
    """Return a picture as (1, channels, H, W) float32 in [0, 1]; with one channel its luminance."""
    mode = {1: "L", 3: "RGB"}[channels]
    pixels = np.asarray(image.convert(mode), dtype=np.float32) / 255
    return torch.from_numpy(pixels.reshape(*pixels.shape[:2], channels)).permute(2, 0, 1)[None].contiguous()


def to_signed_tensor(image: Image.Image) -> torch.Tensor:
    """Return a picture as (1, 3, H, W) float32 in [-1, 1], as autoencoders take it."""
    return to_unit_tensor(image) * 2 - 1


def from_unit_tensor(pixels: torch.Tensor) -> list[Image.Image]:
    """Return pictures from (B, 3, H, W) in [0, 1]; values outside are clipped."""
    array = (pixels.float().clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    return [Image.fromarray(picture) for picture in array]


def from_signed_tensor(pixels: torch.Tensor) -> list[Image.Image]:
    """Return pictures from (B, 3, H, W) in [-1, 1]; values outside are clipped."""
    return from_unit_tensor(pixels / 2 + 0.5)
