"""An artist's own checkpoint: one file with U-Net, text encoders and autoencoder under the names of LDM and SGM.

The names are those of the CompVis and Stability repositories; diffusers' functions translate them. Sizes and vocabulary
come from `assets/configs`, so nothing is asked of the hub. Loading is strict: what a network lacks is named.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from diffusers import UNet2DConditionModel
from diffusers.loaders.single_file_utils import (
    convert_ldm_clip_checkpoint,
    convert_ldm_unet_checkpoint,
    convert_open_clip_checkpoint,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from cnxs.bases.loaded import CONFIGS, LoadedBase, file_sha256, finished
from cnxs.bases.probing import probed
from cnxs.bases.vae import Tensors, autoencoder, build, load_vae, read_config
from cnxs.checkpoints.files import read_tensors
from cnxs.codec import KLCodec
from cnxs.errors import CheckpointError
from cnxs.prompts import PromptEncoder
from cnxs.recognise import UNET, VAE, recognise_shapes
from cnxs.specs import BaseModelSpec


@dataclass(frozen=True)
class _TextPart:
    """One text encoder of a family: where it lies in the file, and how it is built."""

    prefix: str  # of its keys
    folder: str  # of its configuration
    pad_token: str
    model: type[Any] = CLIPTextModel
    open_clip: bool = False


_TEXT_PARTS: dict[str, tuple[_TextPart, ...]] = {
    "sd15": (_TextPart("cond_stage_model.transformer.", "text_encoder", "<|endoftext|>"),),
    "sd21": (_TextPart("cond_stage_model.model.", "text_encoder", "!", open_clip=True),),
    "sdxl": (
        _TextPart("conditioner.embedders.0.transformer.", "text_encoder", "<|endoftext|>"),
        _TextPart("conditioner.embedders.1.model.", "text_encoder_2", "!", CLIPTextModelWithProjection, open_clip=True),
    ),
}


def load_single_file(
    path: Path,
    spec: BaseModelSpec,
    *,
    device: torch.device,
    dtype: torch.dtype,
    vae: Path | None = None,
    embeddings: Sequence[Path] = (),
    configs: Path = CONFIGS,
) -> LoadedBase:
    """Load a base model from a `.safetensors` or `.ckpt` file with the original key names.

    Args:
        path: the file; a pickle is opened only if it holds nothing but weights.
        spec: how the base appears; its family is checked against the file's.
        device: where the networks go.
        dtype: of the networks.
        vae: a file with another autoencoder, used in place of the checkpoint's.
        embeddings: textual-inversion files.
        configs: folder with one configuration per family, in diffusers' layout.

    Raises:
        CheckpointError: if the file is something else, damaged, or lacks weights.
    """
    tensors = read_tensors(path)
    family = recognise_shapes({key: tuple(tensor.shape) for key, tensor in tensors.items()}).as_base(path.name)
    if family != spec.family:
        raise CheckpointError("base_of_other_family", file=path.name, given=family, expected=spec.family)
    folder = configs / family
    tokenizers, encoders = [], []
    for part in _TEXT_PARTS[family]:
        if not any(key.startswith(part.prefix) for key in tensors):
            raise CheckpointError("base_without_text_encoder", file=path.name)
        tokenizers.append(CLIPTokenizer.from_pretrained(configs / "tokenizer", pad_token=part.pad_token))
        encoders.append(_text_encoder(tensors, part, folder / part.folder, dtype=dtype, source=path.name))
    if vae is None and not any(key.startswith(VAE) for key in tensors):
        raise CheckpointError("base_without_vae", file=path.name)
    codec = KLCodec(
        autoencoder(tensors, folder / "vae", dtype=dtype, source=path.name)
        if vae is None
        else load_vae(vae, folder / "vae", dtype=dtype)
    )
    base = LoadedBase(
        spec=spec,
        unet=_unet(tensors, folder / "unet", dtype=dtype, source=path.name),
        prompts=PromptEncoder(tokenizers, encoders, chunk=spec.prompt_tokens),
        codec=codec,
        scheduler_config=read_config(folder / "scheduler", "scheduler_config.json") | _marks(tensors),
        sha256=file_sha256(path),
    )
    base = finished(base, device=device, embeddings=embeddings)
    # Only Stable Diffusion 2 was published both ways, under the same keys.
    return probed(base) if family == "sd21" else base


def _marks(tensors: Tensors) -> dict[str, Any]:
    """Return what some trainers say of the schedule by an empty tensor of that name."""
    marks = {"v_pred": {"prediction_type": "v_prediction"}, "ztsnr": {"rescale_betas_zero_snr": True}}
    return {key: value for mark, values in marks.items() if mark in tensors for key, value in values.items()}


def _unet(tensors: Tensors, folder: Path, *, dtype: torch.dtype, source: str) -> UNet2DConditionModel:
    config = read_config(folder)
    with init_empty_weights():
        unet: Any = UNet2DConditionModel.from_config(config)
    own = {key: tensor for key, tensor in tensors.items() if key.startswith(UNET)}
    return build(unet, convert_ldm_unet_checkpoint(own, config | unet.config), dtype=dtype, source=source)


def _text_encoder(tensors: Tensors, part: _TextPart, folder: Path, *, dtype: torch.dtype, source: str) -> Any:
    config = CLIPTextConfig.from_pretrained(folder)
    with init_empty_weights():
        encoder = part.model(config)
    own = {key: tensor for key, tensor in tensors.items() if key.startswith(part.prefix)}
    if part.open_clip:
        converted = convert_open_clip_checkpoint(encoder, own, prefix=part.prefix)
    else:
        converted = convert_ldm_clip_checkpoint(own)
    if not hasattr(encoder, "text_model"):
        converted = {key.removeprefix("text_model."): tensor for key, tensor in converted.items()}
    # Stable Diffusion 2 reads the layer before the last: its last one, and the projection, are no part of the model.
    wanted = encoder.state_dict().keys()
    spare = re.compile(r".*position_ids$|text_projection\.weight$|(text_model\.)?encoder\.layers\.\d+\.")
    kept = {key: tensor for key, tensor in converted.items() if key in wanted or not spare.match(key)}
    return build(encoder, kept, dtype=dtype, source=source)
