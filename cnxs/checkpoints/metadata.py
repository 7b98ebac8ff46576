"""What a weight file says of itself, read without its weights and without torch: for lists of models."""

import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any, BinaryIO

from safetensors import SafetensorError, safe_open

from cnxs.errors import CheckpointError
from cnxs.specs import ControlSpec

FORMAT = "cnxs-control"
VERSION = "1"
_LARGEST_PICKLE = 2**26  # bytes of names and shapes in a pickle of torch; its tensors lie beside it
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # first of the pickles in a file of torch before 1.6
# What a damaged pickle raises while it is read.
_DAMAGE = (EOFError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError)

Shape = tuple[int, ...]


def read_metadata(path: Path) -> dict[str, str]:
    """Return the metadata of a safetensors file; {} for a pickle.

    Raises:
        CheckpointError: if the file is damaged or incomplete.
    """
    if is_pickle(path):
        return {}
    try:
        with safe_open(path, framework="np") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise CheckpointError("file_damaged", file=path.name, reason=str(error)) from error


def read_spec(path: Path) -> ControlSpec:
    """Read the spec of a control in our own format.

    Raises:
        CheckpointError: if the file is no safetensors file, not of this format, or of a newer version.
    """
    metadata = read_metadata(path)
    if metadata.get("format") != FORMAT:
        raise CheckpointError("control_not_native", file=path.name)
    if metadata.get("version") != VERSION:
        raise CheckpointError("control_version", file=path.name, given=metadata.get("version"), known=VERSION)
    return ControlSpec.from_json(metadata.get("spec", ""))


def read_shapes(path: Path) -> dict[str, Shape]:
    """Return the shape of every tensor of a file by key; () for what is no tensor. No code of a pickle is run.

    Raises:
        CheckpointError: if the file is damaged or incomplete, or is a pickle that holds more than weights.
    """
    try:
        if is_pickle(path):
            return _shapes_of(_unpickle(path))
        with safe_open(path, framework="np") as file:
            return {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118 - not a dict
    except pickle.UnpicklingError as error:
        raise CheckpointError("pickle_with_code", file=path.name) from error
    except CheckpointError:
        raise
    except (SafetensorError, OSError, zipfile.BadZipFile, *_DAMAGE) as error:
        raise CheckpointError("file_damaged", file=path.name, reason=str(error) or type(error).__name__) from error


def is_pickle(path: Path) -> bool:
    """Say whether a file is one of torch's pickles, zipped or not.

    Raises:
        CheckpointError: if the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except OSError as error:
        raise CheckpointError("file_damaged", file=path.name, reason=str(error)) from error
    # A safetensors file starts with the length of its header, which may look like either; its JSON follows.
    return start[8:] != b"{" and (start[:2] == b"PK" or start[:1] == b"\x80")


class _TensorShape(tuple[int, ...]):
    """The shape of a tensor, in place of the tensor."""

    __slots__ = ()


class _Nothing:
    """In place of everything of torch that says nothing of shapes: storages, dtypes, devices."""

    def __init__(self, *_: object) -> None: ...


class _ShapeReader(pickle.Unpickler):
    """Reads a pickle of tensors as a pickle of shapes; every other class in it is an error, so that nothing runs."""

    def find_class(self, module: str, name: str) -> Any:
        match module, name:
            case "collections", "OrderedDict":
                return OrderedDict
            case "torch._utils", "_rebuild_tensor_v2" | "_rebuild_tensor":
                return lambda _storage, _offset, size, *_: _TensorShape(size)
            case "torch._utils", "_rebuild_parameter":
                return lambda data, *_: data
            case "torch" | "torch.storage", _:
                return _Nothing
        raise pickle.UnpicklingError(f"{module}.{name}")

    def persistent_load(self, _: Any) -> None:
        return None


def _unpickle(path: Path) -> Any:
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            return _legacy(file)
    with zipfile.ZipFile(path) as archive:
        entry = min((info for info in archive.infolist() if info.filename.endswith("data.pkl")), key=str)
        if entry.file_size > _LARGEST_PICKLE:
            raise ValueError(entry.filename)
        with archive.open(entry) as file:
            return _ShapeReader(file).load()


def _legacy(file: BinaryIO) -> Any:
    """Read the older form: magic number, version and system as pickles of their own, then the content."""
    if file.read(2) == b"PK":
        raise zipfile.BadZipFile("zip")
    file.seek(0)
    content = _ShapeReader(file).load()
    if content == _LEGACY_MAGIC:
        _ShapeReader(file).load()
        _ShapeReader(file).load()
        content = _ShapeReader(file).load()
    return content


def _shapes_of(content: Any) -> dict[str, Shape]:
    weights = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(weights, dict):
        raise ValueError(type(content).__name__)
    return {str(key): tuple(value) if isinstance(value, _TensorShape) else () for key, value in weights.items()}
