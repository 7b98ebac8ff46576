"""Scenes: sprites layered on a plain background, with exact masks of every object."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from cnxs.miniature import SIZE
from cnxs.miniature.artwork import Artwork

BACKGROUNDS = {
    "white": (255, 255, 255),
    "black": (24, 24, 28),
    "red": (224, 64, 56),
    "orange": (245, 150, 60),
    "yellow": (250, 215, 90),
    "green": (96, 180, 96),
    "teal": (70, 175, 175),
    "blue": (80, 140, 225),
    "purple": (150, 105, 205),
    "pink": (245, 165, 195),
    "brown": (140, 98, 70),
    "gray": (165, 168, 174),
}
_CENTRE = (SIZE - 1) / 2


@dataclass(frozen=True, kw_only=True)
class Item:
    """One object of a scene."""

    name: str  # concept
    style: str
    x: float  # centre on the canvas, pixels
    y: float
    size: float  # side of the sprite as a fraction of the canvas
    turn: float = 0.0  # degrees, counter-clockwise
    flip: bool = False  # mirrored left to right, before turning

    def matrix(self) -> np.ndarray:
        """Return the 2 x 3 affine matrix from sprite pixels to canvas pixels."""
        matrix = cv2.getRotationMatrix2D((_CENTRE, _CENTRE), self.turn, self.size)
        if self.flip:
            matrix = matrix @ np.array([[-1.0, 0, SIZE - 1], [0, 1, 0], [0, 0, 1]])
        matrix[:, 2] += (self.x - _CENTRE, self.y - _CENTRE)
        return matrix


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All that is needed to draw a scene again. Later items cover earlier ones."""

    background: str  # key of BACKGROUNDS
    colour: tuple[int, int, int]  # the background's exact colour
    items: tuple[Item, ...]


@dataclass(frozen=True)
class Scene:
    """A drawn scene.

    `rgb` is (256, 256, 3) uint8. `masks` is (items, 256, 256) float32 in [0, 1]: the share of each pixel in which
    an item is seen, back to front; what is missing to 1 is background. Region maps, and depth maps of the layers'
    order, follow from them exactly.
    """

    rgb: np.ndarray
    masks: np.ndarray


def draw(recipe: Recipe, artwork: Artwork) -> Scene:
    """Draw `recipe` at 256 x 256 pixels."""
    canvas = np.full((SIZE, SIZE, 3), recipe.colour, np.float32)
    masks = np.zeros((len(recipe.items), SIZE, SIZE), np.float32)
    for i, item in enumerate(recipe.items):
        sprite = artwork.pixels[artwork.index[item.name, item.style]].astype(np.float32)
        sprite[..., :3] *= sprite[..., 3:] / 255  # premultiplied, so that edges blend without fringes
        layer = cv2.warpAffine(sprite, item.matrix(), (SIZE, SIZE), flags=cv2.INTER_LINEAR)
        alpha = layer[..., 3] / 255
        canvas = canvas * (1 - alpha[..., None]) + layer[..., :3]
        masks[:i] *= 1 - alpha
        masks[i] = alpha
    return Scene(np.rint(canvas.clip(0, 255)).astype(np.uint8), masks)


def random_background(rng: np.random.Generator, *, white_share: float = 0.45) -> tuple[str, tuple[int, int, int]]:
    """Pick a background's name and its colour, which varies a little unless it is white."""
    if rng.random() < white_share:
        return "white", BACKGROUNDS["white"]
    name = list(BACKGROUNDS)[int(rng.integers(1, len(BACKGROUNDS)))]
    red, green, blue = (int(value) for value in np.clip(np.add(BACKGROUNDS[name], rng.normal(0, 8, 3)), 0, 255))
    return name, (red, green, blue)


def random_recipe(
    rng: np.random.Generator,
    artwork: Artwork,
    *,
    positions: Sequence[int],
    pair_share: float = 0.2,
    white_share: float = 0.45,
) -> Recipe:
    """Make up a scene of one object, or of two in the same style side by side.

    Args:
        rng: decides everything.
        artwork: the sprites.
        positions: which of them may appear.
        pair_share: share of scenes with two objects.
        white_share: share of scenes on white.
    """
    first = artwork.sprites[positions[int(rng.integers(len(positions)))]]
    chosen = [first]
    if rng.random() < pair_share:
        same_style = [i for i in positions if artwork.sprites[i].style == first.style]
        chosen.append(artwork.sprites[same_style[int(rng.integers(len(same_style)))]])
    background, colour = random_background(rng, white_share=white_share)
    if len(chosen) == 1:
        sizes = [rng.uniform(0.6, 0.98)]
        spread = 54 * (1.1 - sizes[0])  # a large object has little room to move
        centres = [128 + rng.normal(0, spread, 2)]
    else:
        size, left = rng.uniform(0.42, 0.56), rng.uniform(64, 84)
        sizes = list(size * rng.uniform(0.9, 1.1, 2))
        centres = [np.array([x, 128 + rng.normal(0, 14)]) for x in (left, SIZE - left)]
    items = tuple(
        Item(
            name=sprite.name,
            style=sprite.style,
            x=round(float(centre[0]), 2),
            y=round(float(centre[1]), 2),
            size=round(float(size), 4),
            turn=round(float(rng.normal(0, 5)), 2),
            flip=bool(rng.random() < 0.5),
        )
        for sprite, centre, size in zip(chosen, centres, sizes, strict=True)
    )
    return Recipe(background=background, colour=colour, items=items)
