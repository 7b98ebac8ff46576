"""The peers that are trained beside each other: ControlNet, a thinned ControlNet, ControlNet-XS, behind one face.

All have the same hint net, ControlNet-XS's own, and encode a map once per image: what differs is how control reaches
the base. diffusers' `ControlNetModel` is used as it is, but for two parts:

- its hint net gives way to the shared one (its own works at full resolution: most of the time on a small base);
- thinned, every channel count of it is a smaller one, in the base's proportions, and the 1x1 convolutions that end it
  widen to the base's channels. A thinned one cannot start as a copy of the base's encoder, so it starts from chance,
  as a ControlNet-XS does; the full one starts as that copy, as its authors have it.
"""

import dataclasses
from typing import Any, Literal, Protocol

import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from torch import nn

from cnxs.blocks import stream_widths
from cnxs.hint import HintEncoder
from cnxs.layers import zero_conv
from cnxs.model import ControlInput, ControlNetXS, CoupledUNet
from cnxs.specs import ControlSpec

Architecture = Literal["controlnet", "controlnet-light", "xs"]

_THIN_STEP = 8  # channels: narrower steps leave norms and attention heads no even share
_THIN_GROUPS = 8
_SHARES = 32


class Peer(Protocol):
    """A control of any architecture, coupled to a base that it refers to."""

    def encode_hint(self, maps: torch.Tensor) -> torch.Tensor:
        """Return hints (B, K, H, W) of maps (B, hint channels, factor * H, factor * W) in [0, 1]."""
        ...

    def predict(
        self,
        sample: torch.Tensor,
        timestep: torch.Tensor,
        context: torch.Tensor,
        hint: torch.Tensor,
        *,
        control_scale: float,
    ) -> torch.Tensor:
        """Return noise or velocity (B, C, H, W)."""
        ...


class CoupledPeer:
    """A ControlNet-XS with its base."""

    def __init__(self, base: UNet2DConditionModel, control: ControlNetXS) -> None:
        self._control = control
        self._coupled = CoupledUNet(base, [control])

    def encode_hint(self, maps: torch.Tensor) -> torch.Tensor:
        return self._control.encode_hint(maps)

    def predict(
        self,
        sample: torch.Tensor,
        timestep: torch.Tensor,
        context: torch.Tensor,
        hint: torch.Tensor,
        *,
        control_scale: float,
    ) -> torch.Tensor:
        return self._coupled(sample, timestep, context, [ControlInput(hint=hint, control_scale=control_scale)])


class ControlNet(nn.Module):
    """The weights of a ControlNet: diffusers' network behind the shared hint net.

    Args:
        base: whose structure it has, and whose encoder the full one starts as.
        spec: of the hint net.
        channels: one width per level; None: the base's own, a full ControlNet.
    """

    def __init__(
        self, base: UNet2DConditionModel, spec: ControlSpec, *, channels: tuple[int, ...] | None = None
    ) -> None:
        super().__init__()
        full = tuple(base.config["block_out_channels"])
        self.network: Any = ControlNetModel.from_unet(base) if channels is None else thinned(base, channels)
        self.network.controlnet_cond_embedding = nn.Identity()
        self.hint_encoder = HintEncoder(dataclasses.replace(spec, control_channels=channels or full))


class ControlNetPeer(nn.Module):
    """A ControlNet with its base; registers the ControlNet alone, as `CoupledTraining` does a ControlNet-XS."""

    def __init__(self, base: UNet2DConditionModel, control: ControlNet) -> None:
        super().__init__()
        self.control = control
        self._base = (base,)  # in a tuple, so that it is not registered

    def encode_hint(self, maps: torch.Tensor) -> torch.Tensor:
        return self.control.hint_encoder(maps)

    def predict(
        self,
        sample: torch.Tensor,
        timestep: torch.Tensor,
        context: torch.Tensor,
        hint: torch.Tensor,
        *,
        control_scale: float,
    ) -> torch.Tensor:
        down, middle = self.control.network(
            sample, timestep, context, hint, conditioning_scale=control_scale, return_dict=False
        )
        residuals = {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}
        return self._base[0](sample, timestep, context, **residuals, return_dict=False)[0]

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
        assert added is None, "the miniature has no conditions beside its prompt"
        return self.predict(noisy, timesteps, context, self.encode_hint(maps), control_scale=control_scale)


def thinned(base: UNet2DConditionModel, channels: tuple[int, ...]) -> ControlNetModel:
    """Return a ControlNet of the base's structure with other channel counts, that still ends in the base's."""
    config: Any = base.config
    same = (
        "in_channels", "down_block_types", "layers_per_block", "cross_attention_dim", "attention_head_dim",
        "use_linear_projection", "transformer_layers_per_block",
    )  # fmt: skip
    network: Any = ControlNetModel(
        **{name: config[name] for name in same}, block_out_channels=channels, norm_num_groups=_THIN_GROUPS
    )
    thin, wide = (stream_widths(widths, config.layers_per_block)[0] for widths in (channels, config.block_out_channels))
    network.controlnet_down_blocks = nn.ModuleList(zero_conv(k, c) for k, c in zip(thin, wide, strict=True))
    network.controlnet_mid_block = zero_conv(channels[-1], config.block_out_channels[-1])
    return network


def thin_channels(base: UNet2DConditionModel, spec: ControlSpec, *, parameters: int) -> tuple[int, ...]:
    """Return the channels, about in the base's proportions, of the thinned ControlNet nearest to a size."""
    full = tuple(base.config["block_out_channels"])
    shares = (step / _SHARES for step in range(1, _SHARES))
    choices = {tuple(_THIN_STEP * max(1, round(share * width / _THIN_STEP)) for width in full) for share in shares}

    def distance(channels: tuple[int, ...]) -> int:
        with torch.device("meta"):
            control = ControlNet(base, spec, channels=channels)
        return abs(sum(parameter.numel() for parameter in control.parameters()) - parameters)

    return min(sorted(choices), key=distance)
