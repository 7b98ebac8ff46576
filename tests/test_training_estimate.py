"""What a run will need: the estimate against a real step, and the published families at full size without weights."""

import dataclasses
import gc
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel

from cnxs.training.config import PRESETS, TrainingConfig, control_spec
from cnxs.training.estimate import LiveBytes, Memory, memory
from tests.test_model_families import BASES
from tests.tiny_training import TinyData, config, frozen_base, trainer

MB = 10**6


def slow(family: str) -> object:
    return pytest.param(family, marks=pytest.mark.slow)


def estimate_for(family: str, **changes: object) -> Memory:
    """Return the estimate for a family's own settings, at its full size."""
    fields: dict[str, object] = {
        "base": family,
        "condition": "canny",
        "output": Path("o"),
        "run": Path("r"),
        "steps": 1,
    }
    settings = TrainingConfig(**{**fields, **PRESETS[family], **changes})
    with torch.device("meta"):
        unet = UNet2DConditionModel(**BASES[family])
    spec = control_spec(settings, unet, family=family, base_sha256="")
    size = 1024 if family == "sdxl" else 512
    return memory(settings, dict(unet.config), spec, size=size, base_bytes=0)


@pytest.mark.parametrize("family", [slow("sd15"), "sd21", slow("sdxl")])
def test_a_step_of_each_family_runs_at_full_size_without_its_weights(family: str) -> None:
    checkpointed = estimate_for(family, gradient_checkpointing=True, optimizer="adamw8bit")
    assert checkpointed.optimizer * 6 == checkpointed.control, "a byte each for two moments; three times four bytes"
    assert 500 * MB < checkpointed.activations < 3000 * MB
    if family == "sd15":
        kept = estimate_for(family)
        assert kept.activations > 4 * checkpointed.activations
        assert kept.optimizer == 4 * checkpointed.optimizer


def test_the_estimate_is_what_a_real_step_keeps(tmp_path: Path) -> None:
    settings = config(tmp_path, batch_size=4)
    run, base = trainer(settings, data=TinyData(8, side=16)), frozen_base()
    need = memory(settings, dict(base.unet.config), run.spec, size=256, base_bytes=1000)
    run._optimize = lambda: None
    positions = next(run.order.starting_at(0))
    gc.collect()
    with LiveBytes() as live:
        run.update(positions)
    weights = sum(parameter.nbytes for parameter in run.control.parameters())
    assert need.control == 3 * weights
    assert need.activations == pytest.approx(live.peak - weights, rel=0.15)
    assert need.total == need.control + need.optimizer + need.activations + 1000
    halved = memory(
        dataclasses.replace(settings, accumulation=4), dict(base.unet.config), run.spec, size=256, base_bytes=0
    )
    assert halved.activations < 0.4 * need.activations
