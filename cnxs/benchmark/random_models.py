"""Full-size Stable Diffusion with random weights: the true shapes, for timing and memory, without a download."""

import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from cnxs.bases.loaded import CONFIGS
from cnxs.bases.vae import read_config
from cnxs.checkpoints import native
from cnxs.checkpoints.families import FAMILIES
from cnxs.model import ControlNetXS, base_structure
from cnxs.specs import ControlSpec


@dataclass(frozen=True, kw_only=True)
class Published:
    """A published control network, as far as its shapes need to be known."""

    family: str
    control_channels: tuple[int, ...]
    learn_time_embedding: bool


PUBLISHED: Mapping[str, Published] = {
    "sd15-53m": Published(family="sd15", control_channels=(64, 128, 256, 256), learn_time_embedding=False),
    "sd21-14m": Published(family="sd21", control_channels=(4, 8, 16, 16), learn_time_embedding=True),
    "sdxl-20m": Published(family="sdxl", control_channels=(16, 32, 64), learn_time_embedding=False),
    "sdxl-48m": Published(family="sdxl", control_channels=(32, 64, 128), learn_time_embedding=True),
}
NATIVE_SIZES = {"sd15": 512, "sd21": 512, "sdxl": 1024}


def empty_unet(family: str) -> Any:
    """Return a family's U-Net, a `UNet2DConditionModel`, on the meta device."""
    with torch.device("meta"):
        return UNet2DConditionModel.from_config(read_config(CONFIGS / family / "unet"))


def empty_control(name: str) -> ControlNetXS:
    """Return one of the `PUBLISHED` controls on the meta device."""
    published = PUBLISHED[name]
    family = FAMILIES[published.family]
    heads = ("num_heads", "head_channels", "transformer_norm_eps")
    fields: dict[str, Any] = {
        **base_structure(empty_unet(published.family)),
        **{field: getattr(family, field) for field in heads},
        "control_channels": published.control_channels,
        "learn_time_embedding": published.learn_time_embedding,
        "base_family": published.family,
        "condition": "canny",
    }
    with torch.device("meta"):
        return ControlNetXS(ControlSpec(**fields))


def filled(module: Any, *, dtype: torch.dtype = torch.float32, device: torch.device | None = None) -> Any:
    """Give a module of the meta device random weights that keep activations near 1; return it, frozen.

    Its convolutions that begin at zero are filled as well: zeros would be multiplied just as fast, but an image under
    such a control would tell nothing.
    """
    torch.manual_seed(0)
    nn.Module.to(module, dtype)  # diffusers' own `to` warns of layers that it would keep in float32: there are none
    module.to_empty(device=device or torch.device("cpu")).eval().requires_grad_(False)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.5 / math.sqrt(parameter[0].numel()))
            else:
                parameter.fill_(1.0 if name.endswith("weight") else 0.0)
        for name, buffer in module.named_buffers():  # to_empty leaves them undefined
            assert name.endswith("position_ids"), name
            buffer.copy_(torch.arange(buffer.shape[-1]).expand_as(buffer))
    return module


def save_base(family: str, folder: Path) -> Path:
    """Write a base of a family into `folder` in diffusers' layout, half precision, one network at a time."""
    configs = CONFIGS / family
    filled(empty_unet(family), dtype=torch.float16).save_pretrained(folder / "unet", max_shard_size="20GB")
    with torch.device("meta"):
        vae: Any = AutoencoderKL.from_config(read_config(configs / "vae"))
    filled(vae, dtype=torch.float16).save_pretrained(folder / "vae")
    for suffix, kind in (("", CLIPTextModel), ("_2", CLIPTextModelWithProjection)):
        if (configs / f"text_encoder{suffix}").is_dir():
            with torch.device("meta"):
                encoder = kind(CLIPTextConfig.from_pretrained(configs / f"text_encoder{suffix}"))
            filled(encoder, dtype=torch.float16).save_pretrained(folder / f"text_encoder{suffix}")
            shutil.copytree(CONFIGS / "tokenizer", folder / f"tokenizer{suffix}")
    shutil.copytree(configs / "scheduler", folder / "scheduler")
    return folder


def save_control(name: str, file: Path) -> Path:
    """Write one of the `PUBLISHED` controls, half precision, with its spec."""
    native.save(filled(empty_control(name), dtype=torch.float16), file)
    return file
