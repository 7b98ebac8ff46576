"""A tiny base with data in memory, to train on in a second."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator

from cnxs.bases import LoadedBase
from cnxs.codec import PatchCodec
from cnxs.miniature.autoencoder import PatchAutoencoder
from cnxs.prompts import PromptEncoder
from cnxs.registry import MINIATURE
from cnxs.training.config import TrainingConfig
from cnxs.training.data import Batch
from cnxs.training.frozen_base import FrozenBase
from cnxs.training.trainer import Trainer
from tests import tiny

SCHEDULE = {
    "num_train_timesteps": 1000,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
}


class TinyData:
    """Random latents in `TrainingData`'s form; each sample's map is a pattern of its own."""

    def __init__(self, count: int, *, held_out: int = 0, side: int = 4) -> None:
        generator = torch.Generator().manual_seed(11)
        self.latents = torch.randn(count, 16, side, side, generator=generator)
        self.maps = (torch.rand(count, 1, 16 * side, 16 * side, generator=generator) > 0.8).float()
        self.context = torch.randn(count + 1, tiny.TOKENS, tiny.CONTEXT_WIDTH, generator=generator)
        self.buckets: Sequence[np.ndarray] = [np.arange(held_out, count)]
        self.held_out: Sequence[np.ndarray] = [np.arange(held_out or count)]

    def batch(self, positions: np.ndarray, *, without_prompt: np.ndarray | None = None) -> Batch:
        rows = positions if without_prompt is None else np.where(without_prompt, len(self.latents), positions)
        return Batch(latents=self.latents[positions], maps=self.maps[positions], context=self.context[rows])

    def latent_shape(self, position: int) -> tuple[int, ...]:
        return tuple(self.latents[position].shape)

    def captions(self, positions: np.ndarray) -> list[str]:
        return [f"sample {position}" for position in positions]


def frozen_base() -> FrozenBase:
    torch.manual_seed(5)
    codec = PatchCodec(PatchAutoencoder().requires_grad_(False), torch.empty(0))
    unet = tiny.unet("miniature").requires_grad_(False)
    return FrozenBase(LoadedBase(MINIATURE, unet, PromptEncoder((), (), chunk=3), codec, SCHEDULE, "ab" * 32))


def config(folder: Path, **changes: object) -> TrainingConfig:
    fields: dict[str, object] = {
        "base": "tiny",
        "condition": "canny",
        "output": folder / "control.safetensors",
        "run": folder / "run",
        "pools": (Path("in memory"),),
        "widths": (8, 8, 16),
        "batch_size": 4,
        "held_out": 0,
        "steps": 4,
        "report_every": 1,
        "save_every": 1000,
        "sheet_every": 0,
    }
    return TrainingConfig(**{**fields, **changes})


def trainer(settings: TrainingConfig, *, data: TinyData | None = None) -> Trainer:
    data = TinyData(8) if data is None else data
    return Trainer(settings, base=frozen_base(), data=data, accelerator=Accelerator(cpu=True))
