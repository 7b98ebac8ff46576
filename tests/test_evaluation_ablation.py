"""The ablation: peers of one size, trained and measured alike, row by row, on the bundled miniature."""

import csv
import json
import threading
from pathlib import Path

import pytest
import torch
from PIL import Image

from cnxs.checkpoints import native
from cnxs.errors import InputError
from cnxs.evaluation import __main__ as command
from cnxs.evaluation import ablation, measure
from cnxs.evaluation.ablation import Result, Task, run_reference, run_row
from cnxs.evaluation.ablation_report import table, write
from cnxs.evaluation.bench import Bench
from cnxs.evaluation.charts import Series, line_chart
from cnxs.evaluation.features import FeatureSpace
from cnxs.evaluation.measure import Budget
from cnxs.evaluation.peer_sampling import sample_peer
from cnxs.evaluation.peers import ControlNet, ControlNetPeer, CoupledPeer
from cnxs.evaluation.rows import PEERS, WIDTHS, Row, controlnet, find_rows, own_parameters
from cnxs.evaluation.subjects import case_pictures, edge_subjects
from cnxs.metrics import frechet_distance
from cnxs.miniature import ASSETS
from cnxs.model import ControlNetXS
from tests import tiny
from tests.tiny_pool import write_pool

BUDGET = Budget(images=8, batch_size=2, held_out=2, cases=3, steps=1)
LIGHT, TYPE_B = PEERS[1], PEERS[3]


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _few_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "_ROUNDS", 2)
    monkeypatch.setattr(ablation, "MARKS", (0.5, 1.0))
    monkeypatch.setattr(ablation, "SEED_OFFSETS", (0, 10_000))


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pool(tmp_path_factory.mktemp("data") / "pool", 6)


def task(row: Row, folder: Path, pool: Path, *, budget: Budget = BUDGET) -> Task:
    return Task(row=row, budget=budget, pools=(pool,), folder=folder / row.name)


def average_of(run: Task) -> dict[str, torch.Tensor]:
    return torch.load(run.folder / "run" / "state.pt", weights_only=True)["average"]


@pytest.mark.parametrize("channels", [None, (8, 8, 16)])
def test_an_untrained_controlnet_is_the_base_and_registers_itself_alone(channels: tuple[int, ...] | None) -> None:
    base = tiny.unet("miniature").requires_grad_(False)
    control = ControlNet(base, tiny.spec(base, hint_channels=1), channels=channels)
    peer = ControlNetPeer(base, control)
    given = tiny.inputs(base, factor=16)
    out = peer(given.sample, given.timestep, given.context, given.control_map[:, :1])
    assert torch.allclose(out, base(given.sample, given.timestep, given.context).sample, atol=1e-6)
    assert {id(p) for p in peer.parameters()} == {id(p) for p in control.parameters()}
    tiny.fill(control, seed=3)
    changed = peer(given.sample, given.timestep, given.context, given.control_map[:, :1])
    assert not torch.allclose(out, changed, atol=1e-3)
    off = peer(given.sample, given.timestep, given.context, given.control_map[:, :1], control_scale=0.0)
    assert torch.allclose(out, off, atol=1e-6), "strength 0 is the base"


def test_a_full_controlnet_starts_as_the_bases_encoder() -> None:
    base = tiny.unet("miniature")
    control = ControlNet(base, tiny.spec(base))
    ours, theirs = control.network.down_blocks.state_dict(), base.down_blocks.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_samples_of_a_peer_are_those_of_the_program() -> None:
    bench, subjects = Bench(steps=2), edge_subjects(2)
    control = native.load(ASSETS / "controls" / "canny.safetensors")
    peer = CoupledPeer(bench.pipeline.base.unet, control)
    ours, theirs = (
        sample_peer(bench, subjects, peer, control_scale=0.7),
        bench.sample(subjects, control, control_scale=0.7),
    )
    assert torch.allclose(ours.latents, theirs.latents, atol=1e-5)
    moved = sample_peer(bench, subjects, peer, control_scale=0.7, seed_offset=1)
    assert not torch.allclose(moved.latents, ours.latents, atol=0.1)


def test_features_find_the_same_pictures_near_and_others_far() -> None:
    bench, pictures = Bench(steps=1), case_pictures(6)
    space = FeatureSpace(bench.pipeline.base, pictures)
    assert frechet_distance(space.of(pictures), space.references) < 1e-9
    decoded = frechet_distance(space.of(bench.reconstruct(pictures)), space.references)
    grey = frechet_distance(space.of([Image.new("RGB", (256, 256), "gray")] * 6), space.references)
    assert 0 < decoded < 0.1 * grey
    assert space.references.var(axis=0, ddof=1).sum() == pytest.approx(1), "1 is the spread of the references"


def test_a_row_is_trained_measured_and_reported(tmp_path: Path, pool: Path) -> None:
    light = run_row(task(LIGHT, tmp_path, pool), threading.Event())
    assert light is not None
    assert light.points[0][0] < light.points[-1][0] == light.images == 8
    assert (len(light.frechet), light.peak_bytes > 10**8) == (2, True)
    assert run_row(task(LIGHT, tmp_path, pool), threading.Event()) == light, "a finished row is kept"
    other = task(LIGHT, tmp_path, pool, budget=Budget(images=16, batch_size=2, cases=3, steps=1))
    with pytest.raises(InputError) as caught:
        run_row(other, threading.Event())
    assert caught.value.key == "ablation_differs"
    check_report([light], tmp_path)


@pytest.mark.slow
def test_rows_of_one_size_are_measured_by_the_same_draws(tmp_path: Path, pool: Path) -> None:
    light, coupled = (run_row(task(row, tmp_path, pool), threading.Event()) for row in (LIGHT, TYPE_B))
    assert light is not None
    assert coupled is not None
    assert light.parameters == pytest.approx(coupled.parameters, rel=0.03)
    assert light.plain_loss == coupled.plain_loss, "the same cases, timesteps and noise"


def test_a_thinned_controlnet_has_the_size_of_the_control_it_is_compared_with() -> None:
    base = Bench(steps=1).pipeline.base.unet
    spec = tiny.spec(base, control_channels=TYPE_B.widths, hint_channels=1, head_channels=32)
    with torch.device("meta"):
        wanted = own_parameters(ControlNetXS(spec))[0]
    found = own_parameters(controlnet(LIGHT, base, spec))[0]
    assert found == pytest.approx(wanted, rel=0.03)


def check_report(results: list[Result], folder: Path) -> None:
    reference = run_reference(BUDGET, folder / "reference")
    write(results, reference, folder)
    lines = table(results, reference).splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:]] == [
        "no control",
        "ControlNet-light",
        "autoencoder",
    ]
    assert f"{results[0].parameters:,}" in lines[3]
    with (folder / "ablation.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["full_f"]) for row in rows] == [result.full.f for result in results]
    written = json.loads((folder / "ablation.json").read_text("utf-8"))
    assert [Result.from_record(record) for record in written["rows"]] == results
    with Image.open(folder / "sheet.png") as sheet, Image.open(folder / "ablation.png") as plot:
        assert sheet.height > 5 * 96
        assert plot.width > 500


@pytest.mark.slow
def test_a_stopped_row_goes_on_bit_for_bit(tmp_path: Path, pool: Path) -> None:
    whole, parts = task(TYPE_B, tmp_path / "whole", pool), task(TYPE_B, tmp_path / "parts", pool)
    run_row(whole, threading.Event())
    stop = threading.Event()
    assert run_row(parts, stop, report=lambda line: stop.set()) is None
    assert not (parts.folder / "row.json").exists()
    finished = run_row(parts, threading.Event())
    ours, theirs = average_of(whole), average_of(parts)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert finished is not None


@pytest.mark.slow
def test_minutes_end_a_row_as_well(tmp_path: Path, pool: Path) -> None:
    budget = Budget(minutes=1e-4, batch_size=2, held_out=2, cases=3, steps=1)
    result = run_row(task(TYPE_B, tmp_path, pool, budget=budget), threading.Event())
    assert result is not None
    assert 0 < result.images < 100


def test_rows_are_found_by_name_and_widths_span_the_sizes() -> None:
    assert [row.name for row in find_rows(["c", "controlnet"], widths=False)] == ["controlnet", "c"]
    assert len(find_rows(None, widths=True)) == 9
    with pytest.raises(InputError) as caught:
        find_rows(["d"], widths=False)
    assert caught.value.key == "ablation_row"
    base = Bench(steps=1).pipeline.base.unet
    total = sum(parameter.numel() for parameter in base.parameters())
    shares = []
    for row in (WIDTHS[0], WIDTHS[-1]):
        structure = {"control_channels": row.widths, "hint_net": "unshuffle", "hint_factor": 16, "head_channels": 32}
        with torch.device("meta"):
            control = tiny.control(base, trained=False, context_width=192, **structure)
        shares.append(own_parameters(control)[1] / total)
    assert shares == pytest.approx([0.006, 0.49], rel=0.1), "as the table of widths says"


def test_a_chart_has_a_colour_for_each_line() -> None:
    lines = [Series("one", [(1, 0.2), (10, 0.5)]), Series("two", [(1, 0.1), (10, 0.9)])]
    chart = line_chart(lines, title="F", x_label="images", logarithmic=True)
    colours = {colour for _, colour in chart.getcolors(chart.width * chart.height) or []}
    assert {(204, 102, 34), (226, 170, 60)} <= colours


def test_bad_settings_end_in_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["ablation", "--pools", str(tmp_path), "--output", str(tmp_path / "out")]
    assert command.main(given) == 2
    assert "--budget-minutes" in capsys.readouterr().err
    assert command.main([*given, "--images", "24", "--cases", "1"]) == 2
    assert "--cases is 1" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_command_runs_every_row_in_a_process_of_its_own(
    tmp_path: Path, pool: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    given = ["ablation", "--pools", str(pool), "--output", str(out), "--images", "4", "--batch-size", "2"]
    small = ["--held-out", "2", "--cases", "3", "--steps", "1"]
    assert command.main([*given, *small, "--widths"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("\n| ") == 12
    assert {"ablation.csv", "ablation.json", "ablation.png", "sheet.png", "widths.png"} <= {
        p.name for p in out.iterdir()
    }
