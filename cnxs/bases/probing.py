"""Whether a base predicts the noise (epsilon) or the velocity (v): its file does not say, and its keys are the same.

At the last timestep the input is almost all noise n. A network that predicts epsilon gives n back. One that predicts
v = alpha * n - sigma * x0, with alpha near 0, hardly gives any of it, but a smooth picture: minus its guess of x0.
Anything else, as of an untrained network, is no answer.
"""

from dataclasses import replace
from typing import Literal

import torch
from diffusers import UNet2DConditionModel

from cnxs.bases.loaded import UNDECIDED, LoadedBase

Prediction = Literal["epsilon", "v_prediction", "undecided"]

_EPSILON_SHARE = 0.8
_V_SHARE = 0.25
_SMOOTH = 0.5


def probed(base: LoadedBase) -> LoadedBase:
    """Return a base whose schedule says what its U-Net predicts, or that this is undecided."""
    states, _ = base.prompts.encode("", "")
    found = probe_prediction(base.unet, states.context)
    return replace(base, scheduler_config=base.scheduler_config | {"prediction_type": found})


@torch.inference_mode()
def probe_prediction(unet: UNet2DConditionModel, context: torch.Tensor, *, last_timestep: int = 999) -> Prediction:
    """Tell the prediction type by one evaluation of the U-Net.

    Args:
        unet: of SD 1.x, 2.x or the miniature: without extra conditions.
        context: (1, S, context width), the states of an empty prompt.
        last_timestep: the noisiest one of its schedule.
    """
    size = unet.config["sample_size"]
    shape = (1, unet.config["in_channels"], size, size)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(context.device, unet.dtype)
    (output,) = unet(noise, last_timestep, context, return_dict=False)
    return judge(noise.float().cpu(), output.float().cpu())


def judge(noise: torch.Tensor, output: torch.Tensor) -> Prediction:
    """Tell the prediction type from what a network made of pure noise; both (1, C, H, W)."""
    share = ((noise * output).sum() / (noise * noise).sum()).item()
    rest = output - share * noise
    if share > _EPSILON_SHARE and rest.square().mean() < noise.square().mean() / 4:
        return "epsilon"
    if abs(share) < _V_SHARE and smoothness(rest) > _SMOOTH:
        return "v_prediction"
    return UNDECIDED


def smoothness(x: torch.Tensor) -> float:
    """Return the correlation between neighbours along rows and columns, the mean of each channel taken off; -1 to 1."""
    x = x - x.mean(dim=(-2, -1), keepdim=True)
    energy = x.square().mean()
    pairs = ((x[..., 1:, :] * x[..., :-1, :]).mean() + (x[..., 1:] * x[..., :-1]).mean()) / 2
    return (pairs / energy).item() if energy > 0 else 0.0
