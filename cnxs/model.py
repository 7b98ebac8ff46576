"""ControlNet-XS: a thin control stream coupled to a frozen Stable Diffusion U-Net (arXiv 2312.06573).

`ControlNetXS` holds the trainable weights. `CoupledUNet` runs base and controls side by side; its three loops, encoder,
middle and decoder, are where the two streams exchange what they know, without delay: the control sees the base feature
of the very block it then corrects.

Letters in shapes: B images, C base channels, K control channels, H W the grid at that depth, n encoder blocks.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.embeddings import TimestepEmbedding
from torch import nn

from cnxs.blocks import (
    ControlMiddle,
    base_decoder,
    base_encoder,
    check_base,
    control_decoder,
    control_encoder,
    stream_widths,
)
from cnxs.errors import CheckpointError
from cnxs.hint import HintEncoder
from cnxs.layers import PointwiseConv, embedding_weight, zero_conv
from cnxs.specs import ControlSpec


class ControlNetXS(nn.Module):
    """The weights of one control: a thin encoder, its connections to and from the base, and a hint net.

    Built from its spec alone, on any device (the meta device included); it knows no base weights.
    """

    def __init__(self, spec: ControlSpec) -> None:
        super().__init__()
        self.spec = spec
        base_encoder_widths, base_decoder_widths = stream_widths(spec.base_channels, spec.layers_per_block)
        widths, decoder_widths = stream_widths(spec.control_channels, spec.layers_per_block)
        base_middle, middle = spec.base_channels[-1], spec.control_channels[-1]

        self.hint_encoder = HintEncoder(spec)
        self.time_embedding = (
            TimestepEmbedding(spec.base_channels[0], 4 * spec.base_channels[0]) if spec.learn_time_embedding else None
        )
        self.encoder = nn.ModuleList(control_encoder(spec))
        self.encoder_to_ctrl = nn.ModuleList(PointwiseConv(c, c) for c in base_encoder_widths)
        self.middle = ControlMiddle(middle + base_middle, middle, spec)
        self.middle_to_base = zero_conv(middle, base_middle)
        self.decoder = nn.ModuleList()
        self.decoder_to_ctrl = nn.ModuleList()

        if spec.control_type != "A":
            self.encoder_to_base = nn.ModuleList(
                zero_conv(k, c) for k, c in zip(widths, base_encoder_widths, strict=True)
            )
        if spec.control_type != "C":
            # Corrections come from the control encoder's skips and act on the stream that enters a decoder block.
            entering = [base_middle, *base_decoder_widths[:-1]]
            self.decoder_to_base = nn.ModuleList(zero_conv(k, c) for k, c in zip(widths[::-1], entering, strict=True))
        else:
            # Corrections come from a control decoder and act on the stream that leaves a decoder block.
            self.middle_to_ctrl = PointwiseConv(base_middle, base_middle)
            self.decoder = nn.ModuleList(control_decoder(spec, widths))
            pairs = list(zip(decoder_widths, base_decoder_widths, strict=True))[:-1]
            self.decoder_to_base = nn.ModuleList(zero_conv(k, c) for k, c in pairs)
            self.decoder_to_ctrl = nn.ModuleList(PointwiseConv(c, c) for _, c in pairs[:-1])

    def encode_hint(self, control_map: torch.Tensor) -> torch.Tensor:
        """Return the hint (B, K0, H, W) of a control map (B, hint_channels, factor * H, factor * W) in [0, 1].

        Once per image: neither the timestep nor the prompt enters.
        """
        return self.hint_encoder(control_map)

    def copy_time_embedding(self, base: UNet2DConditionModel) -> None:
        """Start a learned time embedding as the base's own, so that an untrained control changes nothing."""
        if self.time_embedding is not None:
            self.time_embedding.load_state_dict(base.time_embedding.state_dict())


@dataclass(frozen=True, kw_only=True)
class ControlInput:
    """What one control works with in one call.

    Attributes:
        hint: (B, K0, H, W) from `ControlNetXS.encode_hint`.
        control_scale: 0 to 2, one for all images or one for each; 0 is exactly the base.
        gains: a factor for every connection on top of the control's own, in their order; () for all 1.
        embedding_scale: strength of a learned time embedding; None: the control scale. The authors' SD sampling helper
            always uses 1, which their figures need and which makes scale 0 differ from the base.
        region: (B or 1, 1, H, W) in [0, 1] at latent size: where the corrections act; None: everywhere.
    """

    hint: torch.Tensor
    control_scale: float | Sequence[float] = 1.0
    gains: Sequence[float] = ()
    embedding_scale: float | Sequence[float] | None = None
    region: torch.Tensor | None = None


@dataclass
class _Stream:
    """A control stream during one call: running feature, skips, and how strongly it acts."""

    control: ControlNetXS
    hint: torch.Tensor
    scale: torch.Tensor  # (B, 1, 1, 1)
    encoder_gains: list[float]
    middle_gain: float
    decoder_gains: list[float]
    embedding_scale: torch.Tensor  # (B, 1)
    region: torch.Tensor | None
    h: torch.Tensor
    emb: torch.Tensor
    skips: list[torch.Tensor] = field(default_factory=list)

    def correction(self, conv: nn.Module, gain: float, source: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the two factors of what this stream adds to the base: a connection's output, and its strength."""
        strength = self.scale if gain == 1 else self.scale * gain
        if self.region is not None:
            strength = strength * nn.functional.adaptive_avg_pool2d(self.region, (source.shape[-2], source.shape[-1]))
        return conv(source), strength


class CoupledUNet:
    """A base U-Net and any number of controls, run side by side.

    Not a module: it refers to both, so that no base weight can enter a state dict or an optimiser. LoRA and attention
    processors on the base act; hooks on whole base blocks do not fire, since their layers are called one by one.

    Args:
        base: any Stable Diffusion U-Net of plain and cross-attention blocks.
        controls: all streams of a step read the same base and their corrections add up, so their order does not matter.

    Raises:
        CheckpointError: if the base has unknown blocks, or a control was built for another base.
    """

    def __init__(self, base: UNet2DConditionModel, controls: Sequence[ControlNetXS] = ()) -> None:
        check_base(base)
        for control in controls:
            check_match(base, control.spec)
        self.base = base
        self.controls = tuple(controls)

    def __call__(
        self,
        sample: torch.Tensor,
        timestep: torch.Tensor | float,
        context: torch.Tensor,
        inputs: Sequence[ControlInput] = (),
        *,
        added_cond_kwargs: dict[str, torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """Predict noise or velocity.

        Args:
            sample: noisy latents, (B, latent channels, H, W), of any size that the base takes.
            timestep: 0 to 999; one, or (B,).
            context: text states, (B, S, context width).
            inputs: one per control, in their order.
            added_cond_kwargs: SDXL's `text_embeds` (B, pooled width) and `time_ids` (B, 6).

        Returns:
            (B, latent channels, H, W). Where nothing acts, the base's own output, bit for bit.
        """
        pairs = zip(self.controls, inputs, strict=True)
        streams = [_stream(control, item, sample) for control, item in pairs if _acts(control, item)]
        if not streams:
            kwargs = {"added_cond_kwargs": added_cond_kwargs, "return_dict": False}
            return self.base(sample, timestep, context, **kwargs)[0]
        emb = self._embed_time(sample, timestep, context, streams, added_cond_kwargs)

        # Encoder. Both streams take a step, the control corrects the base, the control reads the corrected base.
        h_base = sample
        skips: list[torch.Tensor] = []
        for i, base_block in enumerate(base_encoder(self.base)):
            h_base = base_block(h_base, emb, context)
            for s in streams:
                s.h = s.control.encoder[i](s.h, s.emb, context)  # (B, K, H, W)
                if i == 0:
                    s.h = s.h + s.hint
            writers = [s for s in streams if s.control.spec.control_type != "A"]
            h_base = _add(
                h_base, [s.correction(s.control.encoder_to_base[i], s.encoder_gains[i], s.h) for s in writers]
            )
            skips.append(h_base)
            for s in streams:
                s.skips.append(s.h)
                s.h = torch.cat([s.h, s.control.encoder_to_ctrl[i](h_base)], dim=1)  # (B, K + C, H, W)

        # Middle.
        h_base = self.base.mid_block(h_base, emb, encoder_hidden_states=context)
        for s in streams:
            s.h = s.control.middle(s.h, s.emb, context)
        h_base = _add(h_base, [s.correction(s.control.middle_to_base, s.middle_gain, s.h) for s in streams])
        for s in streams:
            if s.control.spec.control_type == "C":
                s.h = torch.cat([s.h, s.control.middle_to_ctrl(h_base)], dim=1)

        # Decoder. Types A and B correct the stream that enters a block, from the encoder's skips; type C the one that
        # leaves it, from a control decoder.
        for j, base_block in enumerate(base_decoder(self.base)):
            writers = [s for s in streams if s.control.spec.control_type != "C"]
            h_base = _add(
                h_base,
                [s.correction(s.control.decoder_to_base[j], s.decoder_gains[j], s.skips.pop()) for s in writers],
            )
            h_base = torch.cat([h_base, skips.pop()], dim=1)
            size = skips[-1].shape[-2:] if skips else None
            h_base = base_block(h_base, emb, context, size=size)
            mirrored = [s for s in streams if j < len(s.control.decoder)]
            for s in mirrored:
                s.h = s.control.decoder[j](torch.cat([s.h, s.skips.pop()], dim=1), s.emb, context, size=size)
            h_base = _add(
                h_base, [s.correction(s.control.decoder_to_base[j], s.decoder_gains[j], s.h) for s in mirrored]
            )
            for s in mirrored:
                if j < len(s.control.decoder_to_ctrl):
                    s.h = torch.cat([s.h, s.control.decoder_to_ctrl[j](h_base)], dim=1)

        head: Any = self.base
        return head.conv_out(head.conv_act(head.conv_norm_out(h_base)))

    def _embed_time(
        self,
        sample: torch.Tensor,
        timestep: torch.Tensor | float,
        context: torch.Tensor,
        streams: list[_Stream],
        added_cond_kwargs: dict[str, torch.Tensor] | None,
    ) -> torch.Tensor:
        """Return the base's time embedding (B, D) and give each stream its own.

        One learned embedding mixes into the base's by the authors' rule; several share, so that together they never
        count for more than one. SDXL's size and pooled-text embedding is outside the mix.
        """
        sinusoid = self.base.get_time_embed(sample=sample, timestep=timestep)
        emb = self.base.time_embedding(sinusoid)
        added = self.base.get_aug_embed(
            emb=emb, encoder_hidden_states=context, added_cond_kwargs=added_cond_kwargs or {}
        )
        added = 0 if added is None else added
        weights: list[torch.Tensor] = []
        offsets: list[torch.Tensor] = []
        for s in streams:
            s.emb = emb + added
            if s.control.time_embedding is not None:
                weights.append(embedding_weight(s.embedding_scale))
                offsets.append(weights[-1] * (s.control.time_embedding(sinusoid) - emb))
                s.emb = emb + offsets[-1] + added
        if len(offsets) == 1:
            return emb + offsets[0] + added
        share = sum(weights, torch.zeros(())).clamp(min=1) if offsets else 1
        return emb + sum(offsets, torch.zeros_like(emb)) / share + added


def _add(h_base: torch.Tensor, corrections: list[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
    """Correct the base; several corrections are added up first: so two controls give the same bits in either order."""
    if not corrections:
        return h_base
    if len(corrections) == 1:
        return torch.addcmul(h_base, *corrections[0])  # one pass over the tensors instead of two
    return h_base + functools.reduce(torch.add, (output * strength for output, strength in corrections))


def check_match(base: UNet2DConditionModel, spec: ControlSpec) -> None:
    """Check that a control's widths fit a base.

    Raises:
        CheckpointError: naming the first value that differs.
    """
    for name, of_base in base_structure(base).items():
        if (of_control := getattr(spec, name)) != of_base:
            raise CheckpointError("control_for_other_base", name=name, control=of_control, base=of_base)


def base_structure(base: UNet2DConditionModel) -> dict[str, Any]:
    """Return the fields of `ControlSpec` that a base decides."""
    config: Any = base.config
    levels = len(config.block_out_channels)
    depths = config.transformer_layers_per_block
    depths = (depths,) * levels if isinstance(depths, int) else tuple(depths)
    attends = ["CrossAttn" in kind for kind in config.down_block_types]
    return {
        "base_channels": tuple(config.block_out_channels),
        "layers_per_block": config.layers_per_block,
        "transformer_depth": tuple(d if on else 0 for d, on in zip(depths, attends, strict=True)),
        "middle_depth": depths[-1],
        "context_width": config.cross_attention_dim,
        "latent_channels": config.in_channels,
        "linear_projection": config.use_linear_projection,
    }


def _acts(control: ControlNetXS, item: ControlInput) -> bool:
    embedding_scale = item.control_scale if item.embedding_scale is None else item.embedding_scale
    learned = control.time_embedding is not None and any(_values(embedding_scale))
    return learned or any(_values(item.control_scale))


def _values(scale: float | Sequence[float]) -> list[float]:
    return [scale] if isinstance(scale, (int, float)) else list(scale)


def _stream(control: ControlNetXS, item: ControlInput, sample: torch.Tensor) -> _Stream:
    B = len(sample)
    if len(item.hint) != B or item.hint.shape[-2:] != sample.shape[-2:]:
        raise CheckpointError("hint_size", hint=tuple(item.hint.shape), sample=tuple(sample.shape))

    def per_image(scale: float | Sequence[float]) -> torch.Tensor:
        values = _values(scale)
        assert len(values) in (1, B), "one control scale, or one per image"
        return torch.tensor(values, dtype=sample.dtype).to(sample.device, non_blocking=True).expand(B)

    own = control.spec.connection_gains
    gains = [a * b for a, b in zip(own, item.gains or [1.0] * len(own), strict=True)]
    first_decoder = 1 if control.spec.control_type == "A" else control.spec.num_connections + 1
    scale = per_image(item.control_scale)
    embedding_scale = scale if item.embedding_scale is None else per_image(item.embedding_scale)
    return _Stream(
        control=control,
        hint=item.hint,
        scale=scale[:, None, None, None],
        encoder_gains=gains[: first_decoder - 1],
        middle_gain=gains[first_decoder - 1],
        decoder_gains=gains[first_decoder:],
        embedding_scale=embedding_scale[:, None],
        region=None if item.region is None else item.region.to(sample),
        h=sample,
        emb=sample,
    )
