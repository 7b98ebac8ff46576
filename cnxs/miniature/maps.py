"""Control maps of a pool that are no lines, and all maps of a pool as a network takes them.

Colours are drawn by the app's own kind on a grid of a chance number of cells. Depth is exact: it is the order of the
scene's layers. Both are kept small: a grid of 16 x 16 colours, and a bit a pixel for each of two distances.
"""

import numpy as np
import torch

from cnxs.controls import colour_grid
from cnxs.miniature import SIZE

GRID = 16  # colours along the side of a kept colour map
_CELLS, _CELLS_SHARE = (8, 4, 16), (0.6, 0.2, 0.2)  # 8 is the app's default; all divide GRID
DISTANCES = 2  # a scene has at most two objects


def random_colour_map(rgb: np.ndarray, *, rng: np.random.Generator) -> np.ndarray:
    """Return the colour grid of a picture, six in ten with 8 cells along its side, the others with 4 or 16.

    Args:
        rgb: (256, 256, 3) uint8.
        rng: decides the cells.

    Returns:
        (16, 16, 3) uint8; each stands for 16 x 16 pixels, so nothing of the map is lost.
    """
    cells = int(rng.choice(_CELLS, p=_CELLS_SHARE))
    return colour_grid.draw(rgb, cells=cells)[:: SIZE // GRID, :: SIZE // GRID]


def depth_planes(masks: np.ndarray) -> np.ndarray:
    """Return how near the objects of a scene are: the nearest is white, one behind it grey, the ground black.

    Args:
        masks: (items, 256, 256), the share of each pixel in which an item is seen, back to front.

    Returns:
        (2, 256, 256) bool: where any object is seen, and where the nearest is. Their mean is the map.
    """
    return np.stack([masks.sum(axis=0) >= 0.5, masks[-1] >= 0.5])


def depth_image(planes: np.ndarray) -> np.ndarray:
    """Return depth planes (2, H, W) as a picture, (H, W) uint8: 0, 128 and 255."""
    return np.ceil(planes.mean(axis=0) * 255).astype(np.uint8)


def unpack_maps(rows: torch.Tensor) -> torch.Tensor:
    """Return rows of a pool's array of maps as (B, channels, 256, 256) float32 in [0, 1].

    Args:
        rows: uint8 on any device: (B, 8192) bits of lines; (B, 2, 8192) bits of depth planes; or (B, 16, 16, 3)
            colours.
    """
    if rows.ndim == 4:
        colours = (rows.float() / 255).permute(0, 3, 1, 2)
        return colours.repeat_interleave(SIZE // GRID, dim=2).repeat_interleave(SIZE // GRID, dim=3)
    highest_first = torch.arange(7, -1, -1, dtype=torch.uint8, device=rows.device)  # as numpy.packbits has them
    bits = (rows[..., None] >> highest_first) & 1
    return bits.reshape(len(rows), -1, SIZE, SIZE).float().mean(dim=1, keepdim=True)
