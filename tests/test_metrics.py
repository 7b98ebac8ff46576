"""Edge agreement on pictures with known answers."""

import numpy as np
import pytest

from cnxs.metrics import edge_agreement, frechet_distance


def line(x: int, *, size: int = 256) -> np.ndarray:
    mask = np.zeros((size, size), bool)
    mask[:, x] = True
    return mask


def test_the_same_lines_agree_fully() -> None:
    agreement = edge_agreement(line(100), line(100))
    assert (agreement.precision, agreement.recall, agreement.f) == (1, 1, 1)


@pytest.mark.parametrize(("shift", "found"), [(2, 1), (3, 0)])
def test_the_tolerance_is_two_pixels_at_256(shift: int, found: int) -> None:
    assert edge_agreement(line(100), line(100 + shift)).f == found


def test_the_tolerance_grows_with_the_picture() -> None:
    assert edge_agreement(line(100, size=512), line(104, size=512)).f == 1


def test_extra_edges_cost_precision_and_missing_ones_recall() -> None:
    both = line(50) | line(200)
    assert edge_agreement(both, line(50)).precision == 0.5
    assert edge_agreement(line(50), both).recall == 0.5
    assert edge_agreement(line(50), both).f == pytest.approx(2 / 3)


def test_nothing_agrees_with_nothing() -> None:
    empty = np.zeros((256, 256), bool)
    assert edge_agreement(empty, line(50)).f == 0
    assert edge_agreement(empty, empty).f == 0


def gaussian(*, mean: float, scale: float) -> np.ndarray:
    """Return 400 samples in 3 dimensions whose mean and covariance, scale^2 times the unit matrix, are exact."""
    samples = np.random.default_rng(0).standard_normal((400, 3))
    samples -= samples.mean(axis=0)
    whitening = np.linalg.cholesky(np.linalg.inv(np.cov(samples, rowvar=False)))
    return samples @ whitening * scale + mean


def test_frechet_distance_of_two_gaussians_is_the_closed_form() -> None:
    # |m1 - m2|^2 + D (s1 - s2)^2 with D = 3
    distance = frechet_distance(gaussian(mean=0, scale=1), gaussian(mean=2, scale=3))
    assert distance == pytest.approx(3 * 2**2 + 3 * (3 - 1) ** 2)


def test_frechet_distance_of_correlated_gaussians_is_symmetric_and_closed() -> None:
    turn = np.array([[0.6, -0.8, 0], [0.8, 0.6, 0], [0, 0, 1]])
    samples = gaussian(mean=0, scale=1) * [1, 2, 4]
    turned = samples @ turn.T
    forth, back = frechet_distance(samples, turned), frechet_distance(turned, samples)
    # By hand: of the turned plane, tr (C1 C2)^(1/2) = sqrt(tr(C1 C2) + 2 det C1), C1 = diag(1, 4).
    product = np.trace(np.diag([1, 4]) @ turn[:2, :2] @ np.diag([1, 4]) @ turn[:2, :2].T)
    assert forth == pytest.approx(2 * 5 - 2 * np.sqrt(product + 2 * 4))
    assert back == pytest.approx(forth)


def test_frechet_distance_of_a_set_from_itself_is_zero() -> None:
    samples = np.random.default_rng(1).standard_normal((5, 8)).astype(np.float32)
    assert frechet_distance(samples, samples) == pytest.approx(0, abs=1e-6)
