"""The evaluation's samples, figures, tables and sheets, on the bundled miniature with two cases and two steps."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cnxs.checkpoints import native
from cnxs.errors import InputError
from cnxs.evaluation import __main__ as command
from cnxs.evaluation import options
from cnxs.evaluation.bench import Bench, Samples, Subject, with_gains
from cnxs.evaluation.connections import connection_names, measure_connections
from cnxs.evaluation.following import follow, score
from cnxs.evaluation.plot import effects_plot
from cnxs.evaluation.sheet import Section, contact_sheet
from cnxs.evaluation.subjects import case_pictures, drawing_subjects, edge_subjects, line_subjects
from cnxs.evaluation.tables import edges_table, lines_table, markdown
from cnxs.miniature import ASSETS
from cnxs.model import ControlNetXS

CANNY = ASSETS / "controls" / "canny.safetensors"


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def bench() -> Bench:
    return Bench(steps=2)


@pytest.fixture(scope="module")
def control() -> ControlNetXS:
    return native.load(CANNY)


@pytest.fixture(scope="module")
def subjects() -> list[Subject]:
    return edge_subjects(2)


@pytest.fixture(scope="module")
def whole(bench: Bench, subjects: list[Subject], control: ControlNetXS) -> Samples:
    return bench.sample(subjects, control)


def square(left: int, *, side: int = 100) -> Image.Image:
    pixels = np.zeros((256, 256, 3), np.uint8)
    pixels[40 : 40 + side, left : left + side] = 255
    return Image.fromarray(pixels)


def subject_of(picture: Image.Image, name: str) -> Subject:
    lines = np.asarray(picture)[..., 0] > 0
    inner = np.roll(lines, 1, 0) & np.roll(lines, -1, 0) & np.roll(lines, 1, 1) & np.roll(lines, -1, 1)
    outline = lines & ~inner
    return Subject(name=name, caption="", seed=0, control_map=picture, lines=outline)


def test_a_picture_of_its_own_lines_scores_full_and_one_of_others_scores_nothing() -> None:
    pictures = [square(20), square(140)]
    subjects = [subject_of(picture, str(i)) for i, picture in enumerate(pictures)]
    row = score(subjects, pictures, strength=1, tolerance=2)
    assert (row.precision, row.recall, row.f) == (1, 1, 1)
    assert row.other_recall < 0.1
    swapped = score(subjects, pictures[::-1], strength=1, tolerance=2)
    assert swapped.recall < 0.1
    assert swapped.other_recall == 1


def test_strength_zero_is_sampled_once_and_is_the_base(
    bench: Bench, subjects: list[Subject], control: ControlNetXS
) -> None:
    plain = bench.sample(subjects, control, control_scale=0)
    again = bench.sample_plain(subjects[:1])
    assert torch.equal(plain.latents[:1], again.latents)
    assert plain.pictures[0] is again.pictures[0]


def test_a_batch_gives_the_pictures_of_one_at_a_time(
    bench: Bench, subjects: list[Subject], control: ControlNetXS, whole: Samples
) -> None:
    alone = bench.sample(subjects[1:], control)
    assert torch.allclose(whole.latents[1:], alone.latents, atol=1e-4)


def test_all_connections_off_is_the_base_and_the_control_stays_as_it_was(
    bench: Bench, subjects: list[Subject], control: ControlNetXS, whole: Samples
) -> None:
    off = with_gains(control, [0.0] * len(control.spec.connection_gains))
    assert control.spec.connection_gains[0] == 1
    assert off.encoder is control.encoder
    plain = bench.sample_plain(subjects)
    assert torch.allclose(bench.sample(subjects, off).latents, plain.latents, atol=1e-4)
    assert (whole.latents - plain.latents).abs().max() > 0.1


def test_windows_beside_each_other_are_one_window(
    bench: Bench, subjects: list[Subject], control: ControlNetXS, whole: Samples
) -> None:
    halves = bench.sample(subjects, control, windows=((0.0, 0.5), (0.5, 1.0)))
    assert torch.allclose(halves.latents, whole.latents, atol=1e-4)


def test_the_ceiling_stands_above_what_is_generated(
    bench: Bench, subjects: list[Subject], control: ControlNetXS
) -> None:
    lines: list[str] = []
    following = follow(
        bench,
        subjects,
        control,
        network="canny",
        kind="cases",
        strengths=(0.0, 1.0),
        tolerance=2,
        references=case_pictures(2),
        report=lines.append,
    )
    assert following.ceiling is not None
    assert following.ceiling.f > 0.6 > following.at(0).f
    assert len(lines) == 2
    table = edges_table(following)
    assert f"{following.ceiling.f:.3f}" in table.splitlines()[-1]
    assert f"{0.8 * following.ceiling.f:.3f}" in table.splitlines()[-2]
    assert len(lines_table(following).splitlines()) == 5


def test_line_maps_and_drawings_are_subjects_whose_maps_hold_their_lines() -> None:
    for subject in [*line_subjects(2), *drawing_subjects(2, condition="scribble")]:
        near = np.asarray(subject.control_map)[..., 0] > 127
        assert subject.lines.any()
        assert (near & subject.lines).sum() > 0.9 * subject.lines.sum()
    thick, thin = (drawing_subjects(1, condition=name)[0].control_map for name in ("scribble", "canny"))
    assert np.asarray(thin).sum() < np.asarray(thick).sum() / 2


def test_connections_are_named_in_the_order_of_their_gains(control: ControlNetXS) -> None:
    names = connection_names(control.spec)
    assert len(names) == len(control.spec.connection_gains) == 13
    assert (names[0], names[6], names[12]) == ("encoder 0", "middle 0", "decoder 5")


def test_each_part_that_is_off_has_its_row_and_bar(subjects: list[Subject], control: ControlNetXS) -> None:
    effects = measure_connections(Bench(steps=1), subjects[:1], control)
    assert [effect.group for effect in effects].count("connection") == 13
    assert [effect.group for effect in effects].count("schedule") == 10
    by_name = {effect.name: effect for effect in effects}
    assert by_name["none"].latent == 0
    assert by_name["all"].latent == pytest.approx(1)
    assert by_name["encoder"].latent > 0.05
    plot = effects_plot(effects)
    assert plot.height > 20 * (len(effects) - 2)
    assert len(plot.getcolors(plot.width * plot.height) or []) > 5


def test_the_sheet_shows_maps_and_every_strength() -> None:
    pictures = (square(20), square(140))
    subjects = [subject_of(picture, str(i)) for i, picture in enumerate(pictures)]
    row = score(subjects, pictures, strength=1, tolerance=2)
    samples = {strength: Samples(latents=torch.zeros(2), pictures=pictures) for strength in (0.0, 0.5, 1.0)}
    following = command.Following(network="canny", subjects="cases", tolerance=2, rows=(row,), samples=samples)
    sheet = contact_sheet([Section(subjects, following)])
    assert sheet.width > 2 * 4 * 128
    assert contact_sheet([Section(subjects, following)] * 2).height > 1.8 * sheet.height


def test_tables_are_aligned_markdown() -> None:
    table = markdown("a|number", [["one", "1.0"], ["eleven", "11.0"]]).splitlines()
    assert table == ["| a      | number |", "|--------|-------:|", "| one    |    1.0 |", "| eleven |   11.0 |"]


def test_the_edges_command_prints_its_tables_and_writes_its_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sheet, figures = tmp_path / "sheet.png", tmp_path / "edges.json"
    given = ["edges", "--controls", str(CANNY), "--cases", "2", "--steps", "1"]
    assert command.main([*given, "--sheet", str(sheet), "--json", str(figures)]) == 0
    assert capsys.readouterr().out.count("| strength") == 2
    results = json.loads(figures.read_text("utf-8"))["results"]
    assert [row["strength"] for row in results[0]["rows"]] == [0, 0.25, 0.5, 0.75, 1]
    assert results[0]["ceiling"]["f"] > 0.6
    assert results[1]["subjects"] == "drawings"
    with Image.open(sheet) as picture:
        assert picture.width > 1500


def test_two_files_of_one_name_are_two_networks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = tmp_path / CANNY.name
    copy.write_bytes(CANNY.read_bytes())
    figures = tmp_path / "edges.json"
    given = ["edges", "--controls", str(CANNY), str(copy), "--cases", "2", "--steps", "1", "--json", str(figures)]
    assert command.main(given) == 0
    first, second, _ = (result["network"] for result in json.loads(figures.read_text("utf-8"))["results"])
    assert (first, second) == ("controls/canny", f"{tmp_path.name}/canny")
    capsys.readouterr()


def test_bad_input_is_told_in_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError) as caught:
        options.find_controls([tmp_path])
    assert caught.value.key == "evaluation_no_control"
    assert command.main(["edges", "--cases", "0"]) == 2
    assert "--cases is 0" in capsys.readouterr().err
