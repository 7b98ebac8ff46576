"""Loading a control from any file that holds one, told by its content alone."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cnxs import registry
from cnxs.checkpoints import authors, diffusers_adapter, native
from cnxs.checkpoints.families import Note
from cnxs.checkpoints.files import read_tensors
from cnxs.checkpoints.kinds import refusal
from cnxs.checkpoints.metadata import read_metadata
from cnxs.errors import CheckpointError
from cnxs.model import ControlNetXS

_OLD_CLASS = "ControlNetXSModel"  # diffusers before 0.28: other modules, no longer in diffusers


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A control from a file.

    Attributes:
        control: in float32, on the CPU.
        notes: what was assumed or left out, as keys `note.<key>` of the wording with their fields.
        format: "native", "authors" or "diffusers".
        dtype: of the stored weights; float32 where they are mixed.
    """

    control: ControlNetXS
    notes: tuple[Note, ...]
    format: str
    dtype: torch.dtype


def load_control(path: Path, *, overrides: Mapping[str, Any] | None = None) -> Loaded:
    """Load a control: our file, one of the authors' files, or an adapter of diffusers (folder or weight file).

    Args:
        path: a file, or a folder of diffusers'.
        overrides: fields of `ControlSpec` that the file does not show and the caller knows better: `base_family`,
            `num_heads` or `head_channels`, `condition`, `licence`, ...

    Raises:
        CheckpointError: if it is damaged, something else than a ControlNet-XS (named by what it is), of a family that
            cannot be told, or has a key that is missing, unexpected or misshapen.
    """
    weights, config = _locate(path)
    given = dict(overrides or {})
    metadata = read_metadata(weights)
    if metadata.get("format") == native.FORMAT:
        control = native.load(weights, overrides=given)
        return Loaded(control=control, notes=(), format="native", dtype=_dtype(read_tensors(weights)))
    tensors = read_tensors(weights)
    condition, licence = _known_of(path.parent.name if path == weights and config else path.name)
    if licence:
        given.setdefault("licence", licence)
    if authors.recognise(tensors):
        control, notes = authors.read(tensors, file=path.name, condition=condition, overrides=given)
        return Loaded(control=control, notes=tuple(notes), format="authors", dtype=_dtype(tensors))
    if diffusers_adapter.recognise(tensors):
        control, notes = diffusers_adapter.read(
            tensors, config=config, metadata=metadata, file=path.name, condition=condition, overrides=given
        )
        return Loaded(control=control, notes=tuple(notes), format="diffusers", dtype=_dtype(tensors))
    raise refusal(tensors, file=path.name)


def _locate(path: Path) -> tuple[Path, dict[str, Any]]:
    """Return the weight file, and diffusers' config: a folder's, or what lies beside a file with diffusers' name."""
    stem = diffusers_adapter.WEIGHTS.partition(".")[0]
    if not path.is_dir():
        return path, _config(path.parent) if path.name.startswith(stem) else {}
    config = _config(path)
    for ending in ("safetensors", "bin"):
        if found := sorted(path.glob(f"{stem}*.{ending}")):
            return found[0], config
    raise CheckpointError("folder_without_weights", folder=path.name, wanted=diffusers_adapter.WEIGHTS)


def _config(folder: Path) -> dict[str, Any]:
    file = folder / diffusers_adapter.CONFIG
    if not file.is_file():
        return {}
    try:
        config = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError("file_damaged", file=f"{folder.name}/{file.name}", reason=str(error)) from error
    if not isinstance(config, dict):
        raise CheckpointError("file_damaged", file=f"{folder.name}/{file.name}", reason=type(config).__name__)
    if config.get("_class_name") == _OLD_CLASS:
        raise CheckpointError("file_is_controlnet_xs_old", file=folder.name)
    return config


def _known_of(name: str) -> tuple[str, str]:
    """Return what a file's name says of its condition, and the licence where the authors published it."""
    for network in registry.CONTROL_NETWORKS.values():
        if network.filename == name:
            return network.condition, network.licence
    said = [condition for condition in ("canny", "depth") if condition in name.lower()]
    return said[0] if len(said) == 1 else "unknown", ""


def _dtype(tensors: Mapping[str, torch.Tensor]) -> torch.dtype:
    dtypes = {tensor.dtype for key, tensor in tensors.items() if key != "scale_list"}  # gains become numbers
    return dtypes.pop() if len(dtypes) == 1 else torch.float32
