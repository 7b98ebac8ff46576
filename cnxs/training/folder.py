"""A folder of pictures with captions, and maybe a folder of maps: found, checked, and brought to size."""

import json
import logging
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from cnxs import controls, images
from cnxs.errors import InputError, UserError
from cnxs.miniature.pool import random_canny
from cnxs.registry import CONTROL_KINDS, DETECTORS_FOLDER

log = logging.getLogger(__name__)

ENDINGS = {".png", ".jpg", ".jpeg", ".webp", ".avif", ".bmp", ".tif", ".tiff"}
DRAWN = "canny by chance thresholds"  # how maps are drawn; samples that are kept on disk were drawn so
_SIDE_MULTIPLE = 64  # pixels: few sizes, so full batches, and halved evenly down to the deepest level


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture of a training folder."""

    path: Path
    caption: str
    map: Path | None  # its control map; None: drawn from the picture


def find_pictures(folder: Path, *, maps: Path | None = None, caption: str = "") -> list[Picture]:
    """Find the pictures of a folder and of those in it, by name.

    A caption stands in a text file beside the picture (`cat.png`, `cat.txt`), or in a `metadata.jsonl` of the folder
    with a line `{"file_name": ..., "text": ...}` for each picture; `caption` serves those that have neither. A map
    has its picture's name, any ending, in `maps`.

    Raises:
        InputError: `training_folder_empty`, `training_metadata_damaged`, `training_caption_missing` or
            `training_map_missing`, naming the first that is missing and their number.
    """
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS)
    if not paths:
        raise InputError("training_folder_empty", folder=folder, allowed=", ".join(sorted(ENDINGS)))
    metadata = _metadata(folder)
    captions: dict[Path, str] = {}
    for path in paths:
        name = path.relative_to(folder).as_posix()
        if name in metadata:
            captions[path] = metadata[name]
        elif path.with_suffix(".txt").is_file():
            captions[path] = path.with_suffix(".txt").read_text("utf-8").strip()
        elif caption:
            captions[path] = caption
    drawn = {} if maps is None else _maps(maps)
    keys = {path: path.relative_to(folder).with_suffix("").as_posix() for path in paths}
    _all_there("training_caption_missing", [path for path in paths if path not in captions])
    if maps is not None:
        _all_there("training_map_missing", [path for path in paths if keys[path] not in drawn])
    return [Picture(path=path, caption=captions[path], map=drawn.get(keys[path])) for path in paths]


def _maps(folder: Path) -> dict[str, Path]:
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS)
    return {path.relative_to(folder).with_suffix("").as_posix(): path for path in paths}


def _all_there(key: str, missing: list[Path]) -> None:
    if missing:
        raise InputError(key, file=missing[0].name, count=len(missing))


def _metadata(folder: Path) -> dict[str, str]:
    file = folder / "metadata.jsonl"
    if not file.is_file():
        return {}
    captions = {}
    for number, line in enumerate(file.read_text("utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            captions[str(entry["file_name"])] = str(entry["text"])
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise InputError("training_metadata_damaged", line=number) from error
    return captions


def kind_for(condition: str) -> str:
    """Return the kind of map that is drawn for a condition: the one of that name, or the first made for it.

    Raises:
        InputError: `training_condition` if no kind draws it, so that it needs a folder of maps.
    """
    if condition in CONTROL_KINDS:
        return condition
    for kind in CONTROL_KINDS.values():
        if kind.conditions[0] == condition:
            return kind.name
    raise InputError("training_condition", given=condition, allowed=", ".join(CONTROL_KINDS))


def read(picture: Picture, *, condition: str, native_size: int) -> tuple[Image.Image, Image.Image]:
    """Return a picture and its control map, RGB, both of the size that its shape asks for.

    A Canny map is drawn with thresholds that the picture's name decides, others with the defaults of their kind.

    Raises:
        InputError: those of `cnxs.images.load`.
    """
    image = images.load(picture.path.read_bytes())
    width, height = images.default_size(image.size, native_size=native_size, multiple=_SIDE_MULTIPLE)
    placed = images.place(image, width=width, height=height, placement="crop")
    if picture.map is None:
        return placed, _draw(placed, kind=kind_for(condition), name=picture.path.name)
    control_map = images.load(picture.map.read_bytes())
    return placed, images.place(control_map, width=width, height=height, placement="crop")


def _draw(image: Image.Image, *, kind: str, name: str) -> Image.Image:
    if kind == "canny":
        # By chance thresholds, as users move them; the same for the same name, so that a cache can be made again.
        edges = random_canny(np.asarray(image), rng=np.random.default_rng(zlib.crc32(name.encode())))
        return Image.fromarray(edges * 255).convert("RGB")
    return controls.draw(image, kind=kind, params={}, weights=Path("models", DETECTORS_FOLDER)).map


def readable(
    pictures: list[Picture], *, condition: str, native_size: int
) -> Iterator[tuple[int, Image.Image, Image.Image]]:
    """Yield the number of each picture, itself and its map; a damaged one is named in the log and left out."""
    for number, picture in enumerate(pictures):
        try:
            image, control_map = read(picture, condition=condition, native_size=native_size)
        except UserError as error:
            log.warning("%s: %s", picture.path.name, error)
            continue
        yield number, image, control_map
