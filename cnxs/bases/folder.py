"""A base model from a folder in diffusers' layout; the miniature's has its own autoencoder in it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer, PreTrainedModel

from cnxs.bases.loaded import LoadedBase, file_sha256, finished
from cnxs.bases.vae import load_vae, read_config
from cnxs.codec import KLCodec, LatentCodec, PatchCodec
from cnxs.errors import CheckpointError
from cnxs.prompts import PromptEncoder
from cnxs.specs import BaseModelSpec

_FULL, _HALF = None, "fp16"  # variants: the names of weight files have the variant before their ending


def load_folder(
    folder: Path,
    spec: BaseModelSpec,
    *,
    device: torch.device,
    dtype: torch.dtype,
    vae: Path | None = None,
    embeddings: Sequence[Path] = (),
) -> LoadedBase:
    """Load a base from a folder. Half-precision variants are taken where there are no others, or half is asked for.

    Args:
        folder: with `unet`, `text_encoder`, `tokenizer`, `vae`, `scheduler`, and for SDXL the second text encoder.
        spec: how the base appears.
        device: where the networks go.
        dtype: of the networks.
        vae: a file with another autoencoder, used in place of the folder's.
        embeddings: textual-inversion files.

    Raises:
        CheckpointError: if a part is missing, damaged, or there as a pickle only.
    """
    try:
        unet = load_part(UNet2DConditionModel, folder / "unet", dtype)
        tokenizers, encoders = _text_parts(folder, dtype)
        codec = _codec(folder, dtype, vae)
        scheduler_config = read_config(folder / "scheduler", "scheduler_config.json")
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
    return finished(base, device=device, embeddings=embeddings)


def unet_sha256(folder: Path) -> str:
    """Return the SHA-256 of a base folder's U-Net weights, or "" where they lie in several files."""
    for variant in ("", f".{_HALF}"):
        file = folder / "unet" / f"diffusion_pytorch_model{variant}.safetensors"
        if file.exists():
            return file_sha256(file)
    return ""


def load_part(model: Any, folder: Path, dtype: torch.dtype) -> Any:
    """Load one network of a base's folder: safetensors only, the variant nearest to the dtype.

    Raises:
        CheckpointError: if it is there as a pickle only.
        OSError: if it is damaged or not there.
    """
    names = [file.name for file in folder.glob("*.safetensors*")]
    if not names and any(folder.glob("*.bin")):
        raise CheckpointError("base_pickles_only", folder=folder.parent.name, part=folder.name)
    # Shards are called ...fp16-00001-of-00002.safetensors, and their list ...safetensors.index.fp16.json.
    here = {_HALF if f".{_HALF}" in name else _FULL for name in names}
    order = (_HALF, _FULL) if dtype != torch.float32 else (_FULL, _HALF)
    variant = next((variant for variant in order if variant in here), None)
    keywords = {"dtype" if PreTrainedModel in model.__mro__ else "torch_dtype": dtype}
    loaded = model.from_pretrained(folder, variant=variant, use_safetensors=True, local_files_only=True, **keywords)
    # Out of the mapped file: replacing that while the app runs would crash it, and where a weight lies in it, off the
    # grid of the processor's vectors, changes the last bit of sums.
    for tensor in (*loaded.parameters(), *loaded.buffers()):
        tensor.data = tensor.data.clone()
    return loaded


def _text_parts(folder: Path, dtype: torch.dtype) -> tuple[list[Any], list[Any]]:
    tokenizers, encoders = [], []
    for suffix, model in (("", CLIPTextModel), ("_2", CLIPTextModelWithProjection)):
        if (folder / f"text_encoder{suffix}").is_dir():
            tokenizers.append(CLIPTokenizer.from_pretrained(folder / f"tokenizer{suffix}", local_files_only=True))
            encoders.append(load_part(model, folder / f"text_encoder{suffix}", dtype))
    if not encoders:
        raise CheckpointError("base_incomplete", folder=folder.name, reason="text_encoder/ is missing")
    return tokenizers, encoders


def _codec(folder: Path, dtype: torch.dtype, vae: Path | None) -> LatentCodec:
    if (folder / "autoencoder.safetensors").exists():
        assert vae is None, "the miniature's autoencoder has no substitute"
        codec = PatchCodec.load(folder)
        codec.autoencoder.to(dtype=dtype)
        return codec
    if vae is not None:
        return KLCodec(load_vae(vae, folder / "vae", dtype=dtype))
    return KLCodec(load_part(AutoencoderKL, folder / "vae", dtype))
