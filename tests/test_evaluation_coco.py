"""The paper's comparison, end to end on the miniature with three pictures and two steps."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from cnxs.evaluation import __main__ as command
from cnxs.evaluation.coco import ControlError, Figure, Pair, figures_table

OPTIONS = ("--base", "miniature", "--steps", "2", "--guidance", "4", "--threads", "1", "--device", "cpu")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i, colour in enumerate(("red", "green", "blue")):
        picture = Image.new("RGB", (256, 256), "white")
        ImageDraw.Draw(picture).ellipse((40 + 20 * i, 60, 160 + 20 * i, 180), fill=colour)
        picture.save(folder / f"{i}.png")
        (folder / f"{i}.txt").write_text(f"a {colour} ball, 3d render")
    return folder


def run(*options: str | Path) -> int:
    return command.main(["coco", *OPTIONS, *map(str, options)])


def test_every_measure_that_can_be_is_measured_and_the_others_say_what_they_lack(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, figures = tmp_path / "out", tmp_path / "figures.json"
    out.mkdir()
    options = ("--images", pictures, "--features", "miniature", "--out", out, "--json", figures)
    assert run(*options) == 0
    printed = capsys.readouterr().out
    assert "3 pictures, miniature, canny, DDIM, 2 steps, guidance 4, seed 0" in printed
    assert "15.13" in printed
    found = {entry["name"]: entry for entry in json.loads(figures.read_text())["figures"]}
    assert found["FID"]["value"] > 0
    assert 0 <= found["edge F"]["value"] <= 1
    assert (found["CLIP"]["value"], found["CLIP"]["note"]) == (None, "needs --clip FOLDER")

    made = {file.name: file.stat().st_mtime_ns for file in out.iterdir()}
    assert len(made) == 3
    assert run(*options) == 0
    assert {file.name: file.stat().st_mtime_ns for file in out.iterdir()} == made
    assert json.loads(figures.read_text())["figures"] == list(found.values())


def test_captions_come_from_the_file_of_coco_as_well(pictures: Path, tmp_path: Path) -> None:
    for file in pictures.glob("*.txt"):
        file.unlink()
    captions = tmp_path / "captions.json"
    images = [{"id": 7 + i, "file_name": f"{i}.png"} for i in range(3)]
    annotations = [{"image_id": 7 + i % 3, "caption": f"ball {i}"} for i in range(6)]
    captions.write_text(json.dumps({"images": images, "annotations": annotations}))
    (tmp_path / "out").mkdir()
    assert run("--images", pictures, "--captions", captions, "--count", "2", "--out", tmp_path / "out") == 0
    assert len(list((tmp_path / "out").iterdir())) == 2


@pytest.mark.parametrize("content", ["nonsense", "[]", '{"images": [], "annotations": []}'])
def test_captions_that_are_none_are_told(
    content: str, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "captions.json").write_text(content)
    assert run("--images", pictures, "--captions", tmp_path / "captions.json", "--out", tmp_path) == 2
    assert "captions.json" in capsys.readouterr().err


def test_a_map_that_comes_back_has_no_error_and_another_has() -> None:
    grey, white = (Image.new("RGB", (32, 32), colour) for colour in ("#808080", "white"))
    same, other = ControlError("depth"), ControlError("depth")
    same.add(Pair("", grey, grey, grey, grey))
    other.add(Pair("", grey, grey, grey, white))
    assert same.figures()[0].value == 0
    assert np.isclose(other.figures()[0].value, (127 / 255) ** 2)


def test_what_was_not_measured_is_no_number() -> None:
    assert "not measured" in figures_table([Figure("FID", None, "needs X")])
    assert "0.0000" not in figures_table([Figure("FID", None, "needs X")])
