"""The captions that the miniature learns: a name or two, a style, perhaps tags and a background."""

import numpy as np

from cnxs.miniature.artwork import Artwork
from cnxs.miniature.scenes import Recipe

STYLE_WORDS = {
    "3d": ("3d render", "3d"),
    "flat": ("flat illustration", "flat"),
    "cartoon": ("cartoon",),
    "sticker": ("sticker",),
}


def plain_caption(recipe: Recipe) -> str:
    """Return the fullest wording without chance, such as `a red apple, 3d render, blue background`."""
    names = " and ".join(item.name for item in recipe.items)
    article = "a " if len(recipe.items) == 1 else ""
    return f"{article}{names}, {STYLE_WORDS[recipe.items[0].style][0]}, {recipe.background} background"


def random_caption(rng: np.random.Generator, recipe: Recipe, artwork: Artwork) -> str:
    """Word the scene in one of the ways of the grammar: word order, article, tags and background vary.

    A coloured background is always named, a white one sometimes.
    """
    first = recipe.items[0]
    words = STYLE_WORDS[first.style]
    style = words[int(rng.integers(len(words)))]
    names = [item.name for item in recipe.items]
    tags = artwork.sprites[artwork.index[first.name, first.style]].tags
    if rng.random() < 0.35 and tags:
        names[0] = ", ".join([names[0], *rng.permutation(tags)[: rng.integers(1, 3)]])
    article = "a " if rng.random() < 0.5 and len(names) == 1 else ""
    subject = article + " and ".join(names)
    caption = f"{subject}, {style}" if rng.random() < 0.6 else f"{style} of {subject}"
    if recipe.background != "white" or rng.random() < 0.3:
        caption += f", {recipe.background} background"
    return caption
