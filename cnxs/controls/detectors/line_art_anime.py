"""Line art of drawings by Anime2Sketch (Xiang et al. 2021)."""

import functools
from pathlib import Path

import torch
from torch import nn

from cnxs.controls.detectors.loading import auxiliary, build, read
from cnxs.controls.detectors.pictures import map_of, tensor_of, working_size
from cnxs.images import Pixels

_HALVINGS = 8  # levels of the U-Net


def load(files: tuple[Path, ...]) -> nn.Module:
    """Build the network from `netG.pth`."""
    (file,) = files
    norm = functools.partial(nn.InstanceNorm2d, affine=False, track_running_stats=False)
    generator = auxiliary("lineart_anime").UnetGenerator
    return build(lambda: generator(3, 1, _HALVINGS, 64, norm_layer=norm), read(file), file=file)


@torch.inference_mode()
def draw(image: Pixels, *, network: nn.Module, device: str, resolution: float) -> Pixels:
    """Return lines, white on black.

    Args:
        image: (H, W, 3) uint8 RGB.
        network: what `load` returned, on `device`.
        device: where it is.
        resolution: side of the square, in pixels, whose area the network sees; to the nearest multiples of 256.
    """
    size = working_size(image, resolution=resolution, multiple=2**_HALVINGS)
    paper = network(tensor_of(image, size, device=device) * 2 - 1)  # from -1 (ink) to 1
    return map_of((1 - paper[0, 0]) / 2, image)
