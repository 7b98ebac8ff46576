"""Looking through a folder of models: what each file is, told from its keys and shapes, without its weights."""

import json
import re
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cnxs.checkpoints.metadata import FORMAT, Shape, read_metadata, read_shapes, read_spec
from cnxs.errors import CheckpointError
from cnxs.recognise import CONTEXT_WIDTHS, recognise_shapes
from cnxs.registry import DETECTORS_FOLDER
from cnxs.specs import ControlSpec

Kind = Literal["base", "control", "lora", "embedding", "vae"]

SUFFIXES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")
_DEEPEST = 4  # folders below the models folder that are looked into

_USED: dict[str, Kind] = {"control": "control", "lora": "lora", "embedding": "embedding", "vae": "vae"}
_ADAPTER_CLASSES = {"ControlNetXSAdapter": None, "ControlNetXSModel": "file_is_controlnet_xs_old"}


@dataclass(frozen=True, kw_only=True)
class Item:
    """A file or folder of the user's that can be used.

    Attributes:
        path: a file, or a folder in diffusers' layout.
        kind: what it is.
        family: of the base model: "sd15", "sd21", "sdxl", "miniature"; "": its shapes do not tell.
        spec: of a control in our own format.
        native_size: side of the square that a base was trained on, in pixels; 0: not known.
        prediction_type: of a base; "": not known.
    """

    path: Path
    kind: Kind
    family: str = ""
    spec: ControlSpec | None = None
    native_size: int = 0
    prediction_type: str = ""


def candidates(folder: Path, depth: int = _DEEPEST) -> Iterator[Path]:
    """Yield the weight files and model folders below a folder, in order of their names.

    Hidden ones are left out, and the detectors': those are no models of pictures.
    """
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name == DETECTORS_FOLDER:
            continue
        if path.is_dir():
            if _is_model(path):
                yield path
            elif depth:
                yield from candidates(path, depth - 1)
        elif path.suffix.lower() in SUFFIXES:
            yield path


def stamp(path: Path) -> tuple[int, int]:
    """Return (newest change in ns, bytes) of a file, or of all in a folder: another one means another content."""
    stats = [file.stat() for file in (path.rglob("*") if path.is_dir() else (path,)) if file.is_file()]
    return max((stat.st_mtime_ns for stat in stats), default=0), sum(stat.st_size for stat in stats)


def inspect(path: Path) -> Item:
    """Say what a file or folder is.

    Raises:
        CheckpointError: if it is damaged or incomplete, or cannot be used here; the sentence names what it is.
    """
    if path.is_dir():
        return _inspect_adapter(path) if (path / "config.json").is_file() else _inspect_base(path)
    if path.suffix.lower() == ".safetensors" and read_metadata(path).get("format") == FORMAT:
        spec = read_spec(path)
        return Item(path=path, kind="control", family=spec.base_family, spec=spec)
    shapes = read_shapes(path)
    found = recognise_shapes(shapes)
    if found.kind == "base":
        return Item(path=path, kind="base", family=found.as_base(path.name))
    if found.kind not in _USED:
        raise CheckpointError(f"file_is_{found.kind}" if found.kind != "unknown" else "file_unknown", file=path.name)
    return Item(path=path, kind=_USED[found.kind], family=found.family or control_family(shapes))


def control_family(shapes: Mapping[str, Shape]) -> str:
    """Return the family of base models with the text width of a control's attention; "" where there is none."""
    widths = [shape[-1] for key, shape in shapes.items() if re.search(r"attn2\.to_k\.weight$", key)]
    return CONTEXT_WIDTHS.get(statistics.mode(widths), "") if widths else ""


def _is_model(folder: Path) -> bool:
    if (folder / "model_index.json").is_file() or (folder / "unet").is_dir():
        return True
    return (folder / "config.json").is_file() and any(folder.glob("diffusion_pytorch_model*"))


def _inspect_adapter(folder: Path) -> Item:
    """Inspect a folder with one network of diffusers."""
    name = read_json(folder / "config.json").get("_class_name", "")
    if name not in _ADAPTER_CLASSES and name != "AutoencoderKL":
        raise CheckpointError("file_unknown", file=folder.name)
    if (refusal := _ADAPTER_CLASSES.get(name)) is not None:
        raise CheckpointError(refusal, file=folder.name)
    weights = sorted(folder.glob("diffusion_pytorch_model*.safetensors")) or sorted(folder.glob("*.bin"))
    if not weights:
        wanted = "diffusion_pytorch_model.safetensors"
        raise CheckpointError("folder_without_weights", folder=folder.name, wanted=wanted)
    kind: Kind = "vae" if name == "AutoencoderKL" else "control"
    return Item(path=folder, kind=kind, family=control_family(read_shapes(weights[0])))


def _inspect_base(folder: Path) -> Item:
    """Inspect a base model in diffusers' layout: every part must be there, its weight files whole."""
    vae = "autoencoder.safetensors" if (folder / "autoencoder.safetensors").exists() else "vae"
    parts = ["unet/config.json", "tokenizer", "text_encoder", vae, "scheduler/scheduler_config.json"]
    if (folder / "text_encoder_2").exists():
        parts.append("tokenizer_2")
    for part in parts:
        if not (folder / part).exists():
            raise CheckpointError("base_part_missing", folder=folder.name, part=part)
    for part in ("unet", "text_encoder", "text_encoder_2", "vae"):
        files = [file for ending in ("safetensors", "bin") for file in (folder / part).glob(f"*.{ending}")]
        if not files and (folder / part).exists():
            raise CheckpointError("base_part_missing", folder=folder.name, part=f"{part}/*.safetensors")
        for file in files:
            read_metadata(file)
    unet = read_json(folder / "unet" / "config.json")
    scheduler = read_json(folder / "scheduler" / "scheduler_config.json")
    sample_size = unet.get("sample_size")
    return Item(
        path=folder,
        kind="base",
        family=CONTEXT_WIDTHS.get(unet.get("cross_attention_dim") or 0, ""),
        native_size=8 * sample_size if isinstance(sample_size, int) else 0,
        prediction_type=str(scheduler.get("prediction_type", "")),
    )


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file.

    Raises:
        CheckpointError: if it is damaged.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError("file_damaged", file=f"{path.parent.name}/{path.name}", reason=str(error)) from error
    if not isinstance(content, dict):
        raise CheckpointError("file_damaged", file=f"{path.parent.name}/{path.name}", reason=type(content).__name__)
    return content
