"""Masks painted over a picture: what the canvas shows below them, and what comes of the strokes."""

import secrets
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageOps

from cnxs import images
from cnxs.protocol import Backend
from cnxs.request import Placement
from cnxs.ui import form
from cnxs.ui.binding import Values
from cnxs.ui.canvas import SketchCanvas

_DARK = 128  # grey below which paper counts as painted

Placed = tuple[int, int, Placement]  # width, height, and how a picture is brought to them


@dataclass(frozen=True, kw_only=True)
class Ground:
    """The picture that lies below a mask, as the page last sent it."""

    name: str  # comes back with what is painted on it
    picture: str  # what tells it from another one: its digest as it was given, where nothing else is said
    placed: Placed
    mask_id: str = ""  # the mask that came with it, used as it is until something is painted


def lay(
    backend: Backend,
    picture: str,
    *,
    placed: Placed,
    before: Ground | None = None,
    mask_id: str = "",
    known_as: str = "",
) -> tuple[Ground, dict[str, Any]]:
    """Return the ground of a picture, and the update of the canvas that shows it.

    Args:
        backend: where the picture is.
        picture: its digest.
        placed: the size at which it is painted over.
        before: the ground until now. If it is of the same picture, what was painted stays.
        mask_id: a mask of that size to begin with.
        known_as: what tells this picture from another one; "": its digest.
    """
    known_as = known_as or picture
    stays = before is not None and before.picture == known_as and not mask_id
    name = before.name if before is not None and stays else secrets.token_hex(8)
    marks = images.encode_png(ImageOps.invert(backend.get_image(mask_id))) if mask_id else b""
    shown = images.encode_png(place(backend, picture, placed))
    update = {
        **SketchCanvas.set_paper(placed[0], placed[1]),
        **SketchCanvas.set_ground(name, shown, marks=None if stays else marks),
    }
    return Ground(name=name, picture=known_as, placed=placed, mask_id=mask_id), update


def place(backend: Backend, picture: str, placed: Placed) -> Image.Image:
    """Return a picture at the output's size."""
    width, height, placement = placed
    return images.place(backend.get_image(picture), width=width, height=height, placement=placement)


def placed_of(values: Values) -> Placed:
    """Return the size that the page asks for.

    Raises:
        InputError: naming a number that was left empty.
    """
    read = form.read(values, {"width": int, "height": int, "placement": str})
    return read["width"], read["height"], read["placement"]


def rest(backend: Backend, mask_id: str) -> str:
    """Return the digest of the mask that is white where another one is not.

    Raises:
        InputError: if that one is not here.
    """
    return backend.put_image(images.encode_png(ImageOps.invert(backend.get_image(mask_id))))


def painted(backend: Backend, value: Any, ground: Ground) -> str:
    """Return the digest of the mask, white where something is painted; "" where nothing is.

    Raises:
        InputError: `sketch_damaged`, if the value is none of the canvas.
    """
    drawing = SketchCanvas.decode(value)
    if value is None or value.get("ground") != ground.name:
        return ground.mask_id  # the canvas has not shown this ground yet
    if drawing is None:
        return ""
    if ground.mask_id and value.get("strokes") == 0:
        return ground.mask_id  # to the pixel; on the canvas it was scaled
    grey = images.load(drawing).convert("L")
    mask = grey.point([255] * _DARK + [0] * (256 - _DARK)).convert("RGB")
    size = (ground.placed[0], ground.placed[1])
    if mask.size != size:
        mask = mask.resize(size, Image.Resampling.NEAREST)
    return backend.put_image(images.encode_png(mask)) if mask.getbbox() else ""
