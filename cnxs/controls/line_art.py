"""Line art without a network: what is darker than its surroundings becomes a line."""

import cv2
import numpy as np

from cnxs.images import Pixels

_WEAK = 8.0  # darkness, of 255, below which a pixel says nothing about the lines' strength


def draw(image: Pixels, *, stroke_width: float, contrast: float) -> Pixels:
    """Return line art, white on black: the picture's difference from its blurred copy, where it is darker.

    Args:
        image: (H, W, 3) uint8 RGB.
        stroke_width: sigma in pixels of the blur; wider finds broader strokes.
        contrast: brightness of the lines; at 1 the median line is half white.
    """
    source = image.astype(np.float32)
    # The greatest of the three differences: the contour of a coloured area is dark in some channel only.
    darkness = (cv2.GaussianBlur(source, (0, 0), stroke_width) - source).max(axis=2).clip(min=0)
    lines = darkness[darkness > _WEAK]
    reference = max(16.0, float(np.median(lines))) if lines.size else 16.0
    grey = np.rint((darkness * (127 * contrast / reference)).clip(max=255)).astype(np.uint8)
    return cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB)
