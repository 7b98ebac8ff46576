"""Base models, loaded: U-Net, text encoders, codec and schedule of one Stable Diffusion, or of the miniature."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from cnxs.codec import KLCodec, LatentCodec, PatchCodec
from cnxs.errors import CheckpointError
from cnxs.prompts import PromptEncoder
from cnxs.specs import BaseModelSpec


@dataclass(frozen=True)
class LoadedBase:
    """A base model in memory. Its parts are never changed by a request."""

    spec: BaseModelSpec
    unet: UNet2DConditionModel
    prompts: PromptEncoder
    codec: LatentCodec
    scheduler_config: dict[str, Any]
    sha256: str  # of the U-Net's weight file: names the base inside a control's spec

    @property
    def modules(self) -> tuple[torch.nn.Module, ...]:
        """Every network of the base, for moving them between devices."""
        codec: Any = self.codec
        return (self.unet, codec.autoencoder, *self.prompts.text_encoders)


def load_folder(folder: Path, spec: BaseModelSpec, *, device: torch.device, dtype: torch.dtype) -> LoadedBase:
    """Load a base from a folder in diffusers' layout; the miniature's has its own autoencoder in it.

    Raises:
        CheckpointError: if a part is missing or damaged.
    """
    try:
        unet = UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=dtype, local_files_only=True)
        tokenizers, encoders = _text_parts(folder, dtype)
        codec = _codec(folder, dtype)
        scheduler_config = json.loads((folder / "scheduler" / "scheduler_config.json").read_text())
    except (OSError, ValueError, KeyError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError("base_incomplete", folder=folder.name, reason=str(error).split("\n")[0]) from error
    base = LoadedBase(
        spec=spec,
        unet=unet,
        prompts=PromptEncoder(tokenizers, encoders, chunk=spec.prompt_tokens),
        codec=codec,
        scheduler_config=scheduler_config,
        sha256=unet_sha256(folder),
    )
    for module in base.modules:
        module.to(device).eval().requires_grad_(False)
    return base


def load_tokenizer(folder: Path) -> Any:
    """Load the first tokenizer of a base folder, for counting tokens without the model."""
    return CLIPTokenizer.from_pretrained(folder / "tokenizer")


def unet_sha256(folder: Path) -> str:
    """Return the SHA-256 of a base folder's U-Net weights, or "" where they lie in several files."""
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    if not file.exists():
        return ""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _text_parts(folder: Path, dtype: torch.dtype) -> tuple[list[Any], list[Any]]:
    tokenizers, encoders = [], []
    for suffix, kind in (("", CLIPTextModel), ("_2", CLIPTextModelWithProjection)):
        if (folder / f"text_encoder{suffix}").is_dir():
            tokenizers.append(CLIPTokenizer.from_pretrained(folder / f"tokenizer{suffix}"))
            encoders.append(kind.from_pretrained(folder / f"text_encoder{suffix}", dtype=dtype))
    if not encoders:
        raise CheckpointError("base_incomplete", folder=folder.name, reason="text_encoder/ is missing")
    return tokenizers, encoders


def _codec(folder: Path, dtype: torch.dtype) -> LatentCodec:
    if (folder / "autoencoder.safetensors").exists():
        codec = PatchCodec.load(folder)
        codec.autoencoder.to(dtype=dtype)
        return codec
    autoencoder = AutoencoderKL.from_pretrained(folder / "vae", torch_dtype=dtype, local_files_only=True)
    return KLCodec(autoencoder)
