"""Reading weight files: safetensors, and pickles that hold nothing but tensors."""

import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from cnxs.checkpoints.metadata import is_pickle
from cnxs.errors import CheckpointError


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of a file by key, as stored, on the CPU. The kind of file is told from its first bytes.

    The tensors may lie in the mapped file: copy what is kept.

    Raises:
        CheckpointError: if the file is damaged, holds anything but tensors, or is a pickle with code in it.
    """
    if is_pickle(path):
        return _tensors_of(_unpickle(path), path.name)
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError) as error:
        raise CheckpointError("file_damaged", file=path.name, reason=str(error)) from error


def _unpickle(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        raise CheckpointError("pickle_with_code", file=path.name) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise CheckpointError("file_damaged", file=path.name, reason=reason) from error


def _tensors_of(content: Any, name: str) -> dict[str, torch.Tensor]:
    """Return the tensors of a pickle's content: under "state_dict" where there is one."""
    weights = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(weights, dict) or not weights:
        raise CheckpointError("file_without_weights", file=name)
    for key, value in weights.items():
        if not isinstance(key, str) or not isinstance(value, torch.Tensor):
            raise CheckpointError("file_without_weights", file=name)
    return weights
