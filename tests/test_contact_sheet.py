"""Contact sheets: every image is there, in its order, with its words below."""

import numpy as np
import pytest
from PIL import Image

from cnxs import contact_sheet
from cnxs.contact_sheet import Tile

COLOURS = [(200, 30, 30), (30, 160, 60), (40, 60, 200), (220, 180, 40), (120, 40, 160)]


def tiles(size: tuple[int, int], *, lines: tuple[str, ...] = ("strength 0.5",)) -> list[Tile]:
    return [Tile(Image.new("RGB", size, colour), lines) for colour in COLOURS]


def boxes(sheet: Image.Image) -> list[tuple[int, int, int, int]]:
    """Return where each colour is: left, top, right, bottom."""
    pixels = np.asarray(sheet)
    found = []
    for colour in COLOURS:
        y, x = np.nonzero((pixels == colour).all(axis=2))
        found.append((int(x.min()), int(y.min()), int(x.max()), int(y.max())))
    return found


@pytest.mark.parametrize(("columns", "rows"), [(0, 1), (2, 3), (5, 1)])
def test_images_stand_in_rows_without_touching(columns: int, rows: int) -> None:
    placed = boxes(contact_sheet.draw(tiles((64, 48)), title="a red fox", about="seed 3", columns=columns))
    assert [(right - left + 1, bottom - top + 1) for left, top, right, bottom in placed] == [(64, 48)] * 5
    assert len({top for _, top, _, _ in placed}) == rows
    order = sorted(range(5), key=lambda index: (placed[index][1], placed[index][0]))
    assert order == [0, 1, 2, 3, 4]


def test_large_images_become_smaller() -> None:
    placed = boxes(contact_sheet.draw(tiles((2048, 1024)), title="t", about="a"))
    assert {right - left + 1 for left, _, right, _ in placed} == {contact_sheet.MAX_TILE}


@pytest.mark.parametrize("words", ["Stärke 0,5 · 45 % der Linien", "\ud83e \0 half", "w" * 500, ""])
def test_words_of_any_kind_are_drawn_below_and_nowhere_else(words: str) -> None:
    plain = contact_sheet.draw(tiles((64, 48), lines=("",)), title="t", about="a")
    sheet = contact_sheet.draw(tiles((64, 48), lines=(words,)), title="t", about="a")
    assert boxes(sheet) == boxes(plain)
    differs = np.argwhere((np.asarray(sheet) != np.asarray(plain)).any(axis=2))
    assert bool(len(differs)) == bool(words.strip())
    if len(differs):
        assert differs[:, 0].min() > boxes(sheet)[0][3]


def test_a_long_title_is_broken_into_lines() -> None:
    short = contact_sheet.draw(tiles((64, 48)), title="a fox", about="a")
    long = contact_sheet.draw(tiles((64, 48)), title="a fox " * 60, about="a")
    assert long.width == short.width
    assert long.height > short.height
