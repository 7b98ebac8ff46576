"""The lines that are printed on ruled and squared paper: straight, parallel, evenly spaced, pale or blue."""

import cv2
import numpy as np
from numpy.typing import NDArray

from cnxs.images import Pixels, Plane

_TILT = np.deg2rad(12.0)  # how far the paper may be turned
_PARALLEL = np.deg2rad(2.0)
_SPAN = 0.45  # of the picture's width or height: the shortest ruled line
_MIN_LINES = 6
_PALE = 0.75  # of the pen's darkness
_BLUE = 0.75  # blue light that a blue line takes away, as a share of the red light it takes away


def ruled_lines(drawing: Pixels, *, darkness: Plane, least: float) -> Plane:
    """Return the pixels of ruled lines, leaving out where a darker stroke crosses them.

    Args:
        drawing: (H, W, 3) uint8 RGB, dark on light.
        darkness: (H, W), share of the paper's light that each pixel lacks.
        least: the darkness from which a pixel counts.
    """
    ruled = np.zeros(darkness.shape, bool)
    mask = darkness > least
    for across in (False, True):
        bands = _bands(mask.astype(np.uint8), across=across)
        if bands is None or not (on_lines := bands & mask).any():
            continue
        ink = darkness[mask & ~bands]
        pen = float(np.percentile(ink, 90)) if ink.size else 1.0
        line = float(np.percentile(darkness[on_lines], 60))
        beside = cv2.dilate(bands.astype(np.uint8), np.ones((9, 9), np.uint8)).astype(bool) & ~mask
        if line < _PALE * pen:
            ruled |= bands & (darkness < (line + pen) / 2)
        elif beside.any() and _blue(drawing[on_lines], paper=drawing[beside]):
            ruled |= bands
    return ruled


def _blue(line: Pixels, *, paper: Pixels) -> bool:
    """Say whether a line, (N, 3) RGB, takes clearly less blue than red from the paper's light."""
    red, _, blue = np.median(paper, axis=0) - np.median(line, axis=0)
    return bool(blue < _BLUE * red)


def _bands(mask: Plane, *, across: bool) -> Plane | None:
    """Return bands around evenly spaced parallel lines, or None: about level ones, or `across` about upright ones."""
    upright = mask if across else np.ascontiguousarray(mask.T)
    height, width = upright.shape
    # In this frame ruled lines are about upright: their normal is about level, theta near 0.
    found = cv2.HoughLines(upright, 1, np.pi / 720, max(8, int(_SPAN * height)), min_theta=-_TILT, max_theta=_TILT)
    if found is None:
        return None
    lines = _distinct(found[:, 0, :2].astype(np.float64), height=height, gap=max(4.0, width / 64))
    if len(lines) >= _MIN_LINES:
        # Weaker lines between the others are strokes of the drawing.
        lines = _distinct(
            found[:, 0, :2].astype(np.float64), height=height, gap=0.6 * float(np.median(np.diff(lines[:, 0])))
        )
    if len(lines) < _MIN_LINES or not _evenly_spaced(lines[:, 0]):
        return None
    bands = np.zeros(upright.shape, np.uint8)
    thickness = max(5, round(min(mask.shape) / 60))
    for position, theta in lines:
        shift = np.tan(theta) * height / 2
        top, bottom = round(float(position + shift)), round(float(position - shift))
        cv2.line(bands, (top, 0), (bottom, height - 1), 1, thickness)
    return (bands if across else bands.T) > 0


def _distinct(found: NDArray[np.float64], *, height: int, gap: float) -> NDArray[np.float64]:
    """Return (position at mid-height, theta) of the strongest line of each bundle, sorted, all of about one angle."""
    rho, theta = found[:, 0], found[:, 1]
    position = (rho - np.sin(theta) * height / 2) / np.cos(theta)
    direction = float(np.median(theta[:_MIN_LINES]))  # the strongest come first
    chosen: list[tuple[float, float]] = []
    for place, angle in zip(position.tolist(), theta.tolist(), strict=True):
        if abs(angle - direction) < _PARALLEL and all(abs(place - other) >= gap for other, _ in chosen):
            chosen.append((place, angle))
    return np.array(sorted(chosen)).reshape(-1, 2)


def _evenly_spaced(positions: NDArray[np.float64]) -> bool:
    """Say whether most gaps are a whole number of the median gap: a line or two may be hidden."""
    gaps = np.diff(positions)
    ratio = gaps / np.median(gaps)
    return bool(np.mean((np.abs(ratio - np.rint(ratio)) < 0.2) & (ratio > 0.7)) >= 0.7)
