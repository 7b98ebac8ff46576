"""Tiny Stable Diffusions, as folders of diffusers and as single files under the original names of LDM and SGM.

The inverse table here is written from the original repositories' module lists, not from the program's or diffusers'.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from cnxs.bases.loaded import CONFIGS
from cnxs.registry import BASE_MODELS
from cnxs.specs import BaseModelSpec
from tests import tiny

FAMILIES = {"sd15": "sd15", "sd21": "sd21-base", "sdxl": "sdxl"}
_TEXT_WIDTH = 8
Tensors = dict[str, torch.Tensor]


def spec_of(family: str) -> BaseModelSpec:
    return BASE_MODELS[FAMILIES[family]]


@dataclass(frozen=True)
class Parts:
    """The networks of a tiny base."""

    family: str
    unet: UNet2DConditionModel
    vae: AutoencoderKL
    encoders: tuple[Any, ...]


def parts(family: str, *, seed: int = 0) -> Parts:
    """Build a tiny base of a family; its text widths add up to its U-Net's context width."""
    count = 2 if family == "sdxl" else 1
    width = _TEXT_WIDTH * count
    changes: dict[str, object] = {"cross_attention_dim": width, "sample_size": 16}
    if family == "sdxl":
        changes["projection_class_embeddings_input_dim"] = _TEXT_WIDTH + 6 * 4
    unet = tiny.unet(family, seed=seed, **changes)
    torch.manual_seed(seed + 1)
    vae = AutoencoderKL(
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
        scaling_factor=0.13025 if family == "sdxl" else 0.18215,
    ).eval()
    encoders = []
    for index in range(count):
        config = CLIPTextConfig(
            hidden_size=_TEXT_WIDTH,
            intermediate_size=16,
            num_hidden_layers=3,
            num_attention_heads=2,
            hidden_act="gelu" if family == "sd21" or index else "quick_gelu",
            projection_dim=_TEXT_WIDTH,
            bos_token_id=49406,
            eos_token_id=49407,
            vocab_size=49408,
        )
        encoders.append((CLIPTextModelWithProjection if index else CLIPTextModel)(config).eval())
    return Parts(family, unet, vae, tuple(encoders))


def save_folder(base: Parts, folder: Path, *, variant: str | None = None) -> Path:
    """Write a base in diffusers' layout, without weights' duplicates: safetensors only."""
    base.unet.save_pretrained(folder / "unet", variant=variant)
    base.vae.save_pretrained(folder / "vae", variant=variant)
    for index, encoder in enumerate(base.encoders):
        suffix = "_2" if index else ""
        encoder.save_pretrained(folder / f"text_encoder{suffix}", variant=variant)
        save_tokenizer(folder / f"tokenizer{suffix}", pad="!" if index or base.family == "sd21" else "<|endoftext|>")
    shutil.copytree(CONFIGS / base.family / "scheduler", folder / "scheduler")
    return folder


def save_tokenizer(folder: Path, *, pad: str) -> None:
    shutil.copytree(CONFIGS / "tokenizer", folder)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(config | {"pad_token": pad}))


def save_configs(base: Parts, configs: Path) -> Path:
    """Write the configurations of a tiny base as the program's bundled ones lie, for reading its single file."""
    folder = configs / base.family
    base.unet.save_config(folder / "unet")
    base.vae.save_config(folder / "vae")
    for index, encoder in enumerate(base.encoders):
        encoder.config.save_pretrained(folder / f"text_encoder{'_2' if index else ''}")
    shutil.copytree(CONFIGS / base.family / "scheduler", folder / "scheduler")
    shutil.copytree(CONFIGS / "tokenizer", configs / "tokenizer")
    return configs


def save_single(base: Parts, path: Path) -> Path:
    """Write a base as one file with the original names."""
    save_file({key: tensor.contiguous().clone() for key, tensor in original(base).items()}, path)
    return path


def original(base: Parts) -> Tensors:
    """Return all weights of a base under the original names, with what such files hold beside the networks."""
    weights = {f"model.diffusion_model.{key}": value for key, value in _unet(base.unet).items()}
    weights |= {f"first_stage_model.{key}": value for key, value in vae_names(base.vae).items()}
    for index, encoder in enumerate(base.encoders):
        first = "conditioner.embedders.0" if base.family == "sdxl" else "cond_stage_model"
        own = {f"text_model.{key.removeprefix('text_model.')}": value for key, value in encoder.state_dict().items()}
        if index:
            weights |= _open_clip(own, "conditioner.embedders.1.model.")
        elif base.family == "sd21":
            weights |= _open_clip(own, f"{first}.model.")
            weights |= {f"{first}.model.text_projection": torch.zeros(_TEXT_WIDTH, _TEXT_WIDTH)}
            weights |= _last_layer(weights, f"{first}.model.transformer.resblocks.", count=3)
        else:
            weights |= {f"{first}.transformer.{key}": value for key, value in own.items()}
            weights[f"{first}.transformer.text_model.embeddings.position_ids"] = torch.arange(77)[None]
    weights["alphas_cumprod"] = torch.linspace(1, 0, 1000)
    weights["model_ema.decay"] = torch.tensor(0.9999)
    return weights


def _last_layer(weights: Tensors, prefix: str, *, count: int) -> Tensors:
    """Return the layer that Stable Diffusion 2 has in its files and leaves out."""
    last = f"{prefix}{count - 1}."
    return {key.replace(last, f"{prefix}{count}."): value + 1 for key, value in weights.items() if last in key}


def _open_clip(own: Tensors, prefix: str) -> Tensors:
    renamed: Tensors = {}
    for key, value in own.items():
        name = key.removeprefix("text_model.")
        if name == "text_projection.weight":
            renamed[f"{prefix}text_projection"] = value.T
            continue
        for ours, theirs in (
            ("embeddings.token_embedding.weight", "token_embedding.weight"),
            ("embeddings.position_embedding.weight", "positional_embedding"),
            ("final_layer_norm", "ln_final"),
            ("encoder.layers", "transformer.resblocks"),
            ("layer_norm", "ln_"),
            ("mlp.fc1", "mlp.c_fc"),
            ("mlp.fc2", "mlp.c_proj"),
            ("self_attn", "attn"),
        ):
            name = name.replace(ours, theirs)
        if ".attn.q_proj." in name:
            parts = [own[key.replace("q_proj", part)] for part in ("q_proj", "k_proj", "v_proj")]
            name = name.replace("q_proj.", "in_proj_")
            value = torch.cat(parts)
        elif ".attn.k_proj." in name or ".attn.v_proj." in name:
            continue
        renamed[prefix + name] = value
    return renamed | {f"{prefix}logit_scale": torch.tensor(4.6)}


def _unet(unet: UNet2DConditionModel) -> Tensors:
    layers, levels = unet.config["layers_per_block"], len(unet.config["block_out_channels"])
    table = {
        "conv_in": "input_blocks.0.0",
        "time_embedding.linear_1": "time_embed.0",
        "time_embedding.linear_2": "time_embed.2",
        "add_embedding.linear_1": "label_emb.0.0",
        "add_embedding.linear_2": "label_emb.0.2",
        "conv_norm_out": "out.0",
        "conv_out": "out.2",
        "mid_block.resnets.0": "middle_block.0",
        "mid_block.attentions.0": "middle_block.1",
        "mid_block.resnets.1": "middle_block.2",
    }
    for level in range(levels):
        for layer in range(layers):
            block = 1 + level * (layers + 1) + layer
            table[f"down_blocks.{level}.resnets.{layer}"] = f"input_blocks.{block}.0"
            table[f"down_blocks.{level}.attentions.{layer}"] = f"input_blocks.{block}.1"
        table[f"down_blocks.{level}.downsamplers.0.conv"] = f"input_blocks.{(level + 1) * (layers + 1)}.0.op"
        for layer in range(layers + 1):
            block = level * (layers + 1) + layer
            table[f"up_blocks.{level}.resnets.{layer}"] = f"output_blocks.{block}.0"
            table[f"up_blocks.{level}.attentions.{layer}"] = f"output_blocks.{block}.1"
        after = 2 if "CrossAttn" in unet.config["up_block_types"][level] else 1
        last = level * (layers + 1) + layers
        table[f"up_blocks.{level}.upsamplers.0.conv"] = f"output_blocks.{last}.{after}.conv"
    resnet = {
        "norm1": "in_layers.0",
        "conv1": "in_layers.2",
        "time_emb_proj": "emb_layers.1",
        "norm2": "out_layers.0",
        "conv2": "out_layers.3",
        "conv_shortcut": "skip_connection",
    }
    return {_renamed(key, table, resnet): value for key, value in unet.state_dict().items()}


def vae_names(vae: AutoencoderKL) -> Tensors:
    """Return an autoencoder's weights under the original names, without prefix."""
    levels = len(vae.config["block_out_channels"])
    table: dict[str, str] = {}
    for side in ("encoder", "decoder"):
        table |= {f"{side}.conv_norm_out": f"{side}.norm_out", f"{side}.mid_block.attentions.0": f"{side}.mid.attn_1"}
        table |= {f"{side}.mid_block.resnets.{i}": f"{side}.mid.block_{i + 1}" for i in range(2)}
    for level in range(levels):
        table[f"encoder.down_blocks.{level}.downsamplers.0"] = f"encoder.down.{level}.downsample"
        table[f"decoder.up_blocks.{level}.upsamplers.0"] = f"decoder.up.{levels - 1 - level}.upsample"
        for layer in range(vae.config["layers_per_block"] + 1):
            table[f"encoder.down_blocks.{level}.resnets.{layer}"] = f"encoder.down.{level}.block.{layer}"
            table[f"decoder.up_blocks.{level}.resnets.{layer}"] = f"decoder.up.{levels - 1 - level}.block.{layer}"
    inner = {"conv_shortcut": "nin_shortcut", "group_norm": "norm"}
    inner |= {"to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
    renamed = {_renamed(key, table, inner): value for key, value in vae.state_dict().items()}
    # The original attention is made of convolutions of one pixel.
    return {
        key: value[:, :, None, None] if ".attn_1." in key and value.ndim == 2 else value
        for key, value in renamed.items()
    }


def _renamed(key: str, table: dict[str, str], inner: dict[str, str]) -> str:
    for ours, theirs in table.items():
        if key.startswith(f"{ours}."):
            rest = key.removeprefix(f"{ours}.")
            for name, other in inner.items():
                if rest.startswith(f"{name}."):
                    rest = other + rest.removeprefix(name)
            return f"{theirs}.{rest}"
    return key
