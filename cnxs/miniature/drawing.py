"""Line maps that look drawn by hand with a mouse, made from the layers of a scene.

Outlines come from each sprite's exact silhouette, inner lines from its strongly smoothed colours. They are moved as
vectors, then drawn. All unsteadiness is a function of place, so the two sides of one line move together.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from cnxs.miniature import SIZE
from cnxs.miniature.artwork import Artwork
from cnxs.miniature.scenes import Recipe

MIN_THICKNESS, MAX_THICKNESS = 2, 6  # pixels at 256 x 256
_MIN_OUTLINE = 40.0  # sprite pixels: shorter outlines are specks
_MIN_INNER = 36.0
_MAX_INNER = 24  # lines per sprite, longest first


@dataclass(frozen=True)
class Lines:
    """The lines of one sprite: closed curves of (points, 2) float32 in sprite pixels, longest first."""

    outlines: tuple[np.ndarray, ...]
    inner: tuple[np.ndarray, ...]


@dataclass(frozen=True, kw_only=True)
class Hand:
    """How somebody draws. Lengths in pixels at 256 x 256."""

    thickness: int = 3
    smoothing: float = 2.0  # rounds corners off: standard deviation along the curve
    wobble: float = 1.0  # typical deviation from the true line
    shift: float = 0.5  # every stroke is displaced by about so much
    inner_share: float = 1.0  # share of inner lines that are drawn; 0: outline only
    gaps: int = 0  # how often the pen was lifted
    repeats: int = 1  # lines are gone over so often

    @classmethod
    def random(cls, rng: np.random.Generator) -> "Hand":
        """Make up a hand: thin or thick, steady or shaky, thorough or hasty."""
        return cls(
            thickness=int(rng.choice([2, 3, 4, 5, 6], p=[0.2, 0.3, 0.25, 0.15, 0.1])),
            smoothing=float(rng.uniform(0.5, 5.0)),
            wobble=float(rng.choice([0.0, 1.0, 1.0, 2.2]) * rng.uniform(0.5, 1.3)),
            shift=float(rng.uniform(0.0, 1.5)),
            inner_share=0.0 if rng.random() < 0.2 else float(rng.uniform(0.3, 1.0)),
            gaps=int(rng.poisson(5)) if rng.random() < 0.4 else 0,
            repeats=2 if rng.random() < 0.12 else 1,
        )


def sprite_lines(sprite: np.ndarray) -> Lines:
    """Trace the lines that a person would draw of one sprite, (256, 256, 4) uint8.

    Returns:
        The silhouette's outlines, and the borders of large differences in colour inside it.
    """
    solid = (sprite[..., 3] > 127).astype(np.uint8)
    alpha = sprite[..., 3:].astype(np.float32) / 255
    colour = (sprite[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)
    smooth = cv2.GaussianBlur(cv2.medianBlur(colour, 9), (0, 0), 2.0)
    edges = cv2.Canny(smooth, 25, 60)
    edges[cv2.erode(solid, np.ones((11, 11), np.uint8)) == 0] = 0  # the outline is drawn already
    return Lines(_curves(solid, _MIN_OUTLINE), _curves(edges, _MIN_INNER)[:_MAX_INNER])


def line_map(
    recipe: Recipe, lines: Mapping[tuple[str, str], Lines], *, hand: Hand, rng: np.random.Generator
) -> np.ndarray:
    """Draw the scene's objects in lines, nearer ones hiding farther ones.

    Args:
        recipe: the scene.
        lines: (name, style) -> traced lines of that sprite.
        hand: how it is drawn.
        rng: decides where the hand wavers.

    Returns:
        (256, 256) uint8 of 0 and 1, lines 1.
    """
    canvas = np.zeros((SIZE, SIZE), np.uint8)
    for item in recipe.items:
        traced = lines[item.name, item.style]
        outlines = [_transform(curve, item.matrix()) for curve in traced.outlines]
        cv2.fillPoly(canvas, [_fixed(curve) for curve in outlines], 0, shift=_SHIFT)
        count = round(len(traced.inner) * hand.inner_share)
        # Longest first, with some chance: the details are what is left out.
        order = np.argsort(np.arange(len(traced.inner)) + rng.normal(0, 0.2 * len(traced.inner), len(traced.inner)))
        inner = [_transform(traced.inner[i], item.matrix()) for i in order[:count]]
        for _ in range(hand.repeats):
            field = _wobble_field(rng, hand.wobble)
            for curve in (*outlines, *inner):
                _draw(canvas, curve, hand=hand, field=field, rng=rng)
    if hand.thickness % 2 == 0:  # drawn a pixel too thick
        canvas = cv2.erode(canvas, np.ones((2, 2), np.uint8))
    points = np.argwhere(canvas)
    for row, column in points[rng.integers(0, max(1, len(points)), hand.gaps)] if len(points) else ():
        cv2.circle(canvas, (int(column), int(row)), int(hand.thickness + rng.integers(1, 7)), 0, -1)
    return canvas


def draw_stroke(canvas: np.ndarray, points: np.ndarray, *, thickness: int, closed: bool) -> None:
    """Draw one stroke on `canvas`, (H, W) uint8, with value 1.

    Args:
        canvas: drawn on in place.
        points: (points, 2) x and y in pixels.
        thickness: 2 or more; an even one comes out a pixel thicker, since a round pen has odd diameters.
        closed: whether the last point is joined to the first.
    """
    # OpenCV draws thicknesses 2 and 3 both wider than asked, as 3 and 5 pixels, and so on.
    cv2.polylines(canvas, [_fixed(points)], closed, 1, thickness=thickness - thickness % 2, shift=_SHIFT)


class TracedArtwork(dict[tuple[str, str], Lines]):
    """(name, style) -> lines of that sprite, traced when first asked for."""

    def __init__(self, artwork: Artwork) -> None:
        super().__init__()
        self._artwork = artwork

    def __missing__(self, key: tuple[str, str]) -> Lines:
        self[key] = sprite_lines(self._artwork.pixels[self._artwork.index[key]])
        return self[key]


_SHIFT = 4  # OpenCV draws at sub-pixel places given as integers times 2**shift


def _fixed(curve: np.ndarray) -> np.ndarray:
    return np.rint(curve * 2**_SHIFT).astype(np.int32)


def _curves(mask: np.ndarray, shortest: float) -> tuple[np.ndarray, ...]:
    contours, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    long = [contour for contour in contours if cv2.arcLength(contour, closed=True) >= shortest]
    long.sort(key=len, reverse=True)
    return tuple(contour[:, 0].astype(np.float32) for contour in long)


def _transform(curve: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    return curve @ matrix[:, :2].T.astype(np.float32) + matrix[:, 2].astype(np.float32)


def _wobble_field(rng: np.random.Generator, amplitude: float) -> np.ndarray:
    """Return displacements (256, 256, 2): slow drift with a little tremble on it."""
    drift, tremble = (rng.normal(0, 1, (cells, cells, 2)).astype(np.float32) for cells in (6, 24))
    field = cv2.resize(drift, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC) * amplitude
    return field + cv2.resize(tremble, (SIZE, SIZE), interpolation=cv2.INTER_LINEAR) * (0.35 * amplitude)


def _draw(canvas: np.ndarray, curve: np.ndarray, *, hand: Hand, field: np.ndarray, rng: np.random.Generator) -> None:
    radius = min(int(3 * hand.smoothing) + 1, len(curve) // 3)
    wrapped = np.concatenate([curve[-radius:], curve, curve[:radius]]) if radius else curve
    smooth = cv2.GaussianBlur(wrapped, (1, 2 * radius + 1), sigmaX=1, sigmaY=hand.smoothing)
    smooth = smooth[radius : radius + len(curve)]
    column, row = np.rint(smooth.clip(0, SIZE - 1)).astype(int).T
    moved = smooth + field[row, column] + rng.normal(0, hand.shift, 2).astype(np.float32)
    draw_stroke(canvas, moved, thickness=hand.thickness, closed=True)
