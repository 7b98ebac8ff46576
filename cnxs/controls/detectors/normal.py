"""Surface normals by NormalBae (Bae et al. 2021)."""

from pathlib import Path
from types import SimpleNamespace

import torch
from torch import nn

from cnxs.controls.detectors.loading import auxiliary, build, read
from cnxs.controls.detectors.pictures import map_of, normalised, tensor_of, working_size
from cnxs.images import Pixels

# How the published network was made; the ratios matter in its training only.
_SETTINGS = SimpleNamespace(architecture="BN", sampling_ratio=0.4, importance_ratio=0.7)


def load(files: tuple[Path, ...]) -> nn.Module:
    """Build the network from `scannet.pt`."""
    (file,) = files
    network = auxiliary("normalbae.nets.NNET").NNET
    return build(lambda: network(_SETTINGS), read(file, under="model"), file=file)


@torch.inference_mode()
def draw(image: Pixels, *, network: nn.Module, device: str, resolution: float) -> Pixels:
    """Return normals as colours: each axis from -1 to 1 is 0 to 255 of red, green and blue.

    Args:
        image: (H, W, 3) uint8 RGB.
        network: what `load` returned, on `device`.
        device: where it is.
        resolution: side of the square, in pixels, whose area the network sees.
    """
    size = working_size(image, resolution=resolution, multiple=32)
    scales, *_ = network(normalised(tensor_of(image, size, device=device)))
    return map_of((scales[-1][0, :3] + 1) / 2, image)
