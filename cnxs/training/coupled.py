"""The module that is trained: controls coupled to a base that it only refers to."""

import torch
from diffusers import UNet2DConditionModel
from torch import nn

from cnxs.model import ControlInput, ControlNetXS, CoupledUNet


class CoupledTraining(nn.Module):
    """Registers the control alone, so that wrappers for data parallel training see its weights and no others.

    Args:
        base: frozen by the caller; gradients pass through it. Held by reference, moved by the caller.
        control: the weights to train.
    """

    def __init__(self, base: UNet2DConditionModel, control: ControlNetXS) -> None:
        super().__init__()
        self.control = control
        self.coupled = CoupledUNet(base, [control])  # not a module, so it registers nothing

    def forward(
        self,
        noisy: torch.Tensor,
        timesteps: torch.Tensor,
        context: torch.Tensor,
        maps: torch.Tensor,
        added: dict[str, torch.Tensor] | None = None,
        *,
        control_scale: float = 1.0,
    ) -> torch.Tensor:
        """Return the prediction (B, C, H, W) for noisy latents under control maps in [0, 1]."""
        item = ControlInput(hint=self.control.encode_hint(maps), control_scale=control_scale)
        return self.coupled(noisy, timesteps, context, [item], added_cond_kwargs=added)
