"""The examples that ship: small, listed, and each gives a map."""

import json
from pathlib import Path

import numpy as np
import pytest

from cnxs import controls, images
from cnxs.registry import CONTROL_KINDS

FOLDER = Path(__file__).resolve().parent.parent / "assets" / "examples"
EXAMPLES = json.loads((FOLDER / "examples.json").read_text("utf-8"))


def test_every_picture_is_listed_once() -> None:
    assert sorted(example["file"] for example in EXAMPLES) == sorted(path.name for path in FOLDER.glob("*.png"))
    assert {example["source"] for example in EXAMPLES} == {"photo", "sketch"}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example["file"])
def test_every_example_gives_a_map_of_some_lines(example: dict[str, str]) -> None:
    data = (FOLDER / example["file"]).read_bytes()
    assert len(data) < 150_000
    assert example["prompt"]
    assert CONTROL_KINDS[example["kind"]].line_map
    placed = images.place(images.load(data), width=256, height=256, placement="crop")
    drawn = np.asarray(controls.draw(placed, kind=example["kind"], params={}).map)
    assert 0.01 < (drawn > 0).mean() < 0.2
