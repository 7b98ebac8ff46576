"""The benchmark's counts and its models of the true size."""

import itertools

import pytest
import torch

from cnxs.benchmark import full_size
from cnxs.benchmark.counting import count
from cnxs.benchmark.random_models import PUBLISHED, empty_control, empty_unet
from cnxs.benchmark.timing import medians
from cnxs.devices import CPU
from cnxs.model import check_match

# Weights in the authors' files, without their `scale_list` (25 or 19 gains); of the 48M without `label_emb`, which
# nothing reads.
PARAMETERS = {"sd15-53m": 52_661_392, "sd21-14m": 14_186_356, "sdxl-20m": 20_177_984, "sdxl-48m": 42_424_368}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_random_models_have_the_published_shapes(name: str) -> None:
    control = empty_control(name)
    check_match(empty_unet(PUBLISHED[name].family), control.spec)
    assert sum(parameter.numel() for parameter in control.parameters()) == PARAMETERS[name]


def test_the_smallest_published_control_adds_a_hundredth_of_the_work() -> None:
    counts = count("sd21-14m")
    assert counts.base_parameters == 865_910_724
    assert 1.005 < counts.coupled_multiply_adds / counts.base_multiply_adds < 1.02
    assert counts.hint_multiply_adds < 0.02 * counts.base_multiply_adds


def test_alternatives_take_turns_and_the_first_round_does_not_count() -> None:
    turns: list[str] = []
    seconds = medians({name: lambda name=name: turns.append(name) for name in "ab"}, rounds=2)
    assert turns == ["a", "b"] * 3
    assert all(value >= 0 for value in seconds.values())


@pytest.mark.slow
@pytest.mark.parametrize("arm", full_size.ARMS)
def test_a_full_size_step_runs_under_each_method(arm: str, capsys: pytest.CaptureFixture[str]) -> None:
    full_size.steps("sd21-14m", [arm], device=CPU, dtype=torch.float32, rounds=1)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[1] for line in lines if line.startswith("  ")][:1] == [full_size.PLAIN]
    assert len(list(itertools.dropwhile(lambda line: not line, lines))) == 3


@pytest.mark.slow
def test_full_size_files_go_through_the_backend(capsys: pytest.CaptureFixture[str]) -> None:
    full_size.images("sd21-14m", device=CPU, dtype=torch.float32, strip=False)
    told = capsys.readouterr().out
    assert "with control" in told
    peak = float(told.split("peak x ")[1].split()[0])
    assert peak < 1.3  # base and control are never twice in memory
