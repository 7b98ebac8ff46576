"""Our own format: safetensors, with the control's spec as JSON in the metadata. Strict both ways."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from cnxs.checkpoints.files import read_tensors
from cnxs.checkpoints.metadata import FORMAT, VERSION, read_spec
from cnxs.checkpoints.strict import load_strict
from cnxs.model import ControlNetXS

__all__ = ["FORMAT", "load", "read_spec", "save"]


def save(control: ControlNetXS, path: Path, *, dtype: torch.dtype = torch.float16) -> None:
    """Write a control's weights and spec, replacing `path` only when the new file is complete."""
    tensors = {key: value.detach().to("cpu", dtype).contiguous() for key, value in control.state_dict().items()}
    metadata = {"format": FORMAT, "version": VERSION, "spec": control.spec.to_json()}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(path.suffix + ".partial")
    save_file(tensors, partial, metadata=metadata)
    partial.chmod(0o644)  # safetensors writes for the owner alone
    partial.replace(path)


def load(path: Path, *, overrides: Mapping[str, Any] | None = None) -> ControlNetXS:
    """Read a control, in float32 on the CPU; `overrides` replace fields of its spec.

    Raises:
        CheckpointError: if the file is damaged, or a key is missing, unexpected or misshapen.
    """
    with torch.device("meta"):
        control = ControlNetXS(dataclasses.replace(read_spec(path), **(overrides or {})))
    tensors = {key: tensor.to(torch.float32, copy=True) for key, tensor in read_tensors(path).items()}
    load_strict(control, tensors, source=path.name)
    return control.eval()
