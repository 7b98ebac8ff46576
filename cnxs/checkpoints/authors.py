"""The key names of the authors' files (`vislearn/ControlNet-XS`) and their order of modules.

SD files are pickles with these keys under "state_dict"; SDXL files are flat safetensors. One table maps both ways.
"""

from collections.abc import Iterator

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
    """Return prefixes of tensors that such a file may hold though nothing reads them.

    SDXL 48M files carry a `label_emb`; type C files a last control decoder block and the connections around it.
    """
    unused = ("control_model.label_emb.",)
    if spec.control_type == "C":
        n = spec.num_connections
        unused += (f"control_model.output_blocks.{n - 1}.", f"dec_zero_convs_out.{n - 1}.")
        unused += (f"dec_zero_convs_in.{n - 1}.", f"dec_zero_convs_in.{n - 2}.")
    return unused
