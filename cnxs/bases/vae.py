"""Autoencoders from a checkpoint's tensors, or from a file of one's own."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderKL
from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint

from cnxs.checkpoints.files import read_tensors
from cnxs.checkpoints.strict import load_strict
from cnxs.errors import CheckpointError
from cnxs.recognise import UNET, VAE, recognise_shapes

Tensors = Mapping[str, torch.Tensor]
_PARTS = re.compile(r"(encoder|decoder|quant_conv|post_quant_conv)\.")


def load_vae(path: Path, config: Path, *, dtype: torch.dtype) -> AutoencoderKL:
    """Load an autoencoder of its own: a folder of diffusers', or a file under diffusers' names or the original ones.

    Args:
        path: the file or folder; a folder has its own configuration.
        config: folder with the configuration of the base it is for: the scaling of latents is the base's.
        dtype: of its weights.

    Raises:
        CheckpointError: if the file is something else, damaged, or lacks weights.
    """
    if path.is_dir():
        names = [file.name for file in path.glob("*.safetensors")]
        if not names:
            raise CheckpointError("base_pickles_only", folder=path.name, part=path.name)
        variant = "fp16" if all(".fp16" in name for name in names) else None
        return AutoencoderKL.from_pretrained(
            path, variant=variant, use_safetensors=True, torch_dtype=dtype, local_files_only=True
        )
    tensors = read_tensors(path)
    found = recognise_shapes({key: tuple(tensor.shape) for key, tensor in tensors.items()})
    if found.kind not in ("vae", "base"):
        raise CheckpointError("vae_is_other", file=path.name)
    if any(key.startswith(("encoder.down_blocks.", "decoder.up_blocks.")) for key in tensors):
        return build(_empty(config), tensors, dtype=dtype, source=path.name)
    return autoencoder(tensors, config, dtype=dtype, source=path.name)


def autoencoder(tensors: Tensors, config: Path, *, dtype: torch.dtype, source: str) -> AutoencoderKL:
    """Build an autoencoder from tensors under the original names, with a checkpoint's prefix or without.

    Raises:
        CheckpointError: naming what is missing or does not fit.
    """
    own = {key.removeprefix(VAE): tensor for key, tensor in tensors.items() if not key.startswith(UNET)}
    own = {key: tensor for key, tensor in own.items() if _PARTS.match(key)}  # without leftovers of training
    empty = _empty(config)
    return build(empty, convert_ldm_vae_checkpoint(own, empty.config), dtype=dtype, source=source)


def build(module: Any, tensors: Tensors, *, dtype: torch.dtype, source: str) -> Any:
    """Put tensors into a module that lies on the meta device, and return it.

    Raises:
        CheckpointError: naming what is missing or does not fit.
    """
    # Copied, because the file stays mapped otherwise: replacing it while the app runs would crash it.
    copies = {key: tensor.to(dtype, copy=True).contiguous() for key, tensor in tensors.items()}
    load_strict(module, copies, source=source)
    return module


def read_config(folder: Path, name: str = "config.json") -> dict[str, Any]:
    """Return a part's configuration."""
    return json.loads((folder / name).read_text("utf-8"))


def _empty(config: Path) -> Any:
    with init_empty_weights():
        return AutoencoderKL.from_config(read_config(config))
