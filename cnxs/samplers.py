"""The samplers, all from diffusers, by the names that requests use."""

from collections.abc import Mapping
from typing import Any

import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    LCMScheduler,
    UniPCMultistepScheduler,
)

from cnxs.request import Sampler

_CLASSES: dict[Sampler, Any] = {
    "ddim": DDIMScheduler,
    "euler": EulerDiscreteScheduler,
    "dpmpp_2m": DPMSolverMultistepScheduler,
    "unipc": UniPCMultistepScheduler,
    "lcm": LCMScheduler,
}


def make_scheduler(sampler: Sampler, config: Mapping[str, Any]) -> Any:
    """Build a fresh scheduler: they hold the state of a run, so each run has its own.

    Args:
        sampler: its name.
        config: the base's scheduler configuration: betas, prediction type, timestep spacing.
    """
    kind = _CLASSES[sampler]
    known = {key: value for key, value in config.items() if key in kind._get_init_keys(kind)}
    if sampler == "ddim":
        known["clip_sample"] = False
    if sampler == "dpmpp_2m" and config.get("rescale_betas_zero_snr"):
        # With zero terminal SNR the last sigma is infinite; the second order needs Euler steps at both ends.
        known["euler_at_final"] = True
    return kind(**known)


def begin_at(scheduler: Any, step: int) -> None:
    """Tell a scheduler that counts its steps which one comes first; DDIM finds it from the timestep."""
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(step)


def guide(output: torch.Tensor, scale: torch.Tensor, rescale: torch.Tensor | None = None) -> torch.Tensor:
    """Return the prediction under classifier-free guidance, (B, C, H, W).

    A large scale widens the prediction, and with it the contrast of the picture, most of all where the schedule ends in
    pure noise. A rescale of 1 brings it back to the spread that it has without guidance: "Common Diffusion Noise
    Schedules and Sample Steps are Flawed" (arXiv 2305.08891), section 3.4.

    Args:
        output: of the U-Net, (2B, C, H, W): under the negative prompts, then under the prompts.
        scale: of guidance, (B,); 1 follows the prompt as the model was trained.
        rescale: how much of the widening is taken back, (B,), 0 to 1; None: nothing.
    """
    negative, prompted = output.chunk(2)
    guided = negative + scale[:, None, None, None] * (prompted - negative)
    if rescale is None:
        return guided
    spread = prompted.std((1, 2, 3), keepdim=True) / guided.std((1, 2, 3), keepdim=True)
    return guided * (1 + rescale[:, None, None, None] * (spread - 1))


def predicted_latents(scheduler: Any, output: Any, latents: torch.Tensor) -> torch.Tensor:
    """Return the clean latents that a step predicts, for previews; the running latents where it does not say."""
    predicted = getattr(output, "pred_original_sample", None)
    if predicted is None and getattr(scheduler, "model_outputs", None):
        predicted = scheduler.model_outputs[-1]  # multistep solvers keep their data predictions
    return latents if predicted is None else predicted
