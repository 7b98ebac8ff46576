"""From a folder of pictures to a control: what is found, what is kept on disk, and the command as a whole."""

import json
import logging
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from cnxs.checkpoints import native
from cnxs.errors import InputError, UnavailableError
from cnxs.training import cache
from cnxs.training.__main__ import main
from cnxs.training.folder import find_pictures, kind_for, read
from tests.tiny_training import config, frozen_base


def picture(number: int, size: tuple[int, int] = (128, 128)) -> Image.Image:
    """Return a light disc on a dark ground, left of the middle."""
    pixels = np.full((size[1], size[0], 3), 40, np.uint8)
    cv2.circle(pixels, (size[0] // 3, size[1] // 2), 20 + number, (250, 200 - 10 * number, 120), -1)
    return Image.fromarray(pixels)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(8):
        picture(number, (160, 80) if number > 5 else (128, 128)).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"disc number {number}\n", "utf-8")
    return folder


def command(tmp_path: Path, images: Path, *more: str) -> list[str]:
    output = tmp_path / "mine.safetensors"
    fixed = ["--condition", "canny", "--images", str(images), "--output", str(output), "--size", "128"]
    return [*fixed, "--steps", "2", "--batch-size", "2", "--widths", "8,8,8", "--threads", "1", *more]


def test_captions_stand_beside_pictures_or_in_one_file(pictures: Path) -> None:
    (pictures / "3.txt").unlink()
    with pytest.raises(InputError, match=r"3\.png has no caption \(1 pictures"):
        find_pictures(pictures)
    assert [item.caption for item in find_pictures(pictures, caption="a disc")][2:4] == ["disc number 2", "a disc"]
    (pictures / "metadata.jsonl").write_text(json.dumps({"file_name": "3.png", "text": "a third"}) + "\n", "utf-8")
    assert [item.caption for item in find_pictures(pictures)][2:4] == ["disc number 2", "a third"]
    (pictures / "metadata.jsonl").write_text('{"file_name": "3.png"}\n', "utf-8")
    with pytest.raises(InputError, match="Line 1"):
        find_pictures(pictures)


def test_maps_have_the_names_of_their_pictures(pictures: Path, tmp_path: Path) -> None:
    maps = tmp_path / "maps"
    maps.mkdir()
    for number in range(8):
        Image.new("RGB", (40, 40), (number, number, number)).save(maps / f"{number}.png")
    found = find_pictures(pictures, maps=maps)
    _, control_map = read(found[5], condition="mine", native_size=128)
    assert control_map.size == (128, 128)
    assert control_map.getpixel((64, 64)) == (5, 5, 5)
    (maps / "5.png").unlink()
    with pytest.raises(InputError, match=r"5\.png has no control map"):
        find_pictures(pictures, maps=maps)


def test_an_empty_folder_and_an_unknown_condition_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no pictures"):
        find_pictures(tmp_path)
    assert (kind_for("canny"), kind_for("colour")) == ("canny", "colour_grid")
    with pytest.raises(InputError, match="--maps"):
        kind_for("holograms")


def test_pictures_keep_their_shape_and_maps_fit(pictures: Path) -> None:
    found = find_pictures(pictures)
    for item, size in ((found[0], (128, 128)), (found[7], (192, 64))):
        image, control_map = read(item, condition="canny", native_size=128)
        assert image.size == control_map.size == size
    assert np.asarray(control_map).any()


def test_canny_maps_have_chance_thresholds_that_the_name_decides(pictures: Path, tmp_path: Path) -> None:
    discs = np.full((128, 128, 3), 40, np.uint8)
    for row in range(9):
        cv2.circle(discs, (24 + 40 * (row % 3), 24 + 40 * (row // 3)), 14, (60 + 10 * row,) * 3, -1)
    for number in range(8):
        Image.fromarray(discs).save(pictures / f"{number}.png")

    def maps(condition: str) -> list[bytes]:
        found = find_pictures(pictures)
        return [read(item, condition=condition, native_size=128)[1].tobytes() for item in found]

    drawn = maps("canny")
    assert drawn == maps("canny")
    assert set(b"".join(drawn)) == {0, 255}
    assert len(set(drawn)) > 2
    assert len(set(maps("soft_edge"))) == 1, "other kinds have no chance in them"


def test_one_command_makes_a_control_from_a_folder(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    (pictures / "4.png").write_bytes((pictures / "4.png").read_bytes()[:200])
    assert main([*command(tmp_path, pictures), "--dry-run"]) == 0
    told = capsys.readouterr().out
    for words in ("8 pictures", "memory, estimated", "(2 images at a time)", "time, estimated", "2 steps"):
        assert words in told
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pictures"], "a dry run writes nothing"

    with caplog.at_level(logging.WARNING, logger="cnxs.training.folder"):
        assert main(command(tmp_path, pictures)) == 0
    assert "4.png: This picture is damaged" in caplog.text
    spec = native.read_spec(tmp_path / "mine.safetensors")
    assert (spec.condition, spec.base_family, dict(spec.training)["images"]) == ("canny", "miniature", 4)
    assert len(spec.base_sha256) == 64
    run = tmp_path / "mine.run"
    assert {"config.json", "curve.csv", "curve.png", "sheet_0000002.png", "state.pt"} <= {p.name for p in run.iterdir()}
    check_samples(next(run.glob("samples-*")))


def check_samples(folder: Path) -> None:
    tensors = load_file(folder / "00000.safetensors")
    assert {name.split(".")[0] for name in tensors} == set("0123567"), "all but the damaged picture"
    plain, mirrored = tensors["0.0.map"], tensors["0.1.map"]
    assert plain.shape == (1, 128, 128)
    assert plain[..., :64].sum() > plain[..., 64:].sum(), "the disc is on the left"
    assert np.array_equal(mirrored, plain[..., ::-1])
    assert tensors["7.0.latent"].shape == (16, 4, 12)


def test_finished_shards_are_kept(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base, found = frozen_base(), find_pictures(pictures)
    settings = config(tmp_path, size=64)
    monkeypatch.setattr(cache, "_SHARD", 3)
    asked: list[str] = []

    def sample(image: Image.Image, control_map: Image.Image, caption: str, *, base: object, channels: int) -> dict:
        asked.append(caption)
        if caption == "disc number 4" and len(asked) < 12:
            raise KeyboardInterrupt
        return {"latent": cache.to_signed_tensor(image)[0]}

    monkeypatch.setattr(cache, "_sample", sample)
    folder = cache.cache_folder(settings, found, base)
    monkeypatch.setattr(cache, "estimated_bytes", lambda count, **_: 10**18)
    with pytest.raises(UnavailableError, match=r"about 1000000000\.0 GB"):
        cache.fill(folder, found, config=settings, base=base)
    monkeypatch.setattr(cache, "estimated_bytes", lambda count, **_: 0)
    with pytest.raises(KeyboardInterrupt):
        cache.fill(folder, found, config=settings, base=base)
    assert [path.name for path in folder.iterdir()] == ["00000.safetensors"]
    asked.clear()
    asked.extend(["before"] * 12)
    cache.fill(folder, found, config=settings, base=base)
    assert "disc number 0" not in asked
    assert sorted(path.name for path in folder.iterdir()) == [f"0000{i}.safetensors" for i in range(3)]
    (pictures / "0.txt").write_text("another caption", "utf-8")
    assert cache.cache_folder(settings, find_pictures(pictures), base) != folder


def test_a_bad_command_ends_in_a_sentence(tmp_path: Path, pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command(tmp_path, pictures), "--base", str(tmp_path)]) == 2
    assert "no base model" in capsys.readouterr().err
    assert main([*command(tmp_path, pictures), "--pool", str(tmp_path)]) == 2
    assert "--images" in capsys.readouterr().err
    (pictures / "3.txt").unlink()
    assert main(command(tmp_path, pictures)) == 2
    assert "3.png has no caption" in capsys.readouterr().err
