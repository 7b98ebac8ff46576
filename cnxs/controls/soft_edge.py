"""Soft edges without a network: the gradient's magnitude over several scales, as HED's maps look."""

import cv2
import numpy as np

from cnxs.images import Pixels

_OCTAVES = (1.0, 2.0, 4.0)


def draw(image: Pixels, *, softness: float, gain: float) -> Pixels:
    """Return soft edges, white on black; stronger edges are brighter and edges of all scales are broad.

    Args:
        image: (H, W, 3) uint8 RGB.
        softness: sigma in pixels of the finest of three scales, each twice the one before.
        gain: brightness; at 1 a step from black to white is nearly white.
    """
    source = image.astype(np.float32) / 255
    strongest = np.zeros(image.shape[:2], np.float32)
    for octave in _OCTAVES:
        smooth = cv2.GaussianBlur(source, (0, 0), softness * octave)
        dx, dy = cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)
        # A unit step blurred by sigma has the slope 1 / (sigma sqrt(2 pi)); Sobel's kernel has weight 8.
        unit = softness * octave * np.sqrt(2 * np.pi) / 8
        strongest = np.maximum(strongest, np.sqrt(dx**2 + dy**2).max(axis=2) * unit / octave**0.5)
    edges = np.rint(np.minimum(np.sqrt(strongest) * gain, 1) * 255).astype(np.uint8)
    return cv2.cvtColor(edges, cv2.COLOR_GRAY2RGB)
