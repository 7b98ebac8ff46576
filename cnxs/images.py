"""Pictures in and out: decoding uploads, bringing them to a size, encoding results. All are 8-bit RGB."""

import io
import logging
import struct
import warnings
import zlib
from collections.abc import Sequence
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageFilter, ImageOps, UnidentifiedImageError

from cnxs.errors import InputError
from cnxs.request import Placement

MAX_BYTES = 30 * 10**6
MAX_PIXELS = 100 * 10**6
MAX_ASPECT = 3.0  # of default sizes: the models know no longer strips

# Only formats that Pillow decodes in this process: EPS, for one, would start Ghostscript.
FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "PPM", "JPEG2000")

# What Pillow's decoders raise on damaged files, beside OSError.
_DAMAGED = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    zlib.error,
    LookupError,
    TypeError,
    ArithmeticError,
    RuntimeError,
)

Pixels = NDArray[Any]  # (H, W, 3) uint8 RGB; OpenCV's stubs promise no dtype
Plane = NDArray[Any]  # (H, W), one value per pixel

WHITE = (255, 255, 255)
BLACK = (0, 0, 0)

logger = logging.getLogger(__name__)


def load(data: bytes) -> Image.Image:
    """Decode an uploaded picture to RGB, upright, transparency laid on white.

    Args:
        data: a file's bytes in one of `FORMATS`; of an animation the first frame is taken.

    Raises:
        InputError: `image_too_many_bytes`, `image_too_many_pixels` (decided from the header, before decoding),
            `image_unreadable` (no picture, or none of these formats) or `image_damaged`.
    """
    if len(data) > MAX_BYTES:
        raise InputError("image_too_many_bytes", given=round(len(data) / 1e6, 1), maximum=MAX_BYTES // 10**6)
    try:
        with warnings.catch_warnings():
            # Pillow warns below the limit that is checked here.
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise InputError("image_too_many_pixels", maximum=MAX_PIXELS // 10**6)
                image.load()
                return _to_rgb(ImageOps.exif_transpose(image))
    except Image.DecompressionBombError as error:
        raise InputError("image_too_many_pixels", maximum=MAX_PIXELS // 10**6) from error
    except UnidentifiedImageError as error:
        raise InputError("image_unreadable", allowed=", ".join(FORMATS)) from error
    except InputError:
        raise
    except _DAMAGED as error:
        logger.info("damaged picture refused: %s", error)
        raise InputError("image_damaged") from error


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _deep_to_rgb(image)
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, (*WHITE, 255)), rgba).convert("RGB")
    return image.convert("RGB")


def _deep_to_rgb(image: Image.Image) -> Image.Image:
    """Scale grey of more than 8 bits to 0..255: Pillow's own conversion clips it.

    The value that becomes white is 65535 for integers and 1 for floats, or the largest value where that is higher.
    """
    values = np.nan_to_num(np.asarray(image).astype(np.float64), posinf=0.0, neginf=0.0)
    white = max(1.0 if image.mode == "F" else 65535.0, float(values.max()))
    grey = np.rint(values.clip(min=0) * (255 / white)).astype(np.uint8)
    return Image.fromarray(grey).convert("RGB")


def place(
    image: Image.Image, *, width: int, height: int, placement: Placement, fill: tuple[int, int, int] = WHITE
) -> Image.Image:
    """Bring an RGB picture to `width` x `height` pixels.

    Args:
        placement: "crop" keeps the centre, "fit" keeps everything and letterboxes with `fill`, "stretch" distorts.
        fill: colour of the letterbox; black for control maps.

    Raises:
        InputError: `unknown_placement`.
    """
    assert image.mode == "RGB"
    assert min(width, height) >= 1
    if placement not in get_args(Placement):
        raise InputError("unknown_placement", given=placement, allowed=", ".join(get_args(Placement)))
    box = (0.0, 0.0, float(image.width), float(image.height))
    if placement == "stretch":
        return _resize(image, (width, height), box)
    if placement == "crop":
        scale = max(width / image.width, height / image.height)
        left, top = (image.width - width / scale) / 2, (image.height - height / scale) / 2
        # Rounding may put the box a hair outside the picture.
        box = (max(left, 0.0), max(top, 0.0), min(image.width - left, box[2]), min(image.height - top, box[3]))
        return _resize(image, (width, height), box)
    scale = min(width / image.width, height / image.height)
    inner = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    placed = Image.new("RGB", (width, height), fill)
    placed.paste(_resize(image, inner, box), ((width - inner[0]) // 2, (height - inner[1]) // 2))
    return placed


def _resize(image: Image.Image, size: tuple[int, int], box: tuple[float, float, float, float]) -> Image.Image:
    if image.size == size and box == (0, 0, *size):
        return image.copy()
    shrinks = box[2] - box[0] >= size[0] and box[3] - box[1] >= size[1]
    # A photo is first averaged over whole pixel blocks (`reducing_gap`): an area filter, several times as fast.
    return image.resize(
        size, Image.Resampling.HAMMING if shrinks else Image.Resampling.LANCZOS, box=box, reducing_gap=1.0
    )


def default_size(image_size: tuple[int, int], *, native_size: int, multiple: int) -> tuple[int, int]:
    """Return (width, height) with about `native_size`**2 pixels at the picture's aspect ratio.

    Both are multiples of `multiple`; aspect ratios beyond 1:3 and 3:1 become 1:3 and 3:1.
    """
    aspect = min(max(image_size[0] / image_size[1], 1 / MAX_ASPECT), MAX_ASPECT)
    width, height = native_size * aspect**0.5, native_size / aspect**0.5
    return max(1, round(width / multiple)) * multiple, max(1, round(height / multiple)) * multiple


def row(pictures: Sequence[Image.Image], *, gap: int = 8) -> Image.Image:
    """Return pictures of one height side by side on white, `gap` pixels apart."""
    sheet = Image.new("RGB", (sum(p.width + gap for p in pictures) - gap, pictures[0].height), WHITE)
    left = 0
    for picture in pictures:
        sheet.paste(picture, (left, 0))
        left += picture.width + gap
    return sheet


def encode_png(image: Image.Image) -> bytes:
    """Return the picture as PNG bytes."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def paste(image: Image.Image, original: Image.Image, mask: Image.Image) -> Image.Image:
    """Return `image` where the mask is white and `original`, pixel for pixel, where it is black.

    The seam is softened inwards over about 1.5 % of the shorter side, so that the original's pixels stay untouched.
    """
    radius = max(1, round(min(image.size) * 0.015))
    white = mask.convert("L").point([0] * 128 + [255] * 128)
    inside = white.filter(ImageFilter.MinFilter(2 * radius + 1))
    softened = inside.filter(ImageFilter.BoxBlur(radius))
    return Image.composite(image, original, ImageChops.multiply(softened, white))
