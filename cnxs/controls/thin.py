"""Lines one pixel wide: what a canny network expects, from soft edges, line art and scribbles."""

import cv2
import numpy as np

from cnxs.images import Pixels, Plane

# Neighbours of a pixel, clockwise from above, as bits 1, 2, 4 ... 128 of an 8-bit code.
_NEIGHBOURS = np.array([[128, 1, 2], [64, 0, 4], [32, 16, 8]], np.float32)
_WHITE = 0.35  # of the brightest line: what counts as a line in a soft map


def thin(control_map: Pixels) -> Pixels:
    """Return the centre lines of a white-on-black map as 0 and 255, about one pixel wide.

    Args:
        control_map: (H, W, 3) uint8 RGB; grey lines count from 35 % of the brightest on.
    """
    grey = cv2.cvtColor(control_map, cv2.COLOR_RGB2GRAY)
    mask = ((grey > 0) & (grey >= _WHITE * float(grey.max()))).astype(np.uint8)
    return cv2.cvtColor(skeleton(mask) * np.uint8(255), cv2.COLOR_GRAY2RGB)


def skeleton(mask: Plane) -> Pixels:
    """Thin a (H, W) mask of 0 and 1 to its skeleton (Zhang and Suen 1984); pieces stay connected."""
    tables = (_deletable((0, 2, 4), (2, 4, 6)), _deletable((0, 2, 6), (0, 4, 6)))
    thinned = mask.copy()
    while True:
        before = thinned.copy()
        for table in tables:
            code = cv2.filter2D(thinned, cv2.CV_8U, _NEIGHBOURS, borderType=cv2.BORDER_CONSTANT)
            thinned &= cv2.LUT(code, table)
        if np.array_equal(before, thinned):
            return thinned


def _deletable(first: tuple[int, int, int], second: tuple[int, int, int]) -> Pixels:
    """Return, per neighbour code, 0 where one pass deletes the pixel and 1 where it stays."""
    bits = (np.arange(256)[:, None] >> np.arange(8)) & 1  # (256, 8)
    count = bits.sum(axis=1)
    crossings = ((bits == 0) & (np.roll(bits, -1, axis=1) == 1)).sum(axis=1)
    goes = (count >= 2) & (count <= 6) & (crossings == 1)
    goes &= (bits[:, first].prod(axis=1) == 0) & (bits[:, second].prod(axis=1) == 0)
    return (~goes).astype(np.uint8)
