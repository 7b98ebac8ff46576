"""The blocks that both streams are walked by: views of the base's own modules, and the thin modules of the control."""

from collections.abc import Iterator
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.downsampling import Downsample2D
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.unets.unet_2d_blocks import (
    CrossAttnDownBlock2D,
    CrossAttnUpBlock2D,
    DownBlock2D,
    UNetMidBlock2DCrossAttn,
    UpBlock2D,
)
from diffusers.models.upsampling import Upsample2D
from torch import nn

from cnxs.errors import CheckpointError
from cnxs.layers import PointwiseConv, attention_heads, decoder_attention_heads, norm_groups, transformer
from cnxs.specs import ControlSpec

RESNET_EPS = 1e-5


class BaseBlock:
    """One step through the base: ResBlock, transformer, then a convolution that changes the grid. Each is optional.

    Not a module: it refers to the base's layers, so that LoRA and attention processors set on them act.
    """

    def __init__(
        self,
        resnet: nn.Module | None = None,
        attention: nn.Module | None = None,
        conv: nn.Module | None = None,
        upsampler: nn.Module | None = None,
    ) -> None:
        self.resnet, self.attention, self.conv, self.upsampler = resnet, attention, conv, upsampler

    def __call__(
        self, h: torch.Tensor, emb: torch.Tensor, context: torch.Tensor, *, size: torch.Size | None = None
    ) -> torch.Tensor:
        return run_block(self, h, emb, context, size=size)


class ControlBlock(nn.Module):
    """The same step through the control stream, thinner, with weights of its own."""

    def __init__(
        self,
        resnet: nn.Module | None = None,
        attention: nn.Module | None = None,
        conv: nn.Module | None = None,
        upsampler: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.resnet, self.attention, self.conv, self.upsampler = resnet, attention, conv, upsampler

    def forward(
        self, h: torch.Tensor, emb: torch.Tensor, context: torch.Tensor, *, size: torch.Size | None = None
    ) -> torch.Tensor:
        return run_block(self, h, emb, context, size=size)


class ControlMiddle(nn.Module):
    """ResBlock, transformer, ResBlock: the control stream's middle. (B, C + B_, H, W) to (B, C, H, W)."""

    def __init__(self, in_channels: int, channels: int, spec: ControlSpec) -> None:
        super().__init__()
        heads = attention_heads(channels, spec)
        self.resnet_in = control_resnet(in_channels, channels, spec)
        self.attention = transformer(channels, spec, depth=spec.middle_depth, heads=heads)
        self.resnet_out = control_resnet(channels, channels, spec)

    def forward(self, h: torch.Tensor, emb: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        h = self.resnet_in(h, emb)
        h = self.attention(h, encoder_hidden_states=context, return_dict=False)[0]
        return self.resnet_out(h, emb)


def run_block(
    block: BaseBlock | ControlBlock, h: torch.Tensor, emb: torch.Tensor, context: torch.Tensor, size: torch.Size | None
) -> torch.Tensor:
    """Run one block of either stream.

    Args:
        block: whose layers to run.
        h: (B, C, H, W).
        emb: time embedding, (B, 4 * model channels).
        context: text states, (B, S, context_width).
        size: height and width after an upsampler: the next skip's, since odd sizes were rounded up on the way down.
    """
    if block.resnet is not None:
        h = block.resnet(h, emb)
    if block.attention is not None:
        h = block.attention(h, encoder_hidden_states=context, return_dict=False)[0]
    if block.conv is not None:
        h = block.conv(h)
    if block.upsampler is not None:
        h = block.upsampler(h, size)
    return h


# --- the base, in the order of the authors' input_blocks and output_blocks ------------------------------------------


def base_encoder(base: UNet2DConditionModel) -> Iterator[BaseBlock]:
    """Yield the base's n encoder blocks: first convolution, each ResBlock with its transformer, each downsampler."""
    yield BaseBlock(conv=base.conv_in)
    for stage in _stages(base.down_blocks):
        for resnet, attention in zip(stage.resnets, _attentions(stage), strict=True):
            yield BaseBlock(resnet, attention)
        for downsampler in stage.downsamplers or ():
            yield BaseBlock(conv=downsampler)


def base_decoder(base: UNet2DConditionModel) -> Iterator[BaseBlock]:
    """Yield the base's n decoder blocks; the last of a stage holds its upsampler."""
    for stage in _stages(base.up_blocks):
        last = len(stage.resnets) - 1
        for i, (resnet, attention) in enumerate(zip(stage.resnets, _attentions(stage), strict=True)):
            upsampler = stage.upsamplers[0] if i == last and stage.upsamplers else None
            yield BaseBlock(resnet, attention, upsampler=upsampler)


def check_base(base: UNet2DConditionModel) -> None:
    """Refuse what a block-by-block walk would get wrong.

    Raises:
        CheckpointError: for a U-Net with other kinds of blocks, or with FreeU switched on.
    """
    known = (DownBlock2D, CrossAttnDownBlock2D, UpBlock2D, CrossAttnUpBlock2D)
    stages = _stages(base.down_blocks) + _stages(base.up_blocks)
    strange = [stage for stage in stages if type(stage) not in known]
    if type(base.mid_block) is not UNetMidBlock2DCrossAttn:
        strange.append(base.mid_block)
    if strange:
        raise CheckpointError("base_block_unknown", block=type(strange[0]).__name__)
    for stage in stages:
        if getattr(stage, "s1", None) is not None:
            raise CheckpointError("base_freeu")


def _stages(stages: nn.ModuleList) -> list[Any]:
    # diffusers' stages hold their layers in attributes that type checkers cannot see.
    return list(stages)


def _attentions(stage: Any) -> list[nn.Module | None]:
    attentions = getattr(stage, "attentions", None)
    return [None] * len(stage.resnets) if attentions is None else list(attentions)


# --- the control -----------------------------------------------------------------------------------------------------


def control_resnet(in_channels: int, channels: int, spec: ControlSpec) -> ResnetBlock2D:
    """Build a control ResBlock, each norm grouped by its own channels."""
    resnet = ResnetBlock2D(
        in_channels=in_channels,
        out_channels=channels,
        temb_channels=4 * spec.base_channels[0],
        groups=norm_groups(in_channels, spec),
        groups_out=norm_groups(channels, spec),
        eps=RESNET_EPS,
    )
    if resnet.conv_shortcut is not None:
        resnet.conv_shortcut = PointwiseConv(in_channels, channels)
    return resnet


def control_encoder(spec: ControlSpec) -> Iterator[ControlBlock]:
    """Yield the control's n encoder blocks. Each takes its stream joined with the base's of the block before."""
    width = spec.control_channels[0]
    yield ControlBlock(conv=nn.Conv2d(spec.latent_channels, width, 3, padding=1))
    joined = width + spec.base_channels[0]
    for level, (width, depth) in enumerate(zip(spec.control_channels, spec.transformer_depth, strict=True)):
        heads = attention_heads(width, spec)
        for _ in range(spec.layers_per_block):
            attention = transformer(width, spec, depth=depth, heads=heads) if depth else None
            yield ControlBlock(control_resnet(joined, width, spec), attention)
            joined = width + spec.base_channels[level]
        if level < len(spec.base_channels) - 1:
            yield ControlBlock(conv=Downsample2D(joined, use_conv=True, out_channels=width, padding=1, name="op"))


def control_decoder(spec: ControlSpec, skip_channels: list[int]) -> Iterator[ControlBlock]:
    """Yield the control decoder of type C: n - 1 blocks that mirror the base's.

    The authors' nets have an n-th one, whose output nothing reads.
    """
    skips = list(skip_channels)
    joined = spec.control_channels[-1] + spec.base_channels[-1]
    for level in reversed(range(len(spec.control_channels))):
        width, depth = spec.control_channels[level], spec.transformer_depth[level]
        for layer in range(spec.layers_per_block + 1):
            if len(skips) == 1:
                return
            resnet = control_resnet(joined + skips.pop(), width, spec)
            heads = decoder_attention_heads(width, spec)
            attention = transformer(width, spec, depth=depth, heads=heads) if depth else None
            ends = layer == spec.layers_per_block and level > 0
            upsampler = Upsample2D(width, use_conv=True, out_channels=width) if ends else None
            yield ControlBlock(resnet, attention, upsampler=upsampler)
            joined = width + spec.base_channels[level]


def stream_widths(channels: tuple[int, ...], layers_per_block: int) -> tuple[list[int], list[int]]:
    """Return the widths that leave each encoder block and each decoder block of a stream."""
    encoder, decoder = [channels[0]], []
    for level, width in enumerate(channels):
        encoder += [width] * (layers_per_block + (level < len(channels) - 1))
        decoder = [width] * (layers_per_block + 1) + decoder
    return encoder, decoder
