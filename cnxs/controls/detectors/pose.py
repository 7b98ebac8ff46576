"""Poses of people by OpenPose (Cao et al. 2017): bodies only."""

from pathlib import Path

import torch
from torch import nn

from cnxs.controls.detectors.loading import auxiliary, build, read
from cnxs.controls.detectors.pictures import resized, working_size
from cnxs.images import Pixels


def load(files: tuple[Path, ...]) -> nn.Module:
    """Build the network from `body_pose_model.pth`, whose keys lack the name of the stage that holds a layer."""
    (file,) = files
    make = auxiliary("open_pose.model").bodypose_model
    with torch.device("meta"):
        stages = {key.partition(".")[2]: key for key in make().state_dict()}
    tensors = {stages.get(key, key): value for key, value in read(file).items()}
    return build(make, tensors, file=file)


@torch.inference_mode()
def draw(image: Pixels, *, network: nn.Module, device: str, resolution: float) -> Pixels:
    """Return the limbs and joints of every person found, in OpenPose's colours on black.

    Args:
        image: (H, W, 3) uint8 RGB.
        network: what `load` returned, on `device`.
        device: where it is; the detector asks the network itself.
        resolution: side of the square, in pixels, whose area people are looked for in.
    """
    open_pose = auxiliary("open_pose")

    class Body(open_pose.Body):  # whose own constructor reads a file
        def __init__(self) -> None:
            self.model = network

    found = open_pose.OpenposeDetector(Body()).detect_poses(
        resized(image, working_size(image, resolution=resolution, multiple=64))
    )
    # Joints are in parts of the picture's sides, so that they are drawn at its own size.
    return open_pose.draw_poses(found, *image.shape[:2], draw_hand=False, draw_face=False)
