"""Controls that follow no lines: trained on a few samples, and measured by their own measure."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cnxs.checkpoints import native
from cnxs.errors import InputError
from cnxs.evaluation import __main__ as command
from cnxs.evaluation.bench import Bench
from cnxs.evaluation.options import CONTROLS
from cnxs.evaluation.own import colour_error, own_measure, region_agreement
from cnxs.evaluation.subjects import case_pictures, colour_subjects, depth_subjects, edge_subjects
from cnxs.training import __main__ as training
from tests.tiny_pool import maps_without_lines, write_pool


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def controls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a control for colours and one for depth, of a step each."""
    folder = tmp_path_factory.mktemp("own")
    pool = write_pool(folder / "pool", 4, extra=maps_without_lines(4))
    for condition in ("colour", "depth"):
        given = ["--condition", condition, "--pool", str(pool), "--output", str(folder / f"{condition}.safetensors")]
        small = ["--widths", "8,8,8", "--batch-size", "2", "--held-out", "2", "--steps", "1"]
        assert training.main([*given, *small, "--sheet-every", "1" if condition == "colour" else "0"]) == 0
    assert (folder / "colour.run" / "sheet_0000001.png").is_file()
    return folder


def test_colours_are_trained_on_three_channels_and_depth_on_one(controls: Path) -> None:
    specs = [native.read_spec(controls / f"{name}.safetensors") for name in ("colour", "depth")]
    assert [(spec.condition, spec.hint_channels) for spec in specs] == [("colour", 3), ("depth", 1)]


def test_the_colour_error_is_the_distance_of_the_grids() -> None:
    red, dark = Image.new("RGB", (256, 256), (200, 0, 0)), Image.new("RGB", (256, 256), (170, 0, 0))
    assert colour_error(red, red) == 0
    assert colour_error(red, dark) == pytest.approx(10)


def test_regions_agree_by_their_overlap() -> None:
    depth, picture = np.zeros((256, 256), np.uint8), np.full((256, 256, 3), 255, np.uint8)
    depth[60:160, 60:160] = 255
    picture[60:160, 110:210] = 30
    assert region_agreement(Image.fromarray(picture), Image.fromarray(depth)) == pytest.approx(1 / 3)
    plain = Image.new("RGB", (256, 256))
    assert region_agreement(plain, plain) == 1
    assert region_agreement(plain, Image.fromarray(depth)) == 0


def test_the_cases_own_pictures_keep_their_maps() -> None:
    pictures = case_pictures(24)
    assert own_measure("colour").mean(colour_subjects(24), pictures) < 0.5
    assert own_measure("depth").mean(depth_subjects(24), pictures) > 0.9
    decoded = Bench(steps=1).reconstruct(pictures[:8])
    assert own_measure("colour").mean(colour_subjects(8), decoded) < 6
    assert own_measure("depth").mean(depth_subjects(8), decoded) > 0.8
    with pytest.raises(InputError, match="blur"):
        own_measure("blur")


@pytest.mark.parametrize(("name", "condition"), [("colours", "colour"), ("depths", "depth")])
def test_the_commands_print_a_table_and_write_a_sheet(
    name: str, condition: str, controls: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sheet, figures = tmp_path / "sheet.png", tmp_path / "figures.json"
    given = [name, "--controls", str(controls), "--cases", "2", "--steps", "1"]
    assert command.main([*given, "--sheet", str(sheet), "--json", str(figures)]) == 0
    printed = capsys.readouterr().out
    assert printed.count("\n| ") == 7
    (result,) = json.loads(figures.read_text("utf-8"))["results"]
    assert (result["network"], result["measure"]) == (condition, name)
    assert [row["strength"] for row in result["rows"]] == [0, 0.25, 0.5, 0.75, 1]
    with Image.open(sheet) as picture:
        assert picture.width > 1500


def test_two_controls_at_once_are_measured_each_by_its_own(
    controls: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sheet, figures = tmp_path / "sheet.png", tmp_path / "figures.json"
    files = [str(CONTROLS / "canny.safetensors"), str(controls / "colour.safetensors")]
    given = ["together", "--controls", *files, "--cases", "2", "--steps", "2"]
    assert command.main([*given, "--sheet", str(sheet), "--json", str(figures)]) == 0
    printed = capsys.readouterr().out
    assert printed.count("| canny \\ colour") == 2
    assert "canny at strength 1 is" in printed
    (result,) = json.loads(figures.read_text("utf-8"))["results"]
    assert result["measures"] == ["edges", "colours"]
    assert [row["strengths"] for row in result["rows"]][:4] == [[0, 0], [0, 0.5], [0, 1], [0.5, 0]]
    with Image.open(sheet) as picture:
        assert picture.width > 900
    assert command.main(["together", "--controls", files[0], str(tmp_path / "none.safetensors")]) == 2
    assert "none.safetensors" in capsys.readouterr().err


def test_one_of_two_controls_at_strength_zero_leaves_the_other_alone() -> None:
    bench, subjects = Bench(steps=2), edge_subjects(2)
    control = native.load(CONTROLS / "canny.safetensors")
    alone = bench.sample(subjects, control, control_scale=0.7)
    pair = bench.sample_together([(subjects, control, 0.7), (subjects, control, 0.0)])
    assert torch.equal(alone.latents, pair.latents)
    both = bench.sample_together([(subjects, control, 0.7), (subjects, control, 0.3)])
    assert (both.latents - alone.latents).abs().max() > 0.01
