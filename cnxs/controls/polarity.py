"""Which way round a drawing is: dark lines on a light ground, or light lines on a dark one."""

import cv2
import numpy as np
from numpy.typing import NDArray

from cnxs.images import Pixels, Plane

_SIDE = 256  # pixels: drawings are judged at this size
_STROKE = 11  # pixels at that size: what is narrower is a stroke, what is wider is ground or a filled shape
_CONTRAST = 16.0  # of 255: below it a stroke is noise
_CLEAR = 0.4  # of the strongest stroke: below it are ruled paper and grain
_BIMODAL = 0.82  # share of the variance that two grey levels must explain before the border says anything


def dark_lines(image: Pixels) -> bool:
    """Say whether `image`, (H, W, 3) uint8 RGB, shows dark lines on a light ground.

    Two witnesses are heard. Stroke width: which of dark and light forms narrow strokes (top-hat and black-hat
    transforms), which soft shadows cannot confuse. Border colour: which of the two lies along the border, heard only
    where the picture falls into two grey levels. So a filled shape, which has no strokes, is not taken for the ground.
    """
    grey = cv2.cvtColor(_small(image), cv2.COLOR_RGB2GRAY)
    return _by_strokes(grey) + 2 * _by_border(grey) >= 0


def stroke_contrast(image: Pixels) -> NDArray[np.float32]:
    """Return weights of red, green and blue, of sum 1, under which dark strokes stand out most.

    Blue ink is bright in the blue channel of yellow paper, so that channel gets no weight there.
    """
    dark, light = (hat.sum(axis=(0, 1), dtype=np.float64) for hat in _hats(_small(image)))
    weights = np.maximum(dark - light, 0)
    return (weights / weights.sum() if weights.any() else np.full(3, 1 / 3)).astype(np.float32)


def _small(image: Pixels) -> Pixels:
    height, width = image.shape[:2]
    shrink = min(_SIDE / max(height, width), 1.0)
    size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def _hats(picture: Plane) -> tuple[Plane, Plane]:
    """Return how far each pixel is darker, and how far lighter, than everything broader than a stroke; 0: noise."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_STROKE, _STROKE))
    # A replicated border keeps a filled shape that touches it from looking narrow.
    framed = cv2.copyMakeBorder(picture, _STROKE, _STROKE, _STROKE, _STROKE, cv2.BORDER_REPLICATE)
    dark, light = (cv2.morphologyEx(framed, hat, kernel) for hat in (cv2.MORPH_BLACKHAT, cv2.MORPH_TOPHAT))
    least = max(_CONTRAST, _CLEAR * float(max(np.percentile(dark, 99.8), np.percentile(light, 99.8))))
    return np.where(dark >= least, dark, 0).astype(np.uint8), np.where(light >= least, light, 0).astype(np.uint8)


def _by_strokes(grey: Plane) -> float:
    """Return -1 (light strokes) to 1 (dark strokes); 0 where there are none or as many of both."""
    dark, light = (float(hat.sum(dtype=np.float64)) for hat in _hats(grey))
    return (dark - light) / max(dark + light, 1.0)


def _by_border(grey: Plane) -> float:
    """Return -1 (dark border, so light lines) to 1 (light border); 0 where it is mixed or there are no two levels."""
    _, halves = cv2.threshold(grey, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    light = float(halves.mean())
    variance = float(grey.var())
    if variance == 0:
        return 1.0 if grey.flat[0] > 127 else -1.0
    if light in (0.0, 1.0):
        return 0.0
    between = light * (1 - light) * (float(grey[halves == 1].mean()) - float(grey[halves == 0].mean())) ** 2
    if between / variance < _BIMODAL:
        return 0.0
    edge = max(1, min(grey.shape) // 64)
    inner = np.ones_like(grey, bool)
    inner[edge:-edge, edge:-edge] = False
    return float(2 * halves[inner].mean() - 1)
