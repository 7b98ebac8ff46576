"""The menus of LoRAs, without a browser: what fits is offered, "Fast" sets what belongs together, all comes back."""

from dataclasses import replace
from typing import Any

import pytest

from cnxs.errors import InputError
from cnxs.protocol import AddonInfo, Models
from cnxs.request import GenerationRequest
from cnxs.ui.loras import FAST_STEPS, SLOTS, few_steps, fitting
from tests.fake_backend import FakeBackend
from tests.test_ui import ENGLISH, Session, submitted

LORAS = (
    AddonInfo(name="ink"),
    AddonInfo(name="lcm-4steps", family="miniature"),
    AddonInfo(name="clay", family="miniature"),
    AddonInfo(name="other", family="sd15"),
)


class Backend(FakeBackend):
    """Has a few LoRAs."""

    def models(self) -> Models:
        return replace(super().models(), loras=LORAS)


@pytest.fixture
def session() -> Session:
    session = Session(Backend())
    session.set(control_scale=0.0, **{f"lora_{slot}": "" for slot in range(1, SLOTS + 1)})
    return session


def choices(changes: dict[str, Any], slot: int = 1) -> list[str]:
    return [value for _, value in changes[f"lora_{slot}"]["choices"]]


def shown(changes: dict[str, Any]) -> list[bool]:
    return [changes[f"lora_row_{slot}"]["visible"] for slot in range(1, SLOTS + 1)]


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        ("lcm-lora-sdv1-5", FAST_STEPS),
        ("Hyper-SD15-8steps-lora", 8),
        ("sdxl_lightning_4step_lora", 4),
        ("hypersd-1step", 1),
        ("hyperrealism", None),
        ("turbo-99steps", 16),
        ("ink wash", None),
    ],
)
def test_a_name_tells_the_steps(name: str, steps: int | None) -> None:
    assert few_steps(name) == steps


def test_only_what_fits_the_base_is_offered(session: Session) -> None:
    assert fitting(session.backend.models(), "sd15") == ("ink", "other")
    changes = session.apply(session.handlers.loras.offer(session.values, ENGLISH))
    assert choices(changes) == ["", "ink", "lcm-4steps", "clay"]
    assert changes["loras_panel"]["visible"]
    session.set(lora_1="clay", lora_2="ink", base="sd15")
    changes = session.apply(session.handlers.loras.offer(session.values, ENGLISH))
    assert [session.values[session.fields[f"lora_{slot}"]] for slot in (1, 2)] == ["", "ink"]
    assert shown(changes) == [True, True, True, False]


def test_an_offer_takes_away_what_does_not_fit_and_says_nothing_of_what_is_chosen_meanwhile(session: Session) -> None:
    session.set(lora_1="clay", lora_2="ink", base="sd15")
    changes = session.handlers.loras.offer(session.values, ENGLISH)
    assert [changes[session.fields[f"lora_{slot}"]].get("value") for slot in (1, 2, 3)] == ["", None, None]
    session.set(lora_3="other")
    session.apply(changes)
    assert session.values[session.fields["lora_3"]] == "other"


def test_without_any_the_panel_is_away() -> None:
    session = Session(FakeBackend())
    assert not session.apply(session.handlers.loras.offer(session.values, ENGLISH))["loras_panel"]["visible"]


def test_several_with_weights_reach_the_request_and_come_back(session: Session) -> None:
    session.set(lora_1="ink", lora_weight_1=0.5, lora_3="clay", lora_weight_3=-1)
    asked = submitted(session)
    assert asked.loras == (("ink", 0.5), ("clay", -1.0))
    changes = session.apply(session.handlers.restoring.bring_back(asked, "en"))
    assert "Everything is as it was" in changes["status"]
    assert shown(changes) == [True, True, True, False]
    assert submitted(session).loras == asked.loras


def test_what_cannot_come_back_is_told(session: Session) -> None:
    many = tuple((name, 1.0) for name in ("ink", "other", "clay"))
    asked = GenerationRequest(base="miniature", loras=many)
    changes = session.apply(session.handlers.restoring.bring_back(asked, "en"))
    assert "LoRA: other" in changes["status"]
    assert submitted(session).loras == (("ink", 1.0), ("clay", 1.0))


def test_fast_chooses_what_belongs_together(session: Session) -> None:
    session.set(lora_1="ink")
    changes = session.apply(session.handlers.loras.fast(session.values, ENGLISH))
    assert (changes["sampler"], changes["steps"], changes["guidance_scale"]) == ("lcm", 4, 1)
    assert [name for name, _ in submitted(session).loras] == ["ink", "lcm-4steps"]
    session.apply(session.handlers.loras.fast(session.values, ENGLISH))  # once more changes nothing
    assert [name for name, _ in submitted(session).loras] == ["ink", "lcm-4steps"]


def test_fast_needs_a_lora_for_it(session: Session) -> None:
    session.set(base="sd15")
    with pytest.raises(InputError) as caught:
        session.handlers.loras.fast(session.values, ENGLISH)
    assert caught.value.key == "no_fast_lora"
