"""Silhouette: what stands before a plain ground, near = white. A depth map of two distances, without a network."""

import cv2
import numpy as np

from cnxs.images import Pixels, Plane

_RIM = 1 / 64  # of the shorter side: how broad a rim tells the ground's colour
_SPECK = 1 / 1000  # of the picture: smaller pieces are noise
_HOLE = 1 / 200  # of the picture: smaller spots like the ground belong to the object, an eye for example


def draw(image: Pixels, *, difference: float) -> Pixels:
    """Return white where `image` differs from the colour of its rim, black where it does not.

    Args:
        image: (H, W, 3) uint8 RGB.
        difference: of 255, in any channel: from here on a pixel is no ground.
    """
    return cv2.cvtColor(region(image, difference=difference).astype(np.uint8) * np.uint8(255), cv2.COLOR_GRAY2RGB)


def region(image: Pixels, *, difference: float) -> Plane:
    """Return the silhouette as a mask, (H, W) bool."""
    height, width = image.shape[:2]
    edge = max(1, round(min(height, width) * _RIM))
    rim = np.ones((height, width), bool)
    rim[edge:-edge, edge:-edge] = False
    ground = np.median(image[rim], axis=0)
    like_ground = np.abs(image - ground).max(axis=2) < difference
    _, pieces, stats, _ = cv2.connectedComponentsWithStats(like_ground.astype(np.uint8), connectivity=4)
    open_ground = stats[:, cv2.CC_STAT_AREA] >= height * width * _HOLE
    open_ground[pieces[rim]] = True
    open_ground[0] = False
    solid = (~open_ground[pieces]).astype(np.uint8)
    _, pieces, stats, _ = cv2.connectedComponentsWithStats(solid, connectivity=8)
    large = stats[:, cv2.CC_STAT_AREA] >= height * width * _SPECK
    large[0] = False
    return large[pieces]
