"""Sample sheets: the same held-out samples, seeds and strengths every time, so that sheets of one run compare."""

from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from diffusers import DDIMScheduler
from PIL import Image

from cnxs.model import ControlInput, ControlNetXS, CoupledUNet
from cnxs.samplers import guide
from cnxs.tensors import from_signed_tensor
from cnxs.training.data import Batch, TrainingData
from cnxs.training.frozen_base import FrozenBase

STRENGTHS = (0.0, 0.5, 1.0)
_ROWS = 6
_STEPS = 12
_GAP = 4  # pixels between pictures


@torch.no_grad()
def sample_sheet(
    base: FrozenBase, control: ControlNetXS, data: TrainingData, *, accelerator: Accelerator
) -> Image.Image:
    """Return a sheet with one row per held-out sample: its map, itself, then what `STRENGTHS` make of the map."""
    bucket = max(data.held_out, key=len)
    positions = bucket[:_ROWS]
    batch = data.batch(positions).part(slice(None), accelerator.device)
    empty = data.batch(positions, without_prompt=np.ones(len(positions), bool)).part(slice(None), accelerator.device)
    with accelerator.autocast():
        columns = [sample(base, control, batch, empty, control_scale=scale) for scale in STRENGTHS]
    decoded = [batch.maps.expand(-1, 3, -1, -1) * 2 - 1, *(_decode(base, z) for z in (batch.latents, *columns))]
    pixels = torch.stack([column.cpu() for column in decoded], dim=1)  # (rows, columns, 3, H, W)
    padded = torch.nn.functional.pad(pixels, (0, _GAP, 0, _GAP), value=1.0)
    sheet = padded.permute(2, 0, 3, 1, 4).flatten(3, 4).flatten(1, 2)  # (3, rows * H, columns * W)
    return from_signed_tensor(sheet[None])[0]


def _decode(base: FrozenBase, latents: torch.Tensor) -> torch.Tensor:
    # One at a time: a decoder at full size needs much memory.
    return torch.cat([base.loaded.codec.decode(latent) for latent in latents.float().split(1)])


def sample(
    base: FrozenBase, control: ControlNetXS, batch: Batch, empty: Batch, *, control_scale: float, seed: int = 3
) -> torch.Tensor:
    """Return latents (B, C, H, W) sampled from noise with DDIM under classifier-free guidance.

    Args:
        base: sets guidance and schedule.
        control: follows the maps of `batch`.
        batch: maps, and the prompts to go towards.
        empty: the same with the empty prompt, to go away from.
        control_scale: 0 is the base alone.
        seed: of the initial noise.
    """
    scheduler: Any = DDIMScheduler.from_config(
        base.scheduler.config, timestep_spacing="trailing", clip_sample=False, set_alpha_to_one=True
    )
    scheduler.set_timesteps(_STEPS)
    coupled = CoupledUNet(base.unet, [control])
    inputs = [ControlInput(hint=control.encode_hint(batch.maps).repeat(2, 1, 1, 1), control_scale=control_scale)]
    context = torch.cat([empty.context, batch.context])
    added = None
    if batch.added is not None and empty.added is not None:
        added = {name: torch.cat([empty.added[name], value]) for name, value in batch.added.items()}
    noise = torch.randn(batch.latents.shape, generator=torch.Generator().manual_seed(seed))
    latents = noise.to(batch.latents.device)
    scale = latents.new_full((len(latents),), base.loaded.spec.default_guidance_scale)
    for timestep in scheduler.timesteps:
        both = torch.cat([latents, latents])
        output = coupled(both, timestep, context, inputs, added_cond_kwargs=added).float()
        prediction = guide(output, scale)
        latents = scheduler.step(prediction, timestep, latents, return_dict=False)[0]
    return latents
