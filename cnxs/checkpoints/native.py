"""Our own format: safetensors, with the control's spec as JSON in the metadata. Strict both ways."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from cnxs.checkpoints.files import read_metadata, read_tensors
from cnxs.checkpoints.strict import load_strict
from cnxs.errors import CheckpointError
from cnxs.model import ControlNetXS
from cnxs.specs import ControlSpec

FORMAT = "cnxs-control"
VERSION = "1"


def save(control: ControlNetXS, path: Path, *, dtype: torch.dtype = torch.float16) -> None:
    """Write a control's weights and spec, replacing `path` only when the new file is complete."""
    tensors = {key: value.detach().to("cpu", dtype).contiguous() for key, value in control.state_dict().items()}
    metadata = {"format": FORMAT, "version": VERSION, "spec": control.spec.to_json()}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(path.suffix + ".partial")
    save_file(tensors, partial, metadata=metadata)
    partial.replace(path)


def read_spec(path: Path) -> ControlSpec:
    """Read a control's spec without its weights.

    Raises:
        CheckpointError: if the file is no safetensors file, not of this format, or of a newer version.
    """
    metadata = read_metadata(path)
    if metadata.get("format") != FORMAT:
        raise CheckpointError("control_not_native", file=path.name)
    if metadata.get("version") != VERSION:
        raise CheckpointError("control_version", file=path.name, given=metadata.get("version"), known=VERSION)
    return ControlSpec.from_json(metadata.get("spec", ""))


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
