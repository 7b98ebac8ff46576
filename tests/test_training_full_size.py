"""A real optimiser step at the size of Stable Diffusion 1.5, on the processor; with -m slow."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

STEP = """
import dataclasses, json, sys, time
from pathlib import Path

import numpy as np
from accelerate import Accelerator
from diffusers import UNet2DConditionModel

from cnxs.bases import LoadedBase
from cnxs.codec import PatchCodec
from cnxs.devices import peak_bytes
from cnxs.prompts import PromptEncoder
from cnxs.registry import BASE_MODELS
from cnxs.training.config import PRESETS, TrainingConfig, control_spec
from cnxs.training.estimate import BlankData, memory
from cnxs.training.frozen_base import FrozenBase
from cnxs.training.trainer import Trainer
from tests.test_model_families import BASES
from tests.tiny_training import SCHEDULE, frozen_base

unet = UNet2DConditionModel(**BASES["sd15"]).eval().requires_grad_(False)
codec = frozen_base().loaded.codec
schedule = SCHEDULE | {"prediction_type": "epsilon", "rescale_betas_zero_snr": False}
base = FrozenBase(LoadedBase(BASE_MODELS["sd15"], unet, PromptEncoder((), (), chunk=75), codec, schedule, "ab" * 32))
settings = TrainingConfig(
    **PRESETS["sd15"] | {"batch_size": 1, "accumulation": 1, "precision": "no"},
    base="sd15", condition="canny", output=Path(sys.argv[1], "o"), run=Path(sys.argv[1], "r"), images=Path("i"),
    steps=1, gradient_checkpointing=True,
)
spec = control_spec(settings, unet, family="sd15", base_sha256="")
weights = sum(parameter.nbytes for parameter in unet.parameters())
need = memory(settings, dict(unet.config), spec, size=512, base_bytes=weights)
data = BlankData(unet, spec, count=2, size=512)
trainer = Trainer(settings, base=base, data=data, accelerator=Accelerator(cpu=True))
before = trainer.control.encoder_to_base[0].weight.detach().clone()
begin = time.monotonic()
loss = trainer.update(np.arange(1))
seconds = time.monotonic() - begin
moved = not before.equal(trainer.control.encoder_to_base[0].weight)
print(json.dumps({"peak": peak_bytes(), "estimate": need.total, "seconds": seconds, "loss": loss, "moved": moved}))
"""


@pytest.mark.slow
def test_one_optimizer_step_at_the_size_of_sd15(tmp_path: Path) -> None:
    command = [sys.executable, "-c", STEP, str(tmp_path)]
    run = subprocess.run(command, cwd=Path(__file__).parent.parent, stdout=subprocess.PIPE, text=True, check=True)
    told = json.loads(run.stdout.splitlines()[-1])
    gigabytes = {name: told[name] / 1e9 for name in ("peak", "estimate")}
    sys.stdout.write(
        f"one step of batch 1 at 512 x 512: peak {gigabytes['peak']:.2f} GB, "
        f"estimated {gigabytes['estimate']:.2f} GB, {told['seconds']:.0f} s\n"
    )
    assert told["moved"]
    assert 0 < told["loss"] < 10
    assert told["peak"] == pytest.approx(told["estimate"], rel=0.4)
