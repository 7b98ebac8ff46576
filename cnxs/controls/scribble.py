"""Scribble: a drawing, or a photograph of one on paper, as clean white strokes of even width on black.

Strokes are what is darker than a morphological closing of its surroundings. The closing is the paper as it would
be without ink, so shadows and vignettes drop out (flat-field correction). What is too broad for a stroke (filled
shapes, and everything in a photo) is drawn by its edges.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from cnxs.controls.polarity import dark_lines, stroke_contrast
from cnxs.controls.ruled import ruled_lines
from cnxs.controls.thin import skeleton
from cnxs.errors import InputError
from cnxs.images import Pixels, Plane

_MIN_CONTRAST = 0.08  # share of the paper's brightness that the palest ink takes away
_BROADEST_STROKE = 1 / 12  # of the shorter side


@dataclass(frozen=True, kw_only=True)
class Ink:
    """How dark each pixel is against its surroundings, and how dark ink and noise are: shares of the paper's light."""

    darkness: Plane  # (H, W), 0 on the paper
    noise: float  # standard deviation on the paper
    level: float  # of the pen; 0 where there is nothing but paper


def draw(image: Pixels, *, thickness: float, detail: float, polarity: str) -> Pixels:
    """Return the strokes of a drawing, white on black.

    Args:
        image: (H, W, 3) uint8 RGB.
        thickness: width of every stroke in pixels.
        detail: 0 (the boldest strokes only) to 1 (pale and short ones too).
        polarity: "dark_lines", "light_lines", or "auto".

    Raises:
        InputError: `empty_sketch` if there is no stroke.
    """
    dark = polarity == "dark_lines" or (polarity == "auto" and dark_lines(image))
    drawing = image if dark else 255 - image
    ink = measure_ink(drawing)
    faint, clear = _thresholds(ink, detail=detail)
    ruled = ruled_lines(drawing, darkness=ink.darkness, least=max(_MIN_CONTRAST / 2, 0.12 * ink.level))
    strokes = _without_specks(_connected(ink.darkness, faint=faint, clear=clear) & ~ruled, ink, detail=detail)
    lines, edges = _centre_lines(strokes), _broad_edges(drawing, near=strokes | ruled, detail=detail)
    if edges.sum() > lines.sum():
        # A photo or a coloured picture: its few dark strokes would only tear gaps into the edges.
        lines = _broad_edges(drawing, near=ruled, detail=detail)
    lines |= edges
    if not lines.any():
        raise InputError("empty_sketch")
    width = round(thickness)
    brush = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width))
    return cv2.cvtColor(cv2.dilate(lines.astype(np.uint8) * np.uint8(255), brush), cv2.COLOR_GRAY2RGB)


def measure_ink(drawing: Pixels) -> Ink:
    """Compare every pixel of a dark-on-light drawing, (H, W, 3) uint8 RGB, with the paper around it."""
    side = min(drawing.shape[:2])
    grey = cv2.transform(drawing, stroke_contrast(drawing)[None])
    smooth = cv2.GaussianBlur(grey, (0, 0), max(0.6, side / 700))
    # A small disc applied n times closes like a disc n times as large, and much faster. A square would cut corners
    # off round shapes and take them for strokes.
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (7, 7))
    paper = cv2.morphologyEx(smooth, cv2.MORPH_CLOSE, disc, iterations=max(1, round(side * _BROADEST_STROKE / 6)))
    # A stroke is darker than both its sides; the rim that the closing leaves around a filled shape is not.
    paper = cv2.erode(paper, disc, iterations=max(1, round(side / 512)))
    # In deep shadow the light is taken as half the usual: dividing by less would turn its noise into ink.
    light = np.maximum(paper, max(1.0, float(np.median(paper)) / 2))
    darkness = cv2.subtract(paper, smooth).astype(np.float32) / light.astype(np.float32)
    ground = float(np.median(darkness))
    noise = 1.4826 * float(np.median(np.abs(darkness - ground)))
    darkness = np.maximum(darkness - np.float32(ground), 0)
    candidates = darkness[darkness > max(_MIN_CONTRAST, 6 * noise)]
    level = float(np.percentile(candidates, 90)) if candidates.size else 0.0
    return Ink(darkness=darkness, noise=noise, level=level)


def _thresholds(ink: Ink, *, detail: float) -> tuple[float, float]:
    """Return the darkness from which a pixel may be, and surely is, ink."""
    faint = max(_MIN_CONTRAST / 2, 3 * ink.noise, (0.4 - 0.25 * detail) * ink.level)
    return faint, max(_MIN_CONTRAST, 5 * ink.noise, (0.6 - 0.3 * detail) * ink.level)


def _connected(darkness: Plane, *, faint: float, clear: float) -> Plane:
    """Return the pieces of what is darker than `faint` in which some pixel is darker than `clear`."""
    pieces, area, _ = _pieces(darkness > faint)
    kept = np.bincount(pieces[darkness > clear], minlength=len(area)) > 0
    kept[0] = False
    return kept[pieces]


def _pieces(mask: Plane) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    """Return which connected piece each pixel belongs to (0: none), and the pieces' areas and longer sides."""
    _, pieces, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    extent = stats[:, [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]].max(axis=1)
    return pieces.astype(np.int32), stats[:, cv2.CC_STAT_AREA].astype(np.int32), extent.astype(np.int32)


def _without_specks(mask: Plane, ink: Ink, *, detail: float) -> Plane:
    """Drop pieces that are neither long enough for a stroke nor round and dark enough for a dot."""
    side = min(mask.shape)
    pieces, area, extent = _pieces(mask)
    mean = np.bincount(pieces.ravel(), weights=ink.darkness.ravel(), minlength=len(area)) / area.clip(min=1)
    dot = (extent >= max(3, side / 100)) & (area >= 0.5 * extent**2) & (mean > 0.6 * ink.level)
    kept = (extent >= max(3.0, side * (0.04 - 0.03 * detail))) | dot
    kept[0] = False
    return kept[pieces]


def _centre_lines(strokes: Plane) -> Plane:
    """Return the strokes' centre lines; of blots, much broader than the strokes, the outline."""
    mask = cv2.morphologyEx(strokes.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    lines = skeleton(mask)
    radius = cv2.distanceTransform(mask, cv2.DIST_L2, 5)
    if not lines.any():
        return lines > 0
    pieces, area, extent = _pieces(mask)
    broad = np.full(len(area), max(2 * float(np.median(radius[lines > 0])), min(strokes.shape) / 60))
    broad[area > 0.5 * extent**2] = min(strokes.shape) / 60  # a round piece is no stroke, though it were the only one
    broad = broad[pieces]
    # Distance from the inside of the blots: they are its pixels up to their own radius, as in an opening.
    inside = cv2.distanceTransform((radius <= broad).astype(np.uint8), cv2.DIST_L2, 5)
    blots = (inside <= broad) & (mask > 0)
    outline = blots & (cv2.erode(mask, np.ones((3, 3), np.uint8)) == 0)
    return ((lines > 0) & ~blots) | outline


def _broad_edges(drawing: Pixels, *, near: Plane, detail: float) -> Plane:
    """Return the edges of what is too broad for a stroke; edges beside the strokes `near` are their own two sides."""
    side = min(drawing.shape[:2])
    sigma = max(1.0, side / 256 * (2.2 - 1.4 * detail))
    contrast = 60 - 40 * detail  # the step, of 255, that counts as an edge
    high = contrast * 8 / (sigma * np.sqrt(2 * np.pi))  # its slope after the blur, under Sobel's kernel of weight 8
    edges = cv2.Canny(cv2.GaussianBlur(drawing, (0, 0), sigma), 0.4 * high, high)
    edges[cv2.distanceTransform((~near).astype(np.uint8), cv2.DIST_L2, 5) < 2 * sigma + 1] = 0
    pieces, _, extent = _pieces(edges)
    kept = extent >= side * (0.1 - 0.08 * detail)
    kept[0] = False
    return kept[pieces]
