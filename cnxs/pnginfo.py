"""A finished image with its complete request inside: PNG text out and in.

A file carries an iTXt chunk "cnxs" (JSON, read back exactly) and "parameters" (A1111's form, for other tools).
"""

import io
import struct
import zlib
from collections.abc import Collection, Mapping
from typing import BinaryIO

from PIL import Image, PngImagePlugin

from cnxs import parameters
from cnxs.errors import InputError
from cnxs.protocol import Restored
from cnxs.registry import BASE_MODELS
from cnxs.request import MAX_PIXELS, GenerationRequest, defaults
from cnxs.settings import from_json, to_json


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
