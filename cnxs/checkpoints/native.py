"""Our own format: safetensors, with the control's spec as JSON in the metadata. Strict both ways."""

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

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
    metadata = _metadata(path)
    if metadata.get("format") != FORMAT:
        raise CheckpointError("control_not_native", file=path.name)
    if metadata.get("version") != VERSION:
        raise CheckpointError("control_version", file=path.name, given=metadata.get("version"), known=VERSION)
    return ControlSpec.from_json(metadata.get("spec", ""))


def load(path: Path) -> ControlNetXS:
    """Read a control, in float32 on the CPU.

    Raises:
        CheckpointError: if the file is damaged, or a key is missing, unexpected or misshapen.
    """
    with torch.device("meta"):
        control = ControlNetXS(read_spec(path))
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError) as error:
        raise CheckpointError("file_damaged", file=path.name, reason=str(error)) from error
    load_strict(control, tensors, source=path.name)
    return control.eval()


def _metadata(path: Path) -> dict[str, str]:
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise CheckpointError("file_damaged", file=path.name, reason=str(error)) from error
