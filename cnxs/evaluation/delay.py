"""The delay of control, counted: how many base blocks ran between what a control signal saw and where it acts.

In a ControlNet the control sees the latent at the start of a step and nothing of the base's work on it; its signals act
in the decoder, after the whole encoder. ControlNet-XS reads the base block by block (arXiv 2312.06573, section 3).
Nothing is timed here. Hooks record the output of every base block and of every connection to the base; the graph that
autograd keeps says which depends on which. On the meta device a full-size model costs no memory and no arithmetic.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from torch import nn

from cnxs.blocks import BaseBlock, base_decoder, base_encoder
from cnxs.miniature import ASSETS
from cnxs.model import ControlInput, ControlNetXS, CoupledUNet, base_structure
from cnxs.specs import ControlSpec, ControlType

Stage = Literal["encoder", "middle", "decoder"]
_Connections = dict[nn.Module, Stage]
TYPES: tuple[ControlType, ...] = ("A", "B", "C")

# Stable Diffusion 2.1's structure: the blocks and levels of 1.5 as well.
_STABLE_DIFFUSION: dict[str, Any] = {
    "cross_attention_dim": 1024,
    "attention_head_dim": (5, 10, 20, 20),
    "use_linear_projection": True,
    "sample_size": 64,
}


@dataclass(frozen=True, kw_only=True)
class Signal:
    """One connection from control to base. Base blocks are numbered from 0; -1 is the latent at the step's start."""

    stage: Stage  # where in the base it acts
    seen: int  # the latest base block whose output it depends on
    acts_on: int  # the base block whose output, or whose skip at that moment, it corrects

    @property
    def delay(self) -> int:
        """Base blocks that ran between the two, the corrected one included; 1 is the least there can be."""
        return self.acts_on - self.seen


def stable_diffusion_unet() -> UNet2DConditionModel:
    """Return Stable Diffusion 2.1's U-Net on the meta device: shapes without weights."""
    with torch.device("meta"):
        return UNet2DConditionModel(**_STABLE_DIFFUSION)


def miniature_unet() -> UNet2DConditionModel:
    """Return the miniature's U-Net on the meta device."""
    config = json.loads((ASSETS / "unet" / "config.json").read_text("utf-8"))
    with torch.device("meta"):
        base: Any = UNet2DConditionModel.from_config(config)
    return base


def probe_types(base: UNet2DConditionModel) -> dict[str, list[Signal]]:
    """Probe a ControlNet of the base's structure and ControlNet-XS of types A, B and C, all on the base's device."""
    probed = {"ControlNet": probe_controlnet(base)}
    for control_type in TYPES:
        probed[f"ControlNet-XS, {control_type}"] = probe_coupled(base, control_type)
    return probed


def probe_controlnet(base: UNet2DConditionModel) -> list[Signal]:
    """Probe diffusers' ControlNet."""
    shared = (
        "in_channels", "down_block_types", "block_out_channels", "layers_per_block", "cross_attention_dim",
        "attention_head_dim", "use_linear_projection", "transformer_layers_per_block",
    )  # fmt: skip
    config: Any = base.config
    with base.device:
        control: Any = ControlNetModel(**{name: config[name] for name in shared})
    sample, context = _inputs(base)
    pixels = torch.zeros(1, 3, 8 * sample.shape[-2], 8 * sample.shape[-1], device=base.device)

    def run() -> None:
        down, middle = control(sample, 500, context, pixels, return_dict=False)
        residuals = {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}
        base(sample, 500, context, **residuals)

    to_base: _Connections = dict.fromkeys(control.controlnet_down_blocks, "decoder")
    to_base[control.controlnet_mid_block] = "middle"
    return _probe(base, to_base, run)


def probe_coupled(base: UNet2DConditionModel, control_type: ControlType) -> list[Signal]:
    """Probe a ControlNet-XS of one type, as thin as it can be."""
    structure: dict[str, Any] = base_structure(base)
    levels = len(structure["base_channels"])
    spec = ControlSpec(
        **structure,
        control_type=control_type,
        control_channels=(8,) * levels,
        num_heads=1,
        base_family="",
        condition="",
    )
    with base.device:
        control = ControlNetXS(spec)
    sample, context = _inputs(base)
    hint = torch.zeros(1, 8, *sample.shape[-2:], device=base.device)
    to_base: _Connections = dict.fromkeys(getattr(control, "encoder_to_base", ()), "encoder")
    to_base[control.middle_to_base] = "middle"
    to_base |= dict.fromkeys(control.decoder_to_base, "decoder")

    def run() -> None:
        CoupledUNet(base, [control])(sample, 500, context, [ControlInput(hint=hint)])

    return _probe(base, to_base, run)


def mean_delays(signals: Sequence[Signal], stage: Stage) -> float | None:
    """Return the mean delay of the signals that act on a stage; None where there are none."""
    delays = [signal.delay for signal in signals if signal.stage == stage]
    return sum(delays) / len(delays) if delays else None


def _inputs(base: UNet2DConditionModel) -> tuple[torch.Tensor, torch.Tensor]:
    config: Any = base.config
    side = 2 ** len(config.block_out_channels)
    # The latent asks for gradients, so that the graph reaches every block of a frozen base.
    sample = torch.zeros(1, config.in_channels, side, side, device=base.device, requires_grad=True)
    return sample, torch.zeros(1, 4, config.cross_attention_dim, device=base.device)


def _probe(base: UNet2DConditionModel, connections: _Connections, run: Callable[[], None]) -> list[Signal]:
    """Run once, and read from the graph what each connection's output depends on, and what depends on it."""
    encoder, decoder = ([_last_layer(block) for block in part(base)] for part in (base_encoder, base_decoder))
    blocks = [*encoder, base.mid_block, *decoder]
    outputs: dict[nn.Module, torch.Tensor] = {}

    def keep(module: nn.Module, _: Any, output: Any) -> None:
        outputs[module] = output[0] if isinstance(output, tuple) else output

    hooks = [module.register_forward_hook(keep) for module in [*blocks, *connections]]
    with torch.enable_grad():
        run()
    for hook in hooks:
        hook.remove()
    nodes = [outputs[block].grad_fn for block in blocks]
    behind = [_ancestors(node) for node in nodes]
    signals = []
    for connection, stage in connections.items():
        node = outputs[connection].grad_fn
        seen_by = _ancestors(node)
        seen = max((i for i, block in enumerate(nodes) if block in seen_by), default=-1)
        acts_on = min(i for i, ancestors in enumerate(behind) if node in ancestors) - 1
        signals.append(Signal(stage=stage, seen=seen, acts_on=acts_on))
    return signals


def _last_layer(block: BaseBlock) -> nn.Module:
    layers = [block.upsampler, block.conv, block.attention, block.resnet]
    return next(layer for layer in layers if layer is not None)


def _ancestors(node: Any) -> set[Any]:
    """Return every node of the graph that `node` was computed from, itself included."""
    found, waiting = {node}, [node]
    while waiting:
        for parent, _ in waiting.pop().next_functions:
            if parent is not None and parent not in found:
                found.add(parent)
                waiting.append(parent)
    return found
