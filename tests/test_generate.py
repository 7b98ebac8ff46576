"""The command line for batches: the app's own pixels, resumable, errors in sentences."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from cnxs import generate, pnginfo


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, box in (("left", (20, 60, 120, 180)), ("right", (140, 60, 240, 180))):
        picture = Image.new("RGB", (256, 256), "white")
        ImageDraw.Draw(picture).ellipse(box, fill="red")
        picture.save(folder / f"{name}.png")
    return folder


def run(*options: str | Path) -> None:
    generate.main([*map(str, options), "--steps", "2", "--threads", "1", "--device", "cpu"])


def test_a_folder_makes_every_strength_and_goes_on_where_it_stopped(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    options = ("--control", photos, "--prompt", "a red apple, 3d render", "--strengths", "0,1", "--out", out)
    run(*options)
    names = ["left-s0-0.png", "left-s1-0.png", "right-s0-0.png", "right-s1-0.png"]
    assert sorted(file.name for file in out.iterdir()) == names
    assert "4 new images" in capsys.readouterr().out

    first = {name: (out / name).read_bytes() for name in names}
    (out / names[1]).unlink()
    run(*options)
    assert "1 new images" in capsys.readouterr().out
    assert {name: (out / name).read_bytes() for name in names} == first

    # Strength 0 is the plain base, so the picture does not matter; strength 1 follows it.
    pixels = {name: np.asarray(Image.open(io.BytesIO(data))).astype(int) for name, data in first.items()}
    assert np.array_equal(pixels[names[0]], pixels[names[2]])
    assert np.abs(pixels[names[1]] - pixels[names[3]]).max() > 30
    restored = pnginfo.read(first[names[1]]).request
    assert restored is not None
    assert restored.prompt == "a red apple, 3d render"
    assert restored.controls[0].control_scale == 1


def test_prompts_come_from_a_csv(tmp_path: Path) -> None:
    (tmp_path / "prompts.csv").write_text("name,prompt\ntree,a tree\nbear,a bear\n", encoding="utf-8")
    run("--prompts", tmp_path / "prompts.csv", "--out", tmp_path / "out", "--seeds", "3")
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["bear-3.png", "tree-3.png"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--control", "nowhere.png"), "no file or folder nowhere.png"),
        (("--base", "nothing"), "no base model nothing"),
        (("--sampler", "nothing"), "no sampler nothing"),
        (("--size", "250,256"), "multiples of 16"),
        (("--device", "nothing"), "device nothing cannot be used"),
    ],
)
def test_errors_are_sentences(options: tuple[str, str], words: str, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as stopped:
        generate.main([*options, "--steps", "1", "--out", str(tmp_path)])
    assert words in str(stopped.value)


def test_a_folder_without_pictures_is_said(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(SystemExit) as stopped:
        run("--control", tmp_path, "--out", tmp_path / "out")
    assert "holds no picture" in str(stopped.value)


def test_a_csv_without_prompts_is_said(tmp_path: Path) -> None:
    (tmp_path / "prompts.csv").write_text("words\nx\n")
    with pytest.raises(SystemExit) as stopped:
        run("--prompts", tmp_path / "prompts.csv", "--out", tmp_path / "out")
    assert "no column named prompt" in str(stopped.value)


def test_frames_of_a_clip_go_in_by_number_and_come_out_under_their_names(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "left.png").rename(photos / "frame10.png")
    (photos / "right.png").rename(photos / "frame9.png")
    options = ("--control", photos, "--prompt", "a red apple", "--frames", "--seeds", "4", "--out", tmp_path / "out")
    run(*options)
    told = capsys.readouterr()
    assert told.err.index("frame9.png  ") < told.err.index("frame10.png  ")
    assert "frames per second" in told.out
    requests = [pnginfo.read((tmp_path / "out" / f"frame{i}.png").read_bytes()).request for i in (9, 10)]
    assert [request.seed for request in requests if request] == [4, 4]


@pytest.mark.parametrize("more", [("--seeds", "1,2"), ("--strengths", "0,1"), ("--control", "left.png")])
def test_a_frame_gives_one_picture(photos: Path, tmp_path: Path, more: tuple[str, str]) -> None:
    values = {"--control": photos, "--out": tmp_path / "out"} | {
        more[0]: photos / more[1] if more[0] == "--control" else more[1]
    }
    with pytest.raises(SystemExit) as stopped:
        run(*(part for option in values.items() for part in option), "--frames")
    assert "one picture is made of each" in str(stopped.value)
