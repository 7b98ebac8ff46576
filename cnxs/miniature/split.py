"""Which concepts are held out of control training.

Whole groups of related concepts are held out, so that no variant and no synonym of a held-out concept is trained.
The outcome is the committed file `assets/miniature/held_out.json`; `concepts.json` beside it lists all concepts.
"""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

from cnxs.miniature import ASSETS
from cnxs.miniature.artwork import STYLES, Sprite

HELD_OUT = ASSETS / "held_out.json"
CONCEPTS = ASSETS / "concepts.json"
RARE_TAG = 4  # a tag of at most so many concepts says what they are ...
CATEGORY_TAG = 8  # ... one of more than so many only names their category: animal, food, bird

_FUNCTION_WORDS = frozenset({"a", "and", "at", "for", "in", "no", "of", "on", "the", "to", "with"})

# Near relations that neither names nor tags give away.
RELATED = (
    ("rat", "mouse", "hamster", "chipmunk"),
    ("bird", "parrot", "dove", "eagle", "owl"),
    ("rooster", "chicken", "turkey"),
    ("swan", "duck", "goose"),
    ("donkey", "horse", "unicorn"),
    ("moose", "deer"),
    ("wolf", "dog face", "fox"),
    ("crab", "lobster"),
    ("squid", "octopus"),
    ("snake", "worm"),
    ("melon", "watermelon"),
    ("basketball", "volleyball", "soccer ball"),
    ("guitar", "violin", "banjo"),
    ("trumpet", "saxophone", "postal horn"),
    ("metro", "train"),
    ("motorway", "railway track"),
    ("stopwatch", "watch", "timer clock"),
    ("tornado", "cyclone"),
    ("megaphone", "loudspeaker"),
    ("receipt", "scroll", "page with curl"),
    ("pencil", "pen", "crayon"),
    ("clipboard", "spiral notepad"),
    ("hibiscus", "rosette", "cherry blossom", "blossom"),
    ("comet", "shooting star"),
    ("joker", "flower playing cards"),
    ("admission tickets", "ticket"),
    ("pancakes", "waffle"),
    ("fax machine", "printer"),
    ("kimono", "martial arts uniform"),
    ("tokyo tower", "statue of liberty"),
    ("crocodile", "lizard"),
    ("dolphin", "whale", "shark"),
    ("trackball", "computer mouse"),
    ("joystick", "video game"),
    ("television", "desktop computer"),
    ("hospital", "school", "office building"),
)


def content_words(name: str) -> frozenset[str]:
    """Return the words of a name that carry meaning, plural endings removed."""
    words = re.split(r"[^\w]+", name.lower())
    return frozenset(_singular(word) for word in words if word and word not in _FUNCTION_WORDS)


def concept_groups(sprites: Iterable[Sprite]) -> list[frozenset[str]]:
    """Return the groups of related concepts, smallest first.

    Two concepts are related if their names share a content word, if they share a rare tag, if a tag of one that is
    no mere category is a content word of the other, or if RELATED says so; and so on along chains of relations.
    """
    tags = {sprite.name: frozenset(_singular(tag.lower()) for tag in sprite.tags) for sprite in sprites}
    by_word, by_tag = defaultdict(set), defaultdict(set)
    for name in tags:
        for word in content_words(name):
            by_word[word].add(name)
        for tag in tags[name]:
            by_tag[tag].add(name)
    links = [*by_word.values(), *(set(names) & tags.keys() for names in RELATED)]
    for tag, names in by_tag.items():
        if len(names) <= RARE_TAG:
            links.append(names)
        if len(names) <= CATEGORY_TAG and tag in by_word:
            links.append(names | by_word[tag])
    groups = {name: {name} for name in tags}
    for linked in links:
        merged = set().union(*(groups[name] for name in linked))
        groups.update(dict.fromkeys(merged, merged))
    unique = {frozenset(group) for group in groups.values()}
    return sorted(unique, key=lambda group: (len(group), sorted(group)))


def choose_held_out(sprites: Iterable[Sprite], *, largest_group: int = 8) -> list[str]:
    """Return the concepts of every group of at most `largest_group`, where each is drawn in all four styles."""
    sprites = list(sprites)
    styles = Counter(sprite.name for sprite in sprites)
    groups = [group for group in concept_groups(sprites) if len(group) <= largest_group]
    whole = [group for group in groups if all(styles[name] == len(STYLES) for name in group)]
    return sorted(name for group in whole for name in group)


def held_out_concepts() -> frozenset[str]:
    """Return the committed held-out concepts."""
    return frozenset(json.loads(HELD_OUT.read_text("utf-8"))["concepts"])


def known_sprites() -> tuple[Sprite, ...]:
    """Return what all sprites show, from the committed list of concepts: no artwork is needed."""
    records = json.loads(CONCEPTS.read_text("utf-8"))
    return tuple(
        Sprite(name=record["name"], style=style, tags=tuple(record["tags"]), group=record["group"])
        for record in records
        for style in record["styles"]
    )


def write_split(sprites: Iterable[Sprite], folder: Path = ASSETS) -> list[str]:
    """Write the list of concepts and the held-out ones among them; return the latter."""
    sprites = list(sprites)
    records: dict[str, dict] = {}
    for sprite in sprites:
        record = {"name": sprite.name, "group": sprite.group, "tags": sprite.tags, "styles": []}
        records.setdefault(sprite.name, record)["styles"].append(sprite.style)
    lines = ",\n".join(json.dumps(record, ensure_ascii=False) for record in records.values())
    (folder / CONCEPTS.name).write_text(f"[\n{lines}\n]\n", "utf-8")
    held_out = choose_held_out(sprites)
    (folder / HELD_OUT.name).write_text(json.dumps({"concepts": held_out}, indent=1) + "\n", "utf-8")
    return held_out


def _singular(word: str) -> str:
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word
