"""As is: the picture already is a control map, at most the wrong way round."""

import cv2

from cnxs.controls.polarity import dark_lines
from cnxs.images import Pixels

_EXTREME = 80  # of 255: a pixel this near to black or white belongs to a line map
_LINE_MAP = 0.85  # share of such pixels; depth maps and colour grids are full of middle tones
_GREY = 24  # of 255: spread of the three channels up to which a pixel has no colour


def inverted(image: Pixels, *, polarity: str) -> bool:
    """Say whether `draw` turns black into white: "auto" does for a black and white map with dark lines."""
    if polarity != "auto":
        return polarity == "invert"
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    colourless = image.max(axis=2) - image.min(axis=2) <= _GREY
    extreme = colourless & ((grey <= _EXTREME) | (grey >= 255 - _EXTREME))
    return float(extreme.mean()) >= _LINE_MAP and dark_lines(image)


def draw(image: Pixels, *, polarity: str) -> Pixels:
    """Return the map itself, or inverted: control networks want white lines on black.

    Args:
        image: (H, W, 3) uint8 RGB.
        polarity: "keep", "invert", or "auto": line maps with dark lines are inverted, all else is kept.
    """
    return 255 - image if inverted(image, polarity=polarity) else image.copy()
