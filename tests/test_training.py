"""Training: what learns, what stays frozen, and that a run goes on exactly where it stopped."""

import dataclasses
import math
import os
import signal
import socket
import subprocess
import sys
import threading
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cnxs.checkpoints import native
from cnxs.errors import CheckpointError, InputError, UnavailableError
from cnxs.training.config import PRESETS, TrainingConfig
from cnxs.training.coupled import CoupledTraining
from cnxs.training.data import BatchOrder
from cnxs.training.stopping import stopping
from cnxs.training.trainer import Trainer, learning_rate
from tests import tiny
from tests.tiny_training import TinyData, config, frozen_base, trainer


def finish(run: Trainer, *, steps: int | None = None) -> None:
    """Train to the end, or, as Ctrl+C does, stop and save after some steps."""
    stop = threading.Event()
    for progress in run.run(stop):
        if progress.step == steps:
            stop.set()


def assert_same(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("control_type", ["A", "B", "C"])
def test_every_type_overfits_two_samples(tmp_path: Path, control_type: str) -> None:
    settings = config(
        tmp_path, control_type=control_type, widths=(8, 8, 8), steps=30, learning_rate=8e-3, warmup_steps=5
    )
    run = trainer(dataclasses.replace(settings, prompt_dropout=0.0, ema_decay=0.8), data=TinyData(2))
    base_alone = run.validate(control_scale=0.0)[-1]
    assert run.validate()[-1] == base_alone, "an untrained control changes nothing"
    finish(run)
    assert run.validate()[-1] < 0.8 * base_alone


def test_the_module_registers_the_control_alone() -> None:
    base = frozen_base().unet
    control = tiny.control(base, trained=False, hint_channels=1)
    module = CoupledTraining(base, control)
    assert {id(p) for p in module.parameters()} == {id(p) for p in control.parameters()}
    assert set(module.state_dict()) == {f"control.{name}" for name in control.state_dict()}


def test_the_base_stays_frozen_and_every_weight_of_the_control_learns(tmp_path: Path) -> None:
    # A middle of 2 x 2, as attention to a single pixel teaches nothing.
    run = trainer(config(tmp_path, steps=3, weight_decay=0.0), data=TinyData(4, side=8))
    before = {name: value.clone() for name, value in run.base.unet.state_dict().items()}
    start = {name: value.clone() for name, value in run.control.state_dict().items()}
    finish(run)
    assert_same(run.base.unet.state_dict(), before)
    assert all(parameter.grad is None for parameter in run.base.unet.parameters())
    unmoved = [name for name, value in run.control.state_dict().items() if torch.equal(value, start[name])]
    assert unmoved == []


def test_a_run_that_goes_on_is_the_run_that_never_stopped(tmp_path: Path) -> None:
    whole = trainer(config(tmp_path / "whole"))
    finish(whole)
    finish(trainer(config(tmp_path / "parts")), steps=2)
    rest = trainer(config(tmp_path / "parts"))
    assert rest.step == 2
    finish(rest)
    assert_same(whole.control.state_dict(), rest.control.state_dict())
    assert_same(whole.average.state_dict(), rest.average.state_dict())
    assert torch.equal(whole.generator.get_state(), rest.generator.get_state())
    assert [row["loss"] for row in whole.curve.rows()] == [row["loss"] for row in rest.curve.rows()]


def test_a_control_can_start_from_another(tmp_path: Path) -> None:
    first = trainer(config(tmp_path / "first"))
    finish(first)
    second = trainer(config(tmp_path / "second", init=first.config.output, condition="scribble"))
    saved = native.load(first.config.output)
    assert_same(second.control.state_dict(), saved.state_dict())
    finish(second)
    facts = dict(native.read_spec(second.config.output).training)
    assert facts["init"] == "control.safetensors"
    assert facts["init_images"] == 16
    with pytest.raises(CheckpointError, match="control_channels"):
        trainer(config(tmp_path / "third", init=first.config.output, widths=(8, 8, 8)))


def test_the_finished_file_knows_where_it_comes_from(tmp_path: Path) -> None:
    run = trainer(config(tmp_path, licence="CC0"))
    finish(run)
    spec = native.read_spec(run.config.output)
    assert (spec.base_sha256, spec.condition, spec.licence) == ("ab" * 32, "canny", "CC0")
    facts = dict(spec.training)
    assert (facts["images"], facts["steps"], facts["learning_rate"]) == (16, 4, 1e-3)
    control = native.load(run.config.output)
    for name, value in run.average.state_dict().items():
        torch.testing.assert_close(control.state_dict()[name], value.half().float())


def test_the_average_trails_the_control(tmp_path: Path) -> None:
    run = trainer(config(tmp_path))
    expected = run.control.encoder[0].conv.weight.detach().clone()
    order = run.order.starting_at(0)
    for step in range(3):
        run.update(next(order))
        decay = min(run.config.ema_decay, (step + 1) / (step + 12))
        expected = decay * expected + (1 - decay) * run.control.encoder[0].conv.weight.detach()
    torch.testing.assert_close(run.average.encoder[0].conv.weight, expected)


def test_a_spike_is_skipped_and_a_diverged_run_ends_in_a_sentence(tmp_path: Path) -> None:
    run = trainer(config(tmp_path))
    run.running_loss = 1e-9
    before = {name: value.clone() for name, value in run.control.state_dict().items()}
    positions = next(run.order.starting_at(0))
    run.update(positions)
    assert_same(run.control.state_dict(), before)
    run.skipped_in_a_row = 99
    with pytest.raises(InputError, match="learning-rate"):
        run.update(positions)


def test_a_batch_in_parts_gives_the_same_gradients(tmp_path: Path) -> None:
    whole, parts = (trainer(config(tmp_path, accumulation=accumulation)) for accumulation in (1, 4))
    for run in (whole, parts):
        run._optimize = lambda: None
        run.update(np.arange(4))
    for name, parameter in whole.control.named_parameters():
        torch.testing.assert_close(dict(parts.control.named_parameters())[name].grad, parameter.grad)


def test_checkpointed_blocks_give_the_same_gradients(tmp_path: Path) -> None:
    plain, checkpointed = (trainer(config(tmp_path, gradient_checkpointing=on)) for on in (False, True))
    for run in (plain, checkpointed):
        run._optimize = lambda: None
        run.update(np.arange(4))
    theirs = dict(checkpointed.control.named_parameters())
    assert theirs.keys() == dict(plain.control.named_parameters()).keys()
    assert all(torch.equal(theirs[name].grad, p.grad) for name, p in plain.control.named_parameters())
    assert checkpointed.validate() == plain.validate()


def test_an_eight_bit_optimizer_needs_its_package(tmp_path: Path) -> None:
    settings = config(tmp_path, optimizer="adamw8bit")
    if find_spec("bitsandbytes") is None:
        with pytest.raises(UnavailableError, match="bitsandbytes"):
            trainer(settings)
        return
    finish(trainer(settings), steps=2)
    rest = trainer(settings)
    assert rest.step == 2
    finish(rest)
    with pytest.raises(InputError, match="optimizer"):
        trainer(config(tmp_path))


_WORKER = """
import sys, torch
from pathlib import Path
from tests.tiny_training import config, trainer
run = trainer(config(Path(sys.argv[1])))
run._optimize = lambda: None
loss = run.update(__import__("numpy").arange(4))
if run.accelerator.is_main_process:
    torch.save({"loss": loss, "grads": [p.grad for p in run.control.parameters()]}, Path(sys.argv[1]) / "grads.pt")
run.accelerator.end_training()
"""


@pytest.mark.slow
def test_two_processes_give_the_gradients_of_one(tmp_path: Path, free_port: int) -> None:
    shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port)}
    command = [sys.executable, "-c", _WORKER, str(tmp_path)]
    workers = [
        subprocess.Popen(command, env=os.environ | shared | {"RANK": rank, "LOCAL_RANK": rank, "OMP_NUM_THREADS": "1"})
        for rank in ("0", "1")
    ]
    assert [worker.wait(600) for worker in workers] == [0, 0]
    found = torch.load(tmp_path / "grads.pt", weights_only=True)
    run = trainer(config(tmp_path))
    run._optimize = lambda: None
    assert run.update(np.arange(4)) == pytest.approx(found["loss"], rel=1e-5)
    for parameter, grad in zip(run.control.parameters(), found["grads"], strict=True):
        torch.testing.assert_close(grad, parameter.grad, rtol=1e-4, atol=1e-6)


@pytest.fixture
def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def test_other_settings_do_not_go_on_with_a_run(tmp_path: Path) -> None:
    finish(trainer(config(tmp_path)), steps=1)
    with pytest.raises(InputError, match="batch_size"):
        trainer(config(tmp_path, batch_size=8))


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"steps": None}, "training_no_length"),
        ({"pools": ()}, "training_no_data"),
        ({"images": Path("pictures")}, "training_no_data"),
        ({"accumulation": 3}, "training_batch"),
        ({"widths": (8, 8)}, "training_widths"),
        ({"widths": (8, 8, 9)}, "training_widths"),
    ],
)
def test_bad_settings_are_refused(tmp_path: Path, changes: dict[str, object], key: str) -> None:
    with pytest.raises(InputError) as caught:
        trainer(config(tmp_path, **changes))
    assert caught.value.key == key


@pytest.mark.parametrize(
    ("step", "fraction", "expected"), [(0, 0.0, 0.02), (49, 0.3, 1), (400, 0.6, 1), (800, 0.8, 0.525), (999, 1.0, 0.05)]
)
def test_the_rate_warms_up_stays_and_falls(tmp_path: Path, step: int, fraction: float, expected: float) -> None:
    settings = config(tmp_path, learning_rate=1.0, warmup_steps=50)
    assert learning_rate(settings, step=step, fraction=fraction) == pytest.approx(expected)


def test_batches_cover_each_epoch_and_can_start_anywhere() -> None:
    order = BatchOrder([np.arange(10), np.arange(10, 14), np.arange(0)], batch_size=4, seed=1)
    stream = order.starting_at(0)
    batches = [next(stream) for _ in range(8)]
    assert order.batches_per_epoch == 4
    assert set(np.concatenate(batches[:4])) == set(range(14))
    assert all(len({position >= 10 for position in batch}) == 1 for batch in batches), "one bucket in a batch"
    later = order.starting_at(3)
    assert all(np.array_equal(next(later), batch) for batch in batches[3:])
    assert not all(np.array_equal(a, b) for a, b in zip(batches[:4], batches[4:], strict=True))


def test_saves_leave_a_curve_and_a_sheet(tmp_path: Path) -> None:
    run = trainer(config(tmp_path, save_every=2, sheet_every=4), data=TinyData(8, held_out=3))
    finish(run)
    measured = [row["step"] for row in run.curve.rows() if row["held_out"]]
    assert measured == ["2", "4"]
    with (
        Image.open(tmp_path / "run" / "curve.png") as plot,
        Image.open(tmp_path / "run" / "sheet_0000004.png") as sheet,
    ):
        assert plot.size == (900, 480)
        assert sheet.size == (5 * (64 + 4), 3 * (64 + 4)), "map, itself and three strengths; one row for each sample"


def test_a_line_of_the_curve_that_was_cut_off_does_not_count(tmp_path: Path) -> None:
    run = trainer(config(tmp_path))
    finish(run)
    whole = run.curve.path.read_bytes()
    run.curve.path.write_bytes(whole[:-4])
    assert [row["step"] for row in run.curve.rows()] == ["1", "2", "3"]
    run.curve.cut(2)
    assert [row["step"] for row in run.curve.rows()] == ["1", "2"]
    assert run.curve.path.read_bytes() == b"".join(whole.splitlines(keepends=True)[:3])


def test_a_polite_kill_asks_the_run_to_stop() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with stopping() as stop:
        signal.raise_signal(signal.SIGTERM)
        assert stop.is_set()
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_error_is_that_of_the_base_where_the_control_is_off(tmp_path: Path) -> None:
    run = trainer(config(tmp_path), data=TinyData(4))
    values = run.validate(control_scale=0.0)
    assert len(values) == 5
    assert all(math.isfinite(value) for value in values)
    assert values == run.validate(control_scale=0.0), "the same timesteps and noise every time"


def test_the_presets_are_settings_of_a_run() -> None:
    fields = {field.name for field in dataclasses.fields(TrainingConfig)}
    assert all(set(preset) <= fields for preset in PRESETS.values())
