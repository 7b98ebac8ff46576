"""What is where, by UPerNet (Xiao et al. 2018) with a ConvNeXt backbone, in the colours of ADE20K."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import nn
from torch.nn import functional

from cnxs.controls.detectors.loading import auxiliary, pretrained
from cnxs.controls.detectors.pictures import normalised, tensor_of, working_size
from cnxs.errors import CheckpointError
from cnxs.images import Pixels

_CLASSES = 150


def load(files: tuple[Path, ...]) -> nn.Module:
    """Load the folder `upernet-convnext-small`.

    Raises:
        CheckpointError: `detector_classes` if it knows other things than ADE20K's 150, whose colours controls know.
    """
    network: Any = pretrained("UperNetForSemanticSegmentation", files)
    if network.config.num_labels != _CLASSES:
        raise CheckpointError(
            "detector_classes", file=files[1].name, given=network.config.num_labels, expected=_CLASSES
        )
    return network


@torch.inference_mode()
def draw(image: Pixels, *, network: nn.Module, device: str, resolution: float) -> Pixels:
    """Return each pixel's class as its colour; there are no mixed colours at borders.

    Args:
        image: (H, W, 3) uint8 RGB.
        network: what `load` returned, on `device`.
        device: where it is.
        resolution: side of the square, in pixels, whose area the network sees.
    """
    palette = np.array(auxiliary("util").ade_palette(), np.uint8)
    size = working_size(image, resolution=resolution, multiple=32)
    logits = network(pixel_values=normalised(tensor_of(image, size, device=device))).logits
    classes = functional.interpolate(logits, size, mode="bilinear").argmax(dim=1)[0]
    colours = palette[classes.cpu().numpy()]
    return np.asarray(cv2.resize(colours, image.shape[1::-1], interpolation=cv2.INTER_NEAREST))
