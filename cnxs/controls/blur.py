"""Blur: the picture's soft colours and light, without its detail."""

import cv2

from cnxs.images import Pixels


def draw(image: Pixels, *, radius: float) -> Pixels:
    """Return `image`, (H, W, 3) uint8 RGB, under a Gaussian of sigma `radius` pixels."""
    return cv2.GaussianBlur(image, (0, 0), radius)
