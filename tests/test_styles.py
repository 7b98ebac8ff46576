"""Styles and prompts by chance: their words go into the prompts, and are found, exchanged and taken out there."""

import pytest

from cnxs.miniature.captions import STYLE_WORDS
from cnxs.miniature.scenes import BACKGROUNDS
from cnxs.text import LANGUAGES
from cnxs.ui import styles

FLAT = next(style for style in styles.read() if style.prompt == "flat illustration")
SMALL, LARGE = styles.styles_for("miniature"), styles.styles_for("sdxl")


def test_the_miniature_is_offered_the_words_it_learned() -> None:
    assert {style.prompt for style in SMALL} == {words[0] for words in STYLE_WORDS.values()}
    assert LARGE
    assert not [style for style in SMALL if style in LARGE]
    assert all(set(style.names) == set(LANGUAGES) for style in styles.read())


@pytest.mark.parametrize(
    ("before", "chosen", "after"),
    [
        ("a red fox", FLAT, "a red fox, flat illustration"),
        ("a red fox,", FLAT, "a red fox, flat illustration"),
        ("", FLAT, "flat illustration"),
        ("a fox, Cartoon, blue background", FLAT, "a fox, flat illustration, blue background"),
        ("cartoon of a fox, blue background", FLAT, "a fox, blue background, flat illustration"),
        ("a fox, cartoon, blue background", None, "a fox, blue background"),
        ("cartoon, a fox", None, "a fox"),
        ("cartoon of a fox", None, "a fox"),
        ("a cartoonist, at work", None, "a cartoonist, at work"),
    ],
)
def test_a_style_stands_in_the_prompt_once(before: str, chosen: styles.Style | None, after: str) -> None:
    prompt, _ = styles.apply(before, "", chosen, SMALL)
    assert prompt == after
    assert styles.find(prompt, SMALL) == chosen


def test_every_style_comes_and_goes_without_a_trace() -> None:
    for known in (SMALL, LARGE):
        for one in known:
            prompts = styles.apply("an old tree", "text", one, known)
            assert styles.find(prompts[0], known) == one
            for other in known:
                assert styles.find(styles.apply(*prompts, other, known)[0], known) == other
            assert styles.apply(*prompts, None, known) == ("an old tree", "text")


@pytest.mark.parametrize("family", ["miniature", "sd15"])
def test_a_prompt_by_chance_is_in_a_style_that_the_model_knows(family: str) -> None:
    for _ in range(30):
        prompt = styles.surprise(family)
        assert styles.find(prompt, styles.styles_for(family))
        if family == "miniature":
            assert prompt.split(", ")[-1].removesuffix(" background") in BACKGROUNDS
