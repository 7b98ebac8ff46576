"""Canny edges: the map that the authors' canny controls were trained on."""

import cv2

from cnxs.images import Pixels


def draw(image: Pixels, *, low: float, high: float, blur: float) -> Pixels:
    """Return the Canny edges of `image`, white on black, one pixel wide.

    Args:
        image: (H, W, 3) uint8 RGB; the strongest gradient of the three channels counts.
        low, high: hysteresis thresholds on the gradient; the smaller one is the low one, whichever it is.
        blur: sigma in pixels of a Gaussian before the edges are sought; 0: none.
    """
    source = cv2.GaussianBlur(image, (0, 0), blur) if blur > 0 else image
    return cv2.cvtColor(cv2.Canny(source, min(low, high), max(low, high)), cv2.COLOR_GRAY2RGB)
