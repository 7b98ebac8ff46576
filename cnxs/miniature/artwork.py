"""Openly licensed emoji artwork, rendered to sprites of 256 x 256 RGBA pixels."""

import functools
import io
import json
import logging
import multiprocessing
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from cnxs.errors import UnavailableError
from cnxs.miniature import SIZE

logger = logging.getLogger(__name__)

# Style -> npm package whose icons.json holds its drawings.
VECTOR_PACKAGES = {
    "flat": "@iconify-json/fluent-emoji-flat",
    "cartoon": "@iconify-json/noto",
    "sticker": "@iconify-json/twemoji",
}
RENDERED_PACKAGE = "@lobehub/fluent-emoji-3d"  # style "3d": ready-made WebP files named by code point
LABEL_PACKAGE = "emojibase-data"  # names, tags and groups
PACKAGES = (*VECTOR_PACKAGES.values(), RENDERED_PACKAGE, LABEL_PACKAGE)
STYLES = ("3d", *VECTOR_PACKAGES)

# Emojibase's groups: smileys, animals and nature, food, travel, activities, objects. Without people, symbols and flags.
_GROUPS = frozenset({0, 3, 4, 5, 6, 7})


@dataclass(frozen=True, kw_only=True)
class Sprite:
    """What one picture shows."""

    name: str  # the concept, such as "red apple"
    style: str  # one of STYLES
    tags: tuple[str, ...]  # emojibase's search words
    group: int  # emojibase's group


@dataclass(frozen=True)
class Artwork:
    """All sprites: `pixels` (N, 256, 256, 4) uint8 with straight alpha, and what each shows."""

    pixels: np.ndarray
    sprites: tuple[Sprite, ...]

    @classmethod
    def load(cls, folder: Path) -> "Artwork":
        """Open what `render` wrote; the pixels stay on disk until they are needed.

        Raises:
            UnavailableError: if the folder holds no rendered artwork.
        """
        if not (folder / "sprites.json").is_file():
            raise UnavailableError("artwork_missing", folder=folder)
        records = json.loads((folder / "sprites.json").read_text("utf-8"))
        sprites = tuple(Sprite(**{**record, "tags": tuple(record["tags"])}) for record in records)
        return cls(np.load(folder / "sprites.npy", mmap_mode="r"), sprites)

    @functools.cached_property
    def index(self) -> dict[tuple[str, str], int]:
        """Return (name, style) -> position."""
        return {(sprite.name, sprite.style): i for i, sprite in enumerate(self.sprites)}


def render(packages: Path, folder: Path, *, processes: int = 2) -> int:
    """Draw every icon of the installed packages into `folder`; takes one to two minutes.

    Args:
        packages: a `node_modules` folder with PACKAGES in it.
        folder: receives `sprites.npy` and `sprites.json`.
        processes: how many to draw at a time.

    Returns:
        The number of sprites.

    Raises:
        UnavailableError: if a package is missing.
    """
    for package in PACKAGES:
        if not (packages / package).is_dir():
            raise UnavailableError("artwork_package_missing", package=package, folder=packages)
    jobs = list(_jobs(packages))
    folder.mkdir(parents=True, exist_ok=True)
    shape = (len(jobs), SIZE, SIZE, 4)
    pixels = np.lib.format.open_memmap(folder / "sprites.npy", mode="w+", dtype=np.uint8, shape=shape)
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        for i, image in enumerate(pool.imap(_draw, [source for _, source in jobs], chunksize=16)):
            pixels[i] = image
            if i % 500 == 0:
                logger.info("%d of %d sprites", i, len(jobs))
    pixels.flush()
    records = [asdict(sprite) for sprite, _ in jobs]
    (folder / "sprites.json").write_text(json.dumps(records), "utf-8")
    return len(jobs)


def _jobs(packages: Path) -> Iterator[tuple[Sprite, str | Path]]:
    """Yield each sprite with its source: SVG text or the path of a picture."""
    labels = {}
    for entry in json.loads((packages / LABEL_PACKAGE / "en" / "data.json").read_text("utf-8")):
        plain = unicodedata.normalize("NFKD", re.sub("['\u2019]", "", entry["label"].lower()))
        plain = "".join(c for c in plain if not unicodedata.combining(c))
        labels[re.sub(r"[^a-z0-9]+", "-", plain).strip("-")] = entry
    collections = {
        style: json.loads((packages / package / "icons.json").read_text("utf-8"))
        for style, package in VECTOR_PACKAGES.items()
    }
    pictures = {path.stem: path for path in (packages / RENDERED_PACKAGE / "assets").iterdir()}
    for key, entry in sorted(labels.items()):
        if entry.get("group") not in _GROUPS:
            continue
        about = {"name": key.replace("-", " "), "tags": tuple(entry.get("tags", ())), "group": entry["group"]}
        for style, collection in collections.items():
            if icon := collection["icons"].get(key):
                width, height = icon.get("width", collection["width"]), icon.get("height", collection["height"])
                yield Sprite(style=style, **about), _svg(icon["body"], width, height)
        code = entry["hexcode"].lower()
        for stem in (code, f"{code}-fe0f", code.replace("-fe0f", "")):
            if stem in pictures:
                yield Sprite(style="3d", **about), pictures[stem]
                break


def _svg(body: str, width: int, height: int) -> str:
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="0 0 {width} {height}" width="{SIZE}" height="{SIZE}">{body}</svg>'
    )


def _draw(source: str | Path) -> np.ndarray:
    if isinstance(source, Path):
        image = Image.open(source)
    else:
        import resvg_py  # only needed here: an optional package

        image = Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_string=source, width=SIZE, height=SIZE))))
    return np.asarray(image.convert("RGBA").resize((SIZE, SIZE), Image.Resampling.LANCZOS))
