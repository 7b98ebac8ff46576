"""Base models, loaded: from a folder in diffusers' layout, or from a single file with the original names."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import CLIPTokenizer

from cnxs.bases.folder import load_folder, unet_sha256
from cnxs.bases.loaded import CONFIGS, UNDECIDED, LoadedBase
from cnxs.bases.single_file import load_single_file
from cnxs.specs import BaseModelSpec

__all__ = ["UNDECIDED", "LoadedBase", "load_base", "load_folder", "load_single_file", "load_tokenizer", "unet_sha256"]


def load_base(
    path: Path,
    spec: BaseModelSpec,
    *,
    device: torch.device,
    dtype: torch.dtype,
    vae: Path | None = None,
    embeddings: Sequence[Path] = (),
) -> LoadedBase:
    """Load a base from a folder or a single file; see `load_folder` and `load_single_file`.

    Raises:
        CheckpointError: if it is something else, damaged or incomplete.
    """
    load = load_folder if path.is_dir() else load_single_file
    return load(path, spec, device=device, dtype=dtype, vae=vae, embeddings=embeddings)


def load_tokenizer(path: Path) -> Any:
    """Load the first tokenizer of a base, a folder or a single file, for counting tokens without the model."""
    return CLIPTokenizer.from_pretrained(path / "tokenizer" if path.is_dir() else CONFIGS / "tokenizer")
