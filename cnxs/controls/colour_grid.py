"""Colour grid: the picture's colours on a coarse grid."""

import cv2

from cnxs.images import Pixels


def draw(image: Pixels, *, cells: float) -> Pixels:
    """Return `image`, (H, W, 3) uint8 RGB, as flat cells of mean colour, `cells` along its shorter side."""
    height, width = image.shape[:2]
    per_pixel = min(cells / min(height, width), 1.0)
    grid = (max(1, round(width * per_pixel)), max(1, round(height * per_pixel)))
    return cv2.resize(
        cv2.resize(image, grid, interpolation=cv2.INTER_AREA), (width, height), interpolation=cv2.INTER_NEAREST_EXACT
    )
