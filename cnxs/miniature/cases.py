"""The evaluation's cases: pictures and drawings of held-out concepts, listed before any control was trained.

In `assets/miniature/`: `cases.json` has every case's caption, seed and recipe; `cases/` has the pictures themselves, so
that evaluation needs no artwork, and `drawings.json` the drawings as strokes.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from cnxs.miniature import ASSETS, SIZE
from cnxs.miniature.artwork import STYLES, Artwork
from cnxs.miniature.captions import plain_caption
from cnxs.miniature.drawing import Hand, TracedArtwork, draw_stroke, line_map
from cnxs.miniature.maps import depth_image, depth_planes
from cnxs.miniature.scenes import Item, Recipe, draw, random_recipe

COUNT = 128
PAIRS = 24  # cases with two objects
WHITE = 72  # cases on white; the others have coloured backgrounds
_SEED = 7_2026
_COLUMNS = 4
_PER_SHEET = _COLUMNS**2
# A neutral hand, so that the drawings of the cases differ only in what they show.
_HAND = Hand(thickness=3, smoothing=2.0, wobble=1.0, shift=0.5, inner_share=0.7)


@dataclass(frozen=True, kw_only=True)
class Case:
    """One picture to be followed: its edges and its lines are the control maps."""

    caption: str
    seed: int  # of the noise
    recipe: Recipe

    @classmethod
    def from_record(cls, record: dict) -> "Case":
        """Rebuild a case from its JSON."""
        recipe = record["recipe"]
        items = tuple(Item(**item) for item in recipe["items"])
        red, green, blue = recipe["colour"]
        recipe = Recipe(background=recipe["background"], colour=(red, green, blue), items=items)
        return cls(caption=record["caption"], seed=record["seed"], recipe=recipe)


@dataclass(frozen=True, kw_only=True)
class Stroke:
    """One line of a drawing: its width and the points (x, y) of the pen, in pixels at 256 x 256."""

    width: float
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A sketch of a held-out subject, as vectors."""

    name: str
    caption: str
    seed: int
    strokes: tuple[Stroke, ...]

    def render(self) -> np.ndarray:
        """Return (256, 256) uint8 of 0 and 1, lines 1."""
        canvas = np.zeros((SIZE, SIZE), np.uint8)
        for stroke in self.strokes:
            draw_stroke(canvas, np.array(stroke.points), thickness=round(stroke.width), closed=False)
        return canvas


def load_cases(folder: Path = ASSETS) -> tuple[Case, ...]:
    """Return the committed cases, in their order."""
    return tuple(Case.from_record(record) for record in json.loads((folder / "cases.json").read_text("utf-8")))


def load_pictures(folder: Path = ASSETS) -> np.ndarray:
    """Return the cases' pictures (128, 256, 256, 3), uint8 RGB without loss."""
    return _unsheet([Image.open(path).convert("RGB") for path in _sheets(folder, "pictures", "webp")])[:COUNT]


def load_line_maps(folder: Path = ASSETS) -> np.ndarray:
    """Return hand-like line maps of the cases (128, 256, 256), uint8 of 0 and 1, lines 1."""
    return (_unsheet([Image.open(path).convert("L") for path in _sheets(folder, "lines", "png")]) > 0).astype(np.uint8)


def load_depth_maps(folder: Path = ASSETS) -> np.ndarray:
    """Return exact depth maps of the cases (128, 256, 256), uint8: 0 ground, 128 behind, 255 nearest."""
    return _unsheet([Image.open(path).convert("L") for path in _sheets(folder, "depth", "png")])


def load_drawings(folder: Path = ASSETS) -> tuple[Drawing, ...]:
    """Return the committed drawings."""
    return tuple(
        Drawing(
            name=record["name"],
            caption=record["caption"],
            seed=record["seed"],
            strokes=tuple(
                Stroke(width=stroke["width"], points=tuple((x, y) for x, y in stroke["points"]))
                for stroke in record["strokes"]
            ),
        )
        for record in json.loads((folder / "drawings.json").read_text("utf-8"))
    )


def choose_cases(artwork: Artwork, held_out: Iterable[str]) -> tuple[Case, ...]:
    """Make up the list of cases: every held-out concept appears, the four styles equally often.

    The order is mixed, so that the first dozen is a fair sample.
    """
    rng = np.random.default_rng(_SEED)
    names = list(rng.permutation(sorted(held_out)))
    # Firsts run through all concepts; what is left over when they end starts again from the front.
    firsts = [names[i % len(names)] for i in range(COUNT)]
    styles = rng.permutation([STYLES[i % len(STYLES)] for i in range(COUNT)])
    pairs = set(rng.permutation(COUNT)[:PAIRS].tolist())
    white = set(rng.permutation(COUNT)[:WHITE].tolist())
    cases = []
    for i, (name, style) in enumerate(zip(firsts, styles, strict=True)):
        positions = [artwork.index[name, style]]
        if i in pairs:
            positions.append(artwork.index[names[(i + COUNT // 2) % len(names)], style])
        recipe = _recipe(rng, artwork, positions, white=i in white)
        cases.append(Case(caption=plain_caption(recipe), seed=1000 + i, recipe=recipe))
    return tuple(cases)


def write_cases(cases: tuple[Case, ...], artwork: Artwork, folder: Path = ASSETS) -> None:
    """Write the list, the pictures and the line maps of `cases`."""
    records = [asdict(case) for case in cases]
    lines = ",\n".join(json.dumps(record) for record in records)
    (folder / "cases.json").write_text(f"[\n{lines}\n]\n", "utf-8")
    (folder / "cases").mkdir(exist_ok=True)
    traced = TracedArtwork(artwork)
    scenes = [draw(case.recipe, artwork) for case in cases]
    pictures = np.stack([scene.rgb for scene in scenes])
    depths = np.stack([depth_image(depth_planes(scene.masks)) for scene in scenes])
    maps = [
        line_map(case.recipe, traced, hand=_HAND, rng=np.random.default_rng(case.seed)) * np.uint8(255)
        for case in cases
    ]
    for number, start in enumerate(range(0, len(cases), _PER_SHEET)):
        sheet = Image.fromarray(_sheet(pictures[start : start + _PER_SHEET]))
        sheet.save(folder / "cases" / f"pictures_{number}.webp", lossless=True, quality=100, method=6)
        lines_sheet = Image.fromarray(_sheet(np.stack(maps[start : start + _PER_SHEET])))
        lines_sheet.convert("1").save(folder / "cases" / f"lines_{number}.png", optimize=True)
        depth_sheet = Image.fromarray(_sheet(depths[start : start + _PER_SHEET]))
        depth_sheet.convert("P").save(folder / "cases" / f"depth_{number}.png", optimize=True)


def _recipe(rng: np.random.Generator, artwork: Artwork, positions: list[int], *, white: bool) -> Recipe:
    """Draw recipes until one shows exactly the sprites at `positions`."""
    wanted = {artwork.sprites[position].name for position in positions}
    while True:
        recipe = random_recipe(
            rng, artwork, positions=positions, pair_share=float(len(positions) > 1), white_share=float(white)
        )
        if {item.name for item in recipe.items} == wanted:
            return recipe


def _sheets(folder: Path, kind: str, suffix: str) -> list[Path]:
    return [folder / "cases" / f"{kind}_{number}.{suffix}" for number in range(COUNT // _PER_SHEET)]


def _sheet(pictures: np.ndarray) -> np.ndarray:
    rows = [np.concatenate(list(pictures[i : i + _COLUMNS]), axis=1) for i in range(0, len(pictures), _COLUMNS)]
    return np.concatenate(rows, axis=0)


def _unsheet(sheets: list[Image.Image]) -> np.ndarray:
    pictures = []
    for sheet in sheets:
        for row in np.split(np.asarray(sheet), _COLUMNS, axis=0):
            pictures.extend(np.split(row, _COLUMNS, axis=1))
    return np.stack(pictures)
