"""A finished image with its complete request inside: PNG text out and in, and requests as JSON.

A file carries an iTXt chunk "cnxs" (JSON, read back exactly) and "parameters" (A1111's form, for other tools).
"""

import dataclasses
import functools
import io
import json
import math
import struct
import types
import typing
import zlib
from collections.abc import Collection, Mapping
from typing import Any, BinaryIO, Literal

from PIL import Image, PngImagePlugin

from cnxs import parameters
from cnxs.errors import InputError
from cnxs.protocol import Restored
from cnxs.registry import BASE_MODELS
from cnxs.request import MAX_PIXELS, GenerationRequest, defaults, validate

FORMAT = "cnxs-request"
VERSION = 1
MAX_JSON_CHARACTERS = 500_000


def to_json(request: GenerationRequest) -> str:
    """Return a request as JSON text in ASCII, with the format's name and version."""
    return json.dumps({"format": FORMAT, "version": VERSION, **dataclasses.asdict(request)})


def from_json(text: str) -> GenerationRequest:
    """Read a request that `to_json` wrote; fields that are missing get their defaults.

    Raises:
        InputError: if the text is damaged, longer than 500 000 characters or from a newer format, has a field that
            is unknown or of the wrong type, or holds a value that no request may have.
    """
    if len(text) > MAX_JSON_CHARACTERS:
        raise InputError("settings_damaged", reason=f"> {MAX_JSON_CHARACTERS} characters")
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError("settings_damaged", reason=str(error)) from error
    if not isinstance(values, dict) or values.pop("format", None) != FORMAT:
        raise InputError("settings_damaged", reason=f"format is not {FORMAT}")
    version = values.pop("version", None)
    if type(version) is not int or version < 1:
        raise InputError("settings_damaged", reason="version")
    if version > VERSION:
        raise InputError("settings_newer", given=version, maximum=VERSION)
    request = _converted(values, GenerationRequest, "request")
    validate(request, size_multiple=1)
    return request


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _converted(value: Any, kind: Any, where: str) -> Any:
    """Return a JSON value as the annotated type `kind`; never guesses."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind) and isinstance(value, dict):
        hints = _hints(kind)
        if unknown := value.keys() - hints.keys():
            raise InputError("settings_damaged", reason=f"{where}: {min(unknown)[:50]}")
        fields = {name: _converted(item, hints[name], f"{where}.{name}") for name, item in value.items()}
        try:
            return kind(**fields)
        except TypeError as error:  # a field without a default is missing
            raise InputError("settings_damaged", reason=str(error)) from error
    if origin is tuple and isinstance(value, list):
        kinds = (arguments[0],) * len(value) if arguments[-1] is Ellipsis else arguments
        if len(kinds) == len(value):
            return tuple(_converted(item, one, where) for item, one in zip(value, kinds, strict=True))
    allowed = arguments if origin is types.UnionType else (kind,)
    # JSON has one number type: a whole number stands for a float; a switch never stands for a number.
    fits = type(value) in allowed or (type(value) is int and float in allowed)
    if origin is Literal and isinstance(value, str):
        fits = value in arguments
    if not fits or (isinstance(value, float) and not math.isfinite(value)):
        raise InputError("settings_damaged", reason=where)
    return value


def encode(image: Image.Image, request: GenerationRequest, *, extra: Mapping[str, str]) -> bytes:
    """Return an image as PNG bytes with its request inside.

    Args:
        image: RGB.
        request: axis-free and complete.
        extra: further text chunks by keyword.
    """
    text = PngImagePlugin.PngInfo()
    text.add_itxt("cnxs", to_json(request))
    # Text from a client may hold half a surrogate pair, which UTF-8 cannot; the JSON above keeps it exactly.
    text.add_text("parameters", parameters.write(request).encode("utf-8", "replace").decode())
    for keyword, value in extra.items():
        text.add_itxt(keyword, value)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", pnginfo=text, compress_level=4)
    return buffer.getvalue()


def read_chunks(file: BinaryIO) -> dict[str, str]:
    """Return a PNG's text chunks by keyword, wherever in the file they stand.

    Raises:
        InputError: if it is no PNG, is damaged, or its text unpacks to more than Pillow's limits (1 MB each).
    """
    try:
        with Image.open(file, formats=("PNG",)) as image:
            known = {"cnxs", "parameters", "prompt"} & image.info.keys()
            if not known and image.width * image.height <= MAX_PIXELS:
                image.load()  # text after the pixels is only found by reading them
            return {str(key): str(value) for key, value in image.info.items() if isinstance(value, str)}
    except (
        OSError,
        SyntaxError,
        ValueError,
        EOFError,
        struct.error,
        zlib.error,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ) as error:
        raise InputError("not_a_png") from error


def read(
    data: bytes, *, start: GenerationRequest | None = None, bases: Collection[str] = tuple(BASE_MODELS)
) -> Restored:
    """Read the settings inside a PNG: our own exactly, A1111 / Forge text and ComfyUI graphs as far as they map.

    Args:
        data: the file.
        start: gives the values that a foreign file does not name; the program's defaults if None.
        bases: names of the base models there are, to which a foreign file's model is mapped by name.

    Raises:
        InputError: if it is no PNG, or its settings are damaged.
    """
    chunks = read_chunks(io.BytesIO(data))
    if "cnxs" in chunks:
        return Restored(request=from_json(chunks["cnxs"]))
    start = start or defaults()
    if "parameters" in chunks:
        request, unmapped = parameters.read_text(chunks["parameters"], start=start, bases=bases)
    elif "prompt" in chunks:
        request, unmapped = parameters.read_graph(chunks["prompt"], start=start, bases=bases)
    else:
        request, unmapped = None, ()
    return Restored(request=request, unmapped=unmapped)
