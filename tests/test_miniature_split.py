"""No variant and no synonym of a held-out concept is trained; the evaluation's cases show held-out concepts only."""

import re
from collections import Counter

import numpy as np
import pytest

from cnxs.miniature.artwork import STYLES, Sprite
from cnxs.miniature.cases import COUNT, load_cases, load_drawings, load_line_maps, load_pictures
from cnxs.miniature.split import (
    RELATED,
    choose_held_out,
    concept_groups,
    content_words,
    held_out_concepts,
    known_sprites,
)

HELD_OUT = held_out_concepts()
TAGS = {sprite.name: {tag.lower().rstrip("s") for tag in sprite.tags} for sprite in known_sprites()}
TRAINED = TAGS.keys() - HELD_OUT
SMALL_WORDS = {"a", "and", "at", "for", "in", "no", "of", "on", "the", "to", "with"}


def _words(name: str) -> set[str]:
    return {word.rstrip("s") for word in re.findall(r"\w+", name) if word not in SMALL_WORDS}


def test_at_least_a_hundred_concepts_are_held_out_in_all_four_styles() -> None:
    assert len(HELD_OUT) >= 100
    assert len(TRAINED) >= 800
    styles = {(sprite.name, sprite.style) for sprite in known_sprites()}
    assert {(name, style) for name in HELD_OUT for style in STYLES} <= styles


def test_no_held_out_name_shares_a_content_word_with_a_trained_one() -> None:
    trained_words = {word for name in TRAINED for word in _words(name)}
    assert not {word for name in HELD_OUT for word in _words(name)} & trained_words


def test_no_held_out_concept_shares_a_telling_tag_with_a_trained_one() -> None:
    uses = Counter(tag for tags in TAGS.values() for tag in tags)
    held_out_tags = {tag for name in HELD_OUT for tag in TAGS[name] if uses[tag] <= 4}
    assert not held_out_tags & {tag for name in TRAINED for tag in TAGS[name]}


def test_no_held_out_concept_is_named_in_the_tags_of_a_trained_one() -> None:
    uses = Counter(tag for tags in TAGS.values() for tag in tags)
    held_out_words = {word for name in HELD_OUT for word in _words(name)}
    assert not {tag for name in TRAINED for tag in TAGS[name] if uses[tag] <= 8} & held_out_words
    trained_words = {word for name in TRAINED for word in _words(name)}
    assert not {tag for name in HELD_OUT for tag in TAGS[name] if uses[tag] <= 8} & trained_words


@pytest.mark.parametrize("names", RELATED, ids=" ".join)
def test_related_concepts_are_on_one_side(names: tuple[str, ...]) -> None:
    assert len({name in HELD_OUT for name in names if name in TAGS}) == 1


def test_the_committed_split_is_what_the_rule_gives() -> None:
    assert set(choose_held_out(known_sprites())) == HELD_OUT


def test_relations_run_along_chains() -> None:
    def sprite(name: str, *tags: str) -> Sprite:
        return Sprite(name=name, style="flat", tags=tags, group=3)

    sprites = [
        sprite("red bird"),
        sprite("birds"),  # plural of the same word
        sprite("wing", "bird"),  # named in a tag
        sprite("feather", "wing", "soft"),
        sprite("pillow", "soft"),  # a rare tag shared
        sprite("stone"),
    ]
    assert concept_groups(sprites) == [{"stone"}, {"red bird", "birds", "wing", "feather", "pillow"}]


def test_content_words_are_singular_and_without_function_words() -> None:
    assert content_words("Cherries and a bowl of glasses") == {"cherry", "bowl", "glasse"}
    assert content_words("glass") == {"glass"}


def test_cases_show_held_out_concepts_only_and_all_of_them() -> None:
    cases = load_cases()
    assert len(cases) == COUNT >= 100
    assert {item.name for case in cases for item in case.recipe.items} == HELD_OUT


def test_cases_are_spread_over_styles_backgrounds_and_pairs() -> None:
    cases = load_cases()
    styles = Counter(case.recipe.items[0].style for case in cases)
    assert styles == dict.fromkeys(STYLES, COUNT // 4)
    assert sum(case.recipe.background != "white" for case in cases) >= COUNT // 4
    assert sum(len(case.recipe.items) == 2 for case in cases) >= 16
    assert len({case.seed for case in cases}) == COUNT
    assert len({(item.x, item.y) for case in cases for item in case.recipe.items}) > COUNT
    assert all({item.style for item in case.recipe.items} == {case.recipe.items[0].style} for case in cases)


def test_captions_name_what_the_case_shows() -> None:
    for case in load_cases():
        assert all(item.name in case.caption for item in case.recipe.items)
        assert f"{case.recipe.background} background" in case.caption


def test_pictures_are_those_of_their_cases() -> None:
    pictures = load_pictures()
    assert pictures.shape == (COUNT, 256, 256, 3)
    for case, picture in zip(load_cases(), pictures, strict=True):
        assert (picture == case.recipe.colour).all(axis=-1).mean() > 0.1
        item = case.recipe.items[0]
        x, y, reach = round(item.x), round(item.y), round(128 * item.size)
        window = picture[max(0, y - reach) : y + reach, max(0, x - reach) : x + reach]
        assert (window != case.recipe.colour).any(axis=-1).mean() > 0.05


def test_line_maps_lie_on_the_pictures() -> None:
    maps = load_line_maps()
    assert maps.shape == (COUNT, 256, 256)
    assert set(np.unique(maps)) == {0, 1}
    shares = maps.mean(axis=(1, 2))
    assert shares.min() > 0.005
    assert shares.max() < 0.35
    for case, lines in zip(load_cases(), maps, strict=True):
        if len(case.recipe.items) == 1:
            rows, columns = np.nonzero(lines)
            reach = 128 * case.recipe.items[0].size * 1.2 + 8
            assert abs(rows - case.recipe.items[0].y).max() < reach
            assert abs(columns - case.recipe.items[0].x).max() < reach


def test_drawings_are_of_held_out_subjects_and_fit_the_page() -> None:
    drawings = load_drawings()
    assert len(drawings) == 12
    for drawing in drawings:
        assert drawing.name in HELD_OUT
        assert drawing.name in drawing.caption
        points = np.array([point for stroke in drawing.strokes for point in stroke.points])
        assert points.min() > 4
        assert points.max() < 252
        lines = drawing.render()
        assert lines.shape == (256, 256)
        assert set(np.unique(lines)) == {0, 1}
        assert 0.01 < lines.mean() < 0.2
