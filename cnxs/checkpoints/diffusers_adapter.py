"""diffusers' format: a folder with a `ControlNetXSAdapter` of its version 0.28 and newer.

The same weights under other names. What diffusers cannot express is refused, and what its classes would compute
differently from the authors' is said.
"""

import dataclasses
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import diffusers
import torch
from safetensors.torch import save_file

from cnxs.checkpoints.families import Note, complete_spec
from cnxs.checkpoints.shapes import Shapes
from cnxs.checkpoints.strict import build, rename
from cnxs.errors import CheckpointError
from cnxs.layers import attention_heads, largest_divisor, norm_groups
from cnxs.model import ControlNetXS
from cnxs.specs import ControlSpec

CONFIG = "config.json"
WEIGHTS = "diffusion_pytorch_model.safetensors"
_CLASS = "ControlNetXSAdapter"
_SPEC = "cnxs_spec"  # metadata of files that `save` wrote; diffusers ignores it
_LAYERS = 2  # per level, fixed in diffusers


def prefixes(spec: ControlSpec) -> Iterator[tuple[str, str]]:
    """Yield (our module name, diffusers' module name); names of parameters below these are the same in both."""
    yield "hint_encoder.0", "controlnet_cond_embedding.conv_in"
    for i in range(6):
        yield f"hint_encoder.{2 * i + 2}", f"controlnet_cond_embedding.blocks.{i}"
    yield "hint_encoder.14", "controlnet_cond_embedding.conv_out"
    yield "time_embedding", "time_embedding"
    yield "encoder.0.conv", "conv_in"
    yield "encoder_to_base.0", "control_to_base_for_conv_in"
    for i in range(spec.num_connections - 1):
        level, layer = divmod(i, _LAYERS + 1)
        down = f"down_blocks.{level}"
        if layer < _LAYERS:
            yield f"encoder.{i + 1}.resnet", f"{down}.resnets.{layer}"
            yield f"encoder.{i + 1}.attention", f"{down}.attentions.{layer}"
        else:
            yield f"encoder.{i + 1}.conv", f"{down}.downsamplers"
        yield f"encoder_to_ctrl.{i}", f"{down}.base_to_ctrl.{layer}"
        yield f"encoder_to_base.{i + 1}", f"{down}.ctrl_to_base.{layer}"
    yield f"encoder_to_ctrl.{spec.num_connections - 1}", "mid_block.base_to_ctrl"
    yield "middle.resnet_in", "mid_block.midblock.resnets.0"
    yield "middle.attention", "mid_block.midblock.attentions.0"
    yield "middle.resnet_out", "mid_block.midblock.resnets.1"
    yield "middle_to_base", "mid_block.ctrl_to_base"
    for j in range(spec.num_connections):
        level, layer = divmod(j, _LAYERS + 1)
        yield f"decoder_to_base.{j}", f"up_connections.{level}.ctrl_to_base.{layer}"


def recognise(keys: Iterable[str]) -> bool:
    """Say whether these are the keys of such a file."""
    found = {key.partition(".")[0] for key in keys}
    return "controlnet_cond_embedding" in found and bool({"control_to_base_for_conv_in", "up_connections"} & found)


def read(
    tensors: Mapping[str, torch.Tensor],
    *,
    config: Mapping[str, Any],
    metadata: Mapping[str, str],
    file: str,
    condition: str,
    overrides: Mapping[str, Any],
) -> tuple[ControlNetXS, list[Note]]:
    """Return the control of a diffusers adapter, in float32 on the CPU, with what was assumed.

    Args:
        tensors: by diffusers' keys.
        config: its `config.json`; {} for a file without one, whose heads are then its family's.
        metadata: of its file; what `save` wrote holds our spec.
        file: its name, for messages.
        condition: "canny", "depth", ..., "unknown".
        overrides: fields of the spec that the caller knows better.

    Raises:
        CheckpointError: if its family cannot be told, or a key is missing, unexpected or misshapen.
    """
    if _SPEC in metadata:
        spec, notes = dataclasses.replace(ControlSpec.from_json(metadata[_SPEC]), **overrides), []
    else:
        structure = _structure(Shapes(tensors), file=file)
        heads = _heads_of(structure, config, file=file) if config else {}
        spec, notes = complete_spec(structure, file=file, condition=condition, overrides={**heads, **overrides})
    notes += foreign_norms(spec)
    return build(spec, tensors, names=prefixes(spec), source=file), notes


def save(control: ControlNetXS, folder: Path, *, dtype: torch.dtype = torch.float32) -> list[Note]:
    """Write a folder that diffusers' `ControlNetXSAdapter.from_pretrained` loads.

    Returns:
        Notes on what diffusers computes differently with these weights.

    Raises:
        CheckpointError: if diffusers cannot express the control; the sentence names what it cannot.
    """
    config = config_of(control.spec)
    theirs = dict(prefixes(control.spec))
    tensors = {}
    for key, value in control.state_dict().items():
        their_key = rename(key, theirs)
        assert their_key is not None, key
        tensors[their_key] = value.detach().to("cpu", dtype).contiguous()
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{WEIGHTS}.partial"
    save_file(tensors, partial, metadata={"format": "pt", _SPEC: control.spec.to_json()})
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    partial.replace(folder / WEIGHTS)
    return foreign_norms(control.spec)


def config_of(spec: ControlSpec) -> dict[str, Any]:
    """Return the `config.json` of a control.

    Raises:
        CheckpointError: if diffusers cannot express the control.
    """
    _check_expressible(spec)
    attends = [depth > 0 for depth in spec.transformer_depth]
    depths = [max(depth, 1) for depth in spec.transformer_depth]
    return {
        "_class_name": _CLASS,
        "_diffusers_version": diffusers.__version__,
        "conditioning_channels": spec.hint_channels,
        "conditioning_channel_order": "rgb",
        "conditioning_embedding_out_channels": [16, 32, 96, 256],
        "time_embedding_mix": 1.0,
        "learn_time_embedding": spec.learn_time_embedding,
        "num_attention_heads": [attention_heads(width, spec)[0] for width in spec.control_channels],
        "block_out_channels": list(spec.control_channels),
        "base_block_out_channels": list(spec.base_channels),
        "cross_attention_dim": spec.context_width,
        "down_block_types": ["CrossAttnDownBlock2D" if on else "DownBlock2D" for on in attends],
        "sample_size": None,
        "transformer_layers_per_block": [*depths[:-1], spec.middle_depth],
        "upcast_attention": False,
        "max_norm_num_groups": spec.max_norm_groups,
        "use_linear_projection": spec.linear_projection,
    }


def foreign_norms(spec: ControlSpec) -> list[Note]:
    """Return a note where diffusers' coupled U-Net groups some norms otherwise than the authors' code; else nothing.

    It takes one number of groups for its whole middle, and lets no norm of a level have more than the level's first.
    """
    groups: list[tuple[int, int]] = []  # (ours, diffusers')
    joined = spec.control_channels[0] + spec.base_channels[0]
    levels = zip(spec.control_channels, spec.base_channels, spec.transformer_depth, strict=True)
    for width, base_width, depth in levels:
        most = norm_groups(joined, spec)
        for channels in (joined, width + base_width, *[width] * (4 if depth else 2)):
            groups.append((norm_groups(channels, spec), largest_divisor(channels, most)))
        joined = width + base_width
    width = spec.control_channels[-1]
    middle = largest_divisor(math.gcd(joined, width), 32)
    groups += [(norm_groups(channels, spec), middle) for channels in (joined, *[width] * 4)]
    different = sum(ours != theirs for ours, theirs in groups)
    return [("diffusers_norms", {"count": different})] if different else []


def _check_expressible(spec: ControlSpec) -> None:
    last_depth = spec.transformer_depth[-1]
    heads = [attention_heads(width, spec) for width in spec.control_channels]
    required = {
        "control_type": (spec.control_type, "B"),
        "gains": (sorted(set(spec.connection_gains)), [1.0]),
        "latent_channels": (spec.latent_channels, 4),
        "hint_net": (spec.hint_net, "convolutions"),
        "hint_factor": (spec.hint_factor, 8),
        "layers_per_block": (spec.layers_per_block, _LAYERS),
        "max_norm_groups": (spec.max_norm_groups, 32),
        "min_group_channels": (spec.min_group_channels, 1),
        "middle_depth": (spec.middle_depth, last_depth or spec.middle_depth),
        "heads x width": ([a * b for a, b in heads], list(spec.control_channels)),
    }
    for name, (given, allowed) in required.items():
        if given != allowed:
            raise CheckpointError("diffusers_cannot", name=name, given=given, allowed=allowed)


def _structure(shapes: Shapes, *, file: str) -> dict[str, Any]:
    """Return the fields of `ControlSpec` that the shapes of a file show."""
    levels = shapes.count(r"down_blocks\.(\d+)\.")
    structure: dict[str, Any] = {
        "control_channels": tuple(
            shapes.size(rf"down_blocks\.{i}\.resnets\.\d\.(conv2|norm2)\.") for i in range(levels)
        ),
        "base_channels": tuple(shapes.size(rf"down_blocks\.{i}\.ctrl_to_base\.") for i in range(levels)),
        "transformer_depth": tuple(
            shapes.count(rf"down_blocks\.{i}\.attentions\.\d\.transformer_blocks\.(\d+)\.") for i in range(levels)
        ),
        "middle_depth": shapes.count(r"mid_block\.midblock\.attentions\.0\.transformer_blocks\.(\d+)\."),
        "context_width": shapes.size(r".*\.attn2\.to_[kv]\.weight", axis=1),
        "linear_projection": shapes.axes(r".*\.proj_(in|out)\.weight") == 2,
        "learn_time_embedding": shapes.several(r"time_embedding\."),
    }
    widths = (*structure["control_channels"], *structure["base_channels"], structure["context_width"])
    if levels < 2 or None in widths:
        raise CheckpointError("control_incomplete", file=file)
    return structure


def _heads_of(structure: Mapping[str, Any], config: Mapping[str, Any], *, file: str) -> dict[str, int | None]:
    """Return the rule that gives the heads of a `config.json`, whose other settings are checked."""
    for name, allowed in (("conditioning_channel_order", "rgb"), ("time_embedding_mix", 1.0)):
        if config.get(name, allowed) != allowed:
            raise CheckpointError("adapter_setting", file=file, name=name, given=config[name], allowed=allowed)
    widths = structure["control_channels"]
    given = config.get("num_attention_heads", 4)
    heads = given if isinstance(given, list) else [given] * len(widths)
    attends = [depth > 0 for depth in structure["transformer_depth"][:-1]] + [True]  # the middle has the last's heads
    used = [(h, w) for h, w, on in zip(heads, widths, attends, strict=True) if on]
    widest = max(width // head for head, width in used)
    if all(largest_divisor(width, widest) * head == width for head, width in used):
        return {"head_channels": widest}
    if len({head for head, _ in used}) == 1 and all(width // used[0][0] >= used[0][0] for _, width in used):
        return {"num_heads": used[0][0]}
    raise CheckpointError("adapter_setting", file=file, name="num_attention_heads", given=given, allowed="-")
