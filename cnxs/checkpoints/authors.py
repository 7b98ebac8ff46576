"""The key names of the authors' files (`vislearn/ControlNet-XS`) and their order of modules.

SD files are pickles with these keys under "state_dict"; SDXL files are flat safetensors. One table maps both ways.
"""

import statistics
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch

from cnxs.checkpoints.families import Note, complete_spec
from cnxs.checkpoints.shapes import Shapes
from cnxs.checkpoints.strict import build
from cnxs.errors import CheckpointError
from cnxs.model import ControlNetXS
from cnxs.specs import ControlSpec

_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}


def prefixes(spec: ControlSpec) -> Iterator[tuple[str, str]]:
    """Yield (our module name, the authors' module name); names of parameters below these are the same in both."""
    n = spec.num_connections
    yield "hint_encoder", "input_hint_block"
    yield "time_embedding.linear_1", "control_model.time_embed.0"
    yield "time_embedding.linear_2", "control_model.time_embed.2"
    for i in range(n):
        block = f"control_model.input_blocks.{i}"
        yield from _resnet(f"encoder.{i}.resnet", f"{block}.0")
        yield f"encoder.{i}.attention", f"{block}.1"
        yield f"encoder.{i}.conv.conv", f"{block}.0.op"
        yield f"encoder_to_base.{i}", f"enc_zero_convs_out.{i}.0"
        yield f"encoder_to_ctrl.{i}", f"enc_zero_convs_in.{i}.0"
    yield "encoder.0.conv", "control_model.input_blocks.0.0"
    yield from _resnet("middle.resnet_in", "control_model.middle_block.0")
    yield "middle.attention", "control_model.middle_block.1"
    yield from _resnet("middle.resnet_out", "control_model.middle_block.2")
    yield "middle_to_base", "middle_block_out.0"
    yield "middle_to_ctrl", "middle_block_in.0"
    for j in range(n):
        block = f"control_model.output_blocks.{j}"
        attends = spec.transformer_depth[-1 - j // (spec.layers_per_block + 1)] > 0
        yield from _resnet(f"decoder.{j}.resnet", f"{block}.0")
        if attends:
            yield f"decoder.{j}.attention", f"{block}.1"
        yield f"decoder.{j}.upsampler.conv", f"{block}.{2 if attends else 1}.conv"
        yield f"decoder_to_base.{j}", f"dec_zero_convs_out.{j}.0"
        yield f"decoder_to_ctrl.{j}", f"dec_zero_convs_in.{j}.0"


def _resnet(ours: str, theirs: str) -> Iterator[tuple[str, str]]:
    for our_name, their_name in _RESNET.items():
        yield f"{ours}.{our_name}", f"{theirs}.{their_name}"


def unused_keys(spec: ControlSpec) -> tuple[str, ...]:
    """Return the starts of keys that such a file may hold though nothing reads them.

    SDXL 48M files carry a `label_emb` of four tensors; type C files a last control decoder block and the connections
    around it.
    """
    unused: tuple[str, ...] = ()
    if spec.base_family == "sdxl":
        layers = ("0.weight", "0.bias", "2.weight", "2.bias")
        unused += tuple(f"control_model.label_emb.0.{layer}" for layer in layers)
    if spec.control_type == "C":
        n = spec.num_connections
        unused += (f"control_model.output_blocks.{n - 1}.", f"dec_zero_convs_out.{n - 1}.")
        unused += (f"dec_zero_convs_in.{n - 1}.", f"dec_zero_convs_in.{n - 2}.")
    return unused


def recognise(keys: Iterable[str]) -> bool:
    """Say whether these are the keys of such a file."""
    found = {key.partition(".")[0] for key in keys}
    return {"input_hint_block", "control_model"} <= found and bool({"enc_zero_convs_in", "middle_block_out"} & found)


def read(
    tensors: Mapping[str, torch.Tensor], *, file: str, condition: str, overrides: Mapping[str, Any]
) -> tuple[ControlNetXS, list[Note]]:
    """Return the control in a file of the authors', in float32 on the CPU, with what was assumed or left out.

    Args:
        tensors: by the authors' keys.
        file: its name, for messages.
        condition: "canny", "depth", ..., "unknown".
        overrides: fields of the spec that the caller knows better.

    Raises:
        CheckpointError: if its family cannot be told, or a key is missing, unexpected or misshapen.
    """
    structure = _structure(Shapes(tensors), file=file)
    structure["gains"] = _gains(tensors.get("scale_list"), structure, file=file)
    spec, notes = complete_spec(structure, file=file, condition=condition, overrides=overrides)
    unused = sorted(key for key in tensors if key.startswith(unused_keys(spec)))
    if unused:
        notes.append(("tensors_unused", {"file": file, "count": len(unused), "keys": ", ".join(unused[:4])}))
    kept = {key: tensor for key, tensor in tensors.items() if key not in unused and key != "scale_list"}
    return build(spec, kept, names=prefixes(spec), source=file), notes


def _structure(shapes: Shapes, *, file: str) -> dict[str, Any]:
    """Return the fields of `ControlSpec` that the shapes of a file show."""
    block, middle = r"control_model\.input_blocks\.", r"control_model\.middle_block\."
    counted = (block + r"(\d+)\.", r"enc_zero_convs_in\.(\d+)\.", r"dec_zero_convs_out\.(\d+)\.")
    n = statistics.mode(shapes.count(pattern) for pattern in counted)
    # All but the ResBlocks: the first convolution, and the downsampler that ends each level but the last.
    levels = max(1, n - shapes.count(block + r"(\d+)\.0\.in_layers\."))
    per_level = n // levels
    resnets = ["|".join(map(str, range(per_level * i + 1, per_level * (i + 1)))) for i in range(levels)]
    decoder = shapes.several(r"control_model\.output_blocks\.")
    structure: dict[str, Any] = {
        "control_type": "C" if decoder else "B" if shapes.several(r"enc_zero_convs_out\.") else "A",
        "layers_per_block": per_level - 1,
        "control_channels": tuple(shapes.size(rf"{block}({i})\.0\.out_layers\.") for i in resnets),
        "base_channels": tuple(shapes.size(rf"enc_zero_convs_in\.({i})\.0\.") for i in resnets),
        "transformer_depth": tuple(shapes.count(rf"{block}(?:{i})\.1\.transformer_blocks\.(\d+)\.") for i in resnets),
        "middle_depth": shapes.count(middle + r"1\.transformer_blocks\.(\d+)\."),
        "context_width": shapes.size(r".*\.attn2\.to_[kv]\.weight", axis=1),
        "linear_projection": shapes.axes(r".*\.proj_(in|out)\.weight") == 2,
        "learn_time_embedding": shapes.several(r"control_model\.time_embed\."),
    }
    widths = (*structure["control_channels"], *structure["base_channels"], structure["context_width"])
    if n != per_level * levels or per_level < 2 or None in widths:
        raise CheckpointError("control_incomplete", file=file)
    return structure


def _gains(scale_list: torch.Tensor | None, structure: Mapping[str, Any], *, file: str) -> tuple[float, ...]:
    """Return the connections' gains, () where all are 1."""
    n = len(structure["base_channels"]) * (structure["layers_per_block"] + 1)
    expected = (n + 1 if structure["control_type"] == "A" else 2 * n + 1,)
    missing, misshapen = "-", "-"
    if scale_list is None:
        missing = "scale_list"
    elif tuple(scale_list.shape) != expected:
        misshapen = f"scale_list {tuple(scale_list.shape)} instead of {expected}"
    else:
        gains = tuple(scale_list.tolist())
        return () if set(gains) == {1.0} else gains
    raise CheckpointError("checkpoint_keys", source=file, missing=missing, unexpected="-", misshapen=misshapen)
