"""Small layers and the arithmetic of their widths."""

import torch
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from torch import nn

from cnxs.specs import ControlSpec


def largest_divisor(number: int, limit: int) -> int:
    """Return the largest divisor of `number` that is at most `limit`."""
    return max(divisor for divisor in range(1, max(1, min(number, limit)) + 1) if number % divisor == 0)


def norm_groups(channels: int, spec: ControlSpec) -> int:
    """Return the groups of a control GroupNorm: as many as its own channels allow.

    At most `max_norm_groups`, and at least `min_group_channels` channels in each. With one channel per group a ResBlock
    cannot see the timestep: the norm removes any constant that was added to a channel.
    """
    return largest_divisor(channels, min(spec.max_norm_groups, channels // spec.min_group_channels))


def group_norm(channels: int, spec: ControlSpec, *, eps: float) -> nn.GroupNorm:
    """Build a control GroupNorm; the one place that decides its groups."""
    return nn.GroupNorm(norm_groups(channels, spec), channels, eps=eps)


def attention_heads(channels: int, spec: ControlSpec) -> tuple[int, int]:
    """Return (heads, channels per head) of a control transformer of the encoder or middle."""
    if spec.num_heads is not None:
        # Thin streams get an inner width above their own: heads are never narrower than their number.
        return spec.num_heads, max(spec.num_heads, channels // spec.num_heads)
    assert spec.head_channels is not None
    width = largest_divisor(channels, spec.head_channels)
    return channels // width, width


def decoder_attention_heads(channels: int, spec: ControlSpec) -> tuple[int, int]:
    """Return (heads, channels per head) in the control decoder of type C, which takes the middle's head width."""
    if spec.num_heads is not None:
        return spec.num_heads, channels // spec.num_heads
    _, width = attention_heads(spec.control_channels[-1], spec)
    return max(1, channels // width), width  # at least one, where the authors' net cannot run


def transformer(channels: int, spec: ControlSpec, *, depth: int, heads: tuple[int, int]) -> Transformer2DModel:
    """Build a control transformer on the base's text states."""
    model = Transformer2DModel(
        *heads,
        in_channels=channels,
        num_layers=depth,
        cross_attention_dim=spec.context_width,
        norm_num_groups=norm_groups(channels, spec),
        use_linear_projection=spec.linear_projection,
    )
    model.norm = group_norm(channels, spec, eps=spec.transformer_norm_eps)
    return model


class PointwiseConv(nn.Conv2d):
    """A 1x1 convolution (B, C, H, W) to (B, D, H, W), as one matrix product.

    On small grids a processor spends more time on laying a convolution's data out than on its arithmetic.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 1)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if not input.is_contiguous():  # channels last, as in training: the convolution keeps that layout
            return super().forward(input)
        assert self.bias is not None
        weight = self.weight.flatten(1).expand(len(input), -1, -1)
        return torch.baddbmm(self.bias[:, None], weight, input.flatten(2)).unflatten(2, input.shape[2:])


def zero_conv(in_channels: int, out_channels: int) -> PointwiseConv:
    """Build a 1x1 convolution that starts at zero, so that an untrained control changes nothing."""
    conv = PointwiseConv(in_channels, out_channels)
    nn.init.zeros_(conv.weight)
    assert conv.bias is not None
    nn.init.zeros_(conv.bias)
    return conv


def embedding_weight(control_scale: torch.Tensor) -> torch.Tensor:
    """Return the share of a learned time embedding at a control scale: s ** 0.3 (authors' code).

    0 at scale 0 (the base's embedding alone), 1 at scale 1 (the learned one replaces it), beyond it extrapolates.
    """
    return control_scale**0.3
