"""Settings as text: links carry everything but pictures, and nothing damaged gets through."""

import base64
import json
from dataclasses import replace

import pytest

from cnxs import settings
from cnxs.errors import InputError
from cnxs.request import MAX_PROMPT_CHARACTERS, Axis, ControlUse, GenerationRequest, defaults

DIGEST = "a" * 64
USE = ControlUse(
    network="n", kind="canny", map_id=DIGEST, source_id=DIGEST, control_scale=0.7, params=(("low", 40), ("blur", 1.5))
)
FULL = GenerationRequest(
    base="sd15", prompt='a "fox", 100 % \ud83e \u00fc', seed=7, steps=9, controls=(USE,), loras=(("ink", 0.5),),
    init_id=DIGEST, axes=(Axis(name="control_scale", values=(0.0, 1.0)),),
)  # fmt: skip


def link_of(values: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(values).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "request_", [defaults(), FULL, replace(FULL, controls=(), axes=())], ids=["plain", "full", "words"]
)
def test_a_link_brings_back_everything_but_the_pictures(request_: GenerationRequest) -> None:
    link = settings.to_link(request_)
    assert settings.from_link(link) == settings.without_pictures(request_)
    assert link.replace("-", "").replace("_", "").isalnum()
    assert DIGEST not in base64.urlsafe_b64decode(link + "==").decode()


def test_a_link_is_short_where_little_was_changed() -> None:
    assert len(settings.to_link(replace(defaults(), prompt="a red fox", seed=7))) < 150


@pytest.mark.parametrize(
    ("link", "key"),
    [
        ("", "settings_damaged"),
        ("%%%", "settings_damaged"),
        ("a", "settings_damaged"),
        ("////", "settings_damaged"),
        ("é", "settings_damaged"),
        (link_of([1]), "settings_damaged"),
        (link_of({"format": "cnxs-request", "version": 99, "base": "x"}), "settings_newer"),
        (link_of({"format": "cnxs-request", "version": 1, "base": "x", "steps": 10**6}), "out_of_range"),
        (link_of({"format": "cnxs-request", "version": 1, "base": "x", "path": "/etc"}), "settings_damaged"),
        ("A" * (settings.MAX_LINK_CHARACTERS + 1), "link_too_long"),
    ],
)
def test_a_damaged_link_is_refused(link: str, key: str) -> None:
    with pytest.raises(InputError) as caught:
        settings.from_link(link)
    assert caught.value.key == key


def test_settings_that_no_link_can_carry_are_told() -> None:
    with pytest.raises(InputError) as caught:
        settings.to_link(replace(defaults(), prompt="x" * MAX_PROMPT_CHARACTERS))
    assert caught.value.key == "link_too_long"


def test_a_link_names_no_picture_even_if_somebody_wrote_one_in() -> None:
    forged = link_of({"format": "cnxs-request", "version": 1, "base": "x", "init_id": DIGEST})
    assert settings.from_link(forged).init_id == ""
