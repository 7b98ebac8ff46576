"""Measures of how well an image follows its control. Pure functions of pictures."""

from dataclasses import dataclass

import cv2
import numpy as np
from PIL.Image import Image

REFERENCE_SIDE = 256  # pixels: the side at which a tolerance is stated; it grows with larger pictures


@dataclass(frozen=True)
class EdgeAgreement:
    """How edges of an image and lines of a map cover each other, each 0 to 1."""

    precision: float  # share of the image's edges that lie near a line of the map
    recall: float  # share of the map's lines that lie near an edge of the image

    @property
    def f(self) -> float:
        """The harmonic mean of precision and recall; 0 where both are."""
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / total if total else 0.0


def canny_edges(image: Image) -> np.ndarray:
    """Return the edges of a picture by Canny 100/200 without blur, (H, W) bool."""
    return cv2.Canny(np.asarray(image.convert("RGB")), 100, 200) > 0


def edge_agreement(edges: np.ndarray, lines: np.ndarray, *, tolerance: float = 2) -> EdgeAgreement:
    """Compare edges with lines, both (H, W) bool.

    Args:
        edges: of the generated image.
        lines: of the map, one pixel thin.
        tolerance: pixels at 256 x 256, growing in proportion with the shorter side.
    """
    radius = max(1, round(tolerance * min(edges.shape) / REFERENCE_SIDE))
    kernel = np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)

    def near(mask: np.ndarray) -> np.ndarray:
        return cv2.dilate(mask.astype(np.uint8), kernel) > 0

    return EdgeAgreement(
        precision=float((edges & near(lines)).sum() / max(1, edges.sum())),
        recall=float((lines & near(edges)).sum() / max(1, lines.sum())),
    )


def frechet_distance(features: np.ndarray, others: np.ndarray) -> float:
    """Return the Frechet distance between two sets of features, each taken for a Gaussian.

    |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), as the Frechet inception distance has it (arXiv 1706.08500, eq. 6).

    Args:
        features: (N, D), N of two or more; with fewer samples than dimensions the distance comes out too large.
        others: (M, D).
    """
    covariance, other = (np.atleast_2d(np.cov(x, rowvar=False, dtype=np.float64)) for x in (features, others))
    # C1 C2 has the eigenvalues of C1^(1/2) C2 C1^(1/2), which is symmetric.
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(values.clip(min=0)) @ vectors.T
    shared = np.sqrt(np.linalg.eigvalsh(root @ other @ root).clip(min=0)).sum()
    between = np.square(features.mean(axis=0, dtype=np.float64) - others.mean(axis=0, dtype=np.float64)).sum()
    return max(0.0, float(between + np.trace(covariance) + np.trace(other) - 2 * shared))
