"""Edge agreement on pictures with known answers."""

import numpy as np
import pytest

from cnxs.metrics import edge_agreement


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
