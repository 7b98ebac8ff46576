"""Further controls and the finer settings of the first, without a browser: what is set reaches the request and back."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cnxs import settings
from cnxs.errors import InputError
from cnxs.registry import CONTROL_KINDS
from cnxs.request import ControlUse, GenerationRequest
from cnxs.specs import ControlKind
from cnxs.ui import prints, view
from cnxs.ui.all_maps import CLOSE, KINDS, AllMaps
from cnxs.ui.exporting import Exporting
from cnxs.ui.further_cards import SLOTS, slot_updates, slots
from tests.fake_backend import FakeBackend
from tests.test_start_picture import PAINTED, canvas, stored
from tests.test_ui import ENGLISH, Session, submitted

SECOND = {
    "second_on": True, "second_kind": "scribble", "second_network": "miniature-scribble",
    "second_shown_for": "scribble", "second_control_scale": 0.5, "second_start": 0.1, "second_end": 0.6,
}  # fmt: skip


@pytest.fixture
def session(photo: Image.Image) -> Session:
    session = Session(FakeBackend())
    session.set(photo=session.handlers.files.put_image(photo), width=64, height=48)
    return session


class Choice:
    """What the page tells of a click on the row of maps."""

    def __init__(self, cell: int) -> None:
        self.cell = cell


def brought_back(session: Session, asked: GenerationRequest) -> dict[str, Any]:
    return session.apply(session.handlers.restoring.bring_back(asked, "en"))


def test_the_second_follows_the_same_picture_in_its_own_way(session: Session) -> None:
    session.set(**SECOND)
    first, second = submitted(session).controls
    assert (first.kind, first.control_scale, second.kind) == ("canny", 1.0, "scribble")
    assert (second.network, second.control_scale) == ("miniature-scribble", 0.5)
    assert (second.start, second.end) == (0.1, 0.6)
    assert second.source_id == first.source_id
    assert dict(second.params).keys() == {"thickness", "detail", "polarity"}


def test_the_second_may_have_its_own_picture_and_everything_comes_back(session: Session, photo: Image.Image) -> None:
    session.set(**SECOND, second_picture=session.handlers.files.put_image(photo.rotate(180)))
    asked = submitted(session)
    assert asked.controls[1].source_id != asked.controls[0].source_id
    own = replace(asked.controls[1], params=(("detail", 0.2), ("polarity", "auto"), ("thickness", 7)))
    asked = replace(asked, controls=(asked.controls[0], own))
    session.set(second_on=False, second_picture=None, second_control_scale=1)
    changes = brought_back(session, asked)
    assert "Everything is as it was" in changes["status"]
    again = submitted(session)
    assert replace(again.controls[1], map_id=own.map_id) == own
    session.set(second_kind="canny", second_network="miniature-canny")
    assert dict(submitted(session).controls[1].params)["low"] == 100


def test_what_of_the_second_is_not_here_is_told(session: Session) -> None:
    asked = submitted(session)
    other = replace(asked.controls[0], network="somebodys", gains=(1.0, 1.0, 0.5))
    changes = brought_back(session, replace(asked, controls=(asked.controls[0], other)))
    assert "A second control: canny, somebodys" in changes["status"]
    assert changes["second_on"] is False
    other = replace(asked.controls[0], source_id="0" * 64)
    changes = brought_back(session, replace(asked, controls=(asked.controls[0], other)))
    assert "A second control: its picture" in changes["status"]
    assert brought_back(session, asked)["second_on"] is False


def test_the_second_needs_a_first_and_a_picture(session: Session) -> None:
    session.set(**SECOND, photo=None, control_scale=0)
    with pytest.raises(InputError) as caught:
        submitted(session)
    assert caught.value.key == "further_without_first"
    told = session.apply(session.handlers.further[0].preview(session.values, ENGLISH))
    assert "There is no picture to follow yet" in told["second_note"]


def test_its_map_is_shown_while_it_is_on(session: Session) -> None:
    session.set(**SECOND)
    assert session.apply(session.handlers.further[0].preview(session.values, ENGLISH))["second_map"]["visible"]
    session.set(second_on=False)
    assert not session.apply(session.handlers.further[0].preview(session.values, ENGLISH))["second_map"]["visible"]


def offered(session: Session, **values: Any) -> dict[str, Any]:
    session.set(**values)
    return session.apply(session.handlers.further[0].offer(session.values, ENGLISH))


def test_what_draws_without_weights_is_offered_first_what_the_base_can_follow(session: Session) -> None:
    changes = offered(session, base="sd15")
    assert changes["second_kind"]["value"] == "scribble"  # which its canny network can follow
    assert changes["second_network"]["value"] == "sd15-canny"
    kinds = [kind for _, kind in changes["second_kind"]["choices"]]
    assert kinds[:2] == ["canny", "scribble"]
    assert kinds[-3:] == ["blur", "colour_grid", "silhouette"]
    assert changes["second_network"]["visible"] is False  # nothing to choose


def test_a_network_chosen_for_a_kind_stays_and_another_kind_has_its_own(session: Session) -> None:
    chosen = {"second_kind": "scribble", "second_network": "miniature-canny", "second_shown_for": "scribble"}
    changes = offered(session, **chosen)
    assert (changes["second_network"]["value"], changes["second_network"]["visible"]) == ("miniature-canny", True)
    session.set(second_on=True)
    assert submitted(session).controls[1].network == "miniature-canny"
    changes = offered(session, second_network="miniature-canny", second_shown_for="canny")
    assert changes["second_network"]["value"] == "miniature-scribble"


def test_switched_on_it_does_not_double_the_first(session: Session) -> None:
    session.set(**SECOND, kind="scribble")
    switch = session.handlers.further[0].switch
    assert session.apply(switch(session.values, ENGLISH))["second_kind"]["value"] == "canny"
    session.set(second_kind="scribble", second_picture=session.values[session.fields["photo"]])
    assert session.apply(switch(session.values, ENGLISH))["second_kind"]["value"] == "scribble"


def test_a_kind_without_a_network_is_shown_and_told(session: Session) -> None:
    session.set(**{**SECOND, "second_kind": "silhouette"})
    shown = session.apply(session.handlers.further[0].preview(session.values, ENGLISH))
    assert shown["second_map"]["visible"]
    assert "No control network here can follow" in shown["second_note"]
    with pytest.raises(InputError) as caught:
        submitted(session)
    assert caught.value.key == "further_no_network"


@pytest.mark.parametrize("kind", CONTROL_KINDS.values(), ids=lambda kind: kind.name)
def test_a_card_has_a_place_for_every_setting_of_every_kind(kind: ControlKind) -> None:
    assert list(slots(kind).values()) == list(kind.params)
    updates = slot_updates(kind, {}, "en")
    assert {name for name in SLOTS if updates[name]["visible"]} == slots(kind).keys()
    for name, param in slots(kind).items():
        assert param.check(updates[name]["value"])
        assert not updates[name]["label"].startswith("param.")


def test_its_settings_draw_its_map_and_another_kind_starts_anew(session: Session) -> None:
    changes = offered(session, **{**SECOND, "second_shown_for": None})
    assert changes["second_number_1"]["label"] == "Thickness"
    session.set(second_shown_for="scribble", second_number_1=9, second_number_2=0.5, second_choice="dark")
    assert dict(submitted(session).controls[1].params) == {"thickness": 9, "detail": 0.5, "polarity": "dark"}
    assert "second_number_1" not in offered(session)  # the same kind: what was set stays
    session.set(second_kind="canny")  # chosen a moment ago: the numbers on the card are not its own yet
    assert dict(submitted(session).controls[1].params) == {"low": 100, "high": 200, "blur": 0}


def test_a_third_control_acts_beside_both_and_comes_back(session: Session, photo: Image.Image) -> None:
    third = {name.replace("second", "third"): value for name, value in SECOND.items()}
    third |= {"third_picture": session.handlers.files.put_image(photo.rotate(90)), "third_control_scale": 0.25}
    session.set(**SECOND, **third)
    asked = submitted(session)
    assert [use.control_scale for use in asked.controls] == [1.0, 0.5, 0.25]
    assert asked.controls[2].source_id != asked.controls[1].source_id
    session.set(third_on=False, third_picture=None, third_control_scale=1)
    assert "Everything is as it was" in brought_back(session, asked)["status"]
    assert submitted(session) == asked
    session.set(third_gain_early=0.5, third_gain_late=0, third_prompt_half_only=True, gain_middle=0.25)
    asked = submitted(session)
    assert [use.gains for use in asked.controls] == [(1.0, 0.25, 1.0), (1.0, 1.0, 1.0), (0.5, 1.0, 0.0)]
    assert [use.prompt_half_only for use in asked.controls] == [False, False, True]
    session.set(third_gain_early=1, third_gain_late=1, third_prompt_half_only=False, gain_middle=1, second_gain_late=2)
    changes = brought_back(session, asked)
    assert [changes[f"{place}_gains"]["open"] for place in ("second", "third")] == [False, True]
    assert submitted(session) == asked
    more = replace(asked, controls=(*asked.controls, asked.controls[0]))
    assert "Control network 4: miniature-canny" in brought_back(session, more)["status"]


def test_the_third_does_not_double_the_second(session: Session) -> None:
    session.set(**SECOND)
    changes = session.apply(session.handlers.further[1].switch(session.values, ENGLISH))
    assert changes["third_kind"]["value"] not in ("canny", "scribble", None)


def test_strokes_start_nothing_more_while_the_panels_are_off(session: Session) -> None:
    preview = session.handlers.sources.preview
    assert session.apply(preview(session.values, ENGLISH))["laid"] is None
    session.set(second_on=True)
    laid = session.apply(preview(session.values, ENGLISH))["laid"]
    session.set(width=96)
    assert session.apply(preview(session.values, ENGLISH))["laid"] != laid
    session.set(photo=None)
    assert session.apply(preview(session.values, ENGLISH))["laid"] is None


def test_pace_and_facts_tell_how_many_controls_there_are(session: Session) -> None:
    session.set(pace={view.pace_key("miniature", 1): 1e-5, view.pace_key("miniature", 2): 1e-3}, steps=10)
    assert "about 2 s" in session.handlers.menus.cost(session.values, ENGLISH)
    session.set(**SECOND)
    assert "about 3 min" in session.handlers.menus.cost(session.values, ENGLISH)
    asked = submitted(session)
    cell = view.Cell(request=asked, seconds=2.5)
    assert "Edges (Canny) 1 + Sketch 0.5" in view.facts(cell, "en")
    assert "Kanten (Canny) 1 + Skizze 0,5" in view.facts(cell, "de")
    first, second = asked.controls
    without = replace(asked, controls=(replace(first, control_scale=0.0), second))
    assert "Sketch 0.5" in view.facts(view.Cell(request=without), "en")
    assert prints.told("control_scale", without, "en") == "strength 0"  # not "no control": the second acts


def test_settings_of_a_page_without_a_picture_have_both_controls(session: Session) -> None:
    session.set(**SECOND, photo=None)
    path = Exporting(session.handlers, session.handlers.asking).settings_file(session.values)
    with open(path, encoding="utf-8") as file:
        written = settings.from_json(file.read())
    assert [(use.kind, use.map_id) for use in written.controls] == [("canny", ""), ("scribble", "")]


def test_gains_halves_and_region_reach_the_request_and_come_back(session: Session) -> None:
    session.set(gain_early=0.5, gain_middle=0, gain_late=1.5, prompt_half_only=True, region_on=True)
    shown = session.apply(session.handlers.fine_control.show(session.values))
    session.set(region=canvas(PAINTED, ground=shown["region_ground"].name))
    asked = submitted(session)
    use = asked.controls[0]
    assert (use.gains, use.prompt_half_only) == ((0.5, 0.0, 1.5), True)
    np.testing.assert_array_equal(np.asarray(session.backend.get_image(use.region_id))[..., 0], 255 - PAINTED)
    session.set(gain_early=1, prompt_half_only=False, region_on=False, region=None)
    changes = brought_back(session, asked)
    assert "Everything is as it was" in changes["status"]
    assert changes["fine_panel"]["open"]
    assert submitted(session) == asked
    session.set(region_on=False)
    assert submitted(session).controls[0].region_id == ""


@pytest.mark.parametrize(("where", "inverted"), [("painted", False), ("unpainted", True), ("everywhere", None)])
def test_a_further_control_acts_where_is_painted_or_everywhere_else(
    session: Session, where: str, inverted: bool | None
) -> None:
    session.set(**SECOND, region_on=True, second_where=where)
    shown = session.apply(session.handlers.fine_control.show(session.values))
    session.set(region=canvas(PAINTED, ground=shown["region_ground"].name))
    asked = submitted(session)
    first, second = asked.controls
    if inverted is None:
        assert second.region_id == ""
    else:
        region = np.asarray(session.backend.get_image(second.region_id))[..., 0]
        np.testing.assert_array_equal(region, PAINTED if inverted else 255 - PAINTED)
    session.set(second_where="everywhere", second_on=False, region_on=False, region=None)
    changes = brought_back(session, asked)
    assert "Everything is as it was" in changes["status"]
    assert changes["second_where"] == where
    assert submitted(session).controls == (first, second)
    session.set(region_on=False)
    assert [use.region_id for use in submitted(session).controls] == ["", ""]


def test_a_region_that_only_a_further_control_has_is_told(session: Session) -> None:
    session.set(**SECOND)
    asked = submitted(session)
    masked = replace(asked.controls[1], region_id=stored(session.backend, PAINTED))
    changes = brought_back(session, replace(asked, controls=(asked.controls[0], masked)))
    assert "A second control: " in changes["status"]
    assert changes["second_where"] == "everywhere"


def test_a_live_frame_takes_the_region_that_was_kept(session: Session) -> None:
    session.set(region_on=True)
    shown = session.apply(session.handlers.fine_control.show(session.values))
    session.set(region=canvas(PAINTED, ground=shown["region_ground"].name))
    kept = session.handlers.fine_control.keep(session.values)
    session.set(region_kept=kept)
    values = session.handlers.named(session.values)
    del values["region"]  # does not travel with each stroke
    assert session.handlers.asking.request(values).controls[0].region_id == kept != ""
    assert session.handlers.asking.request(values | {"width": 96}).controls[0].region_id == ""


def test_a_region_stays_while_a_sketch_grows(session: Session) -> None:
    session.set(region_on=True, source="sketch", sketch=canvas(PAINTED, ground=""))
    first = session.apply(session.handlers.fine_control.show(session.values))
    session.set(sketch=canvas(255 - PAINTED, ground=""))
    second = session.apply(session.handlers.fine_control.show(session.values))
    assert second["region_ground"].name == first["region_ground"].name
    assert second["region"]["background"]["marks"] is None


def test_a_region_that_is_not_here_is_told(session: Session) -> None:
    source = stored(session.backend, np.full((48, 64, 3), 90))
    use = ControlUse(network="miniature-canny", kind="canny", map_id="", source_id=source, region_id="0" * 64)
    asked = GenerationRequest(base="miniature", width=64, height=48, controls=(use,))
    changes = brought_back(session, asked)
    assert "the region of the control" in changes["status"]
    assert changes["region_on"] is False


def test_all_maps_are_drawn_and_one_is_chosen(session: Session) -> None:
    maps = AllMaps(session.handlers, session.handlers.sources)
    strip = session.apply(maps.show(session.values, ENGLISH))["maps_strip"]
    assert strip.count("<img") == len(KINDS) == 7
    assert strip.count("disabled") == 3  # blur, colour grid and silhouette: no control here follows them
    assert 'data-kind="canny" aria-pressed="true"' in strip
    chosen: Any = Choice(KINDS.index("line_art"))
    assert session.apply(maps.use("miniature", chosen)) == {"kind": "line_art"}
    chosen = Choice(CLOSE)
    assert session.apply(maps.use("miniature", chosen)) == {"maps_strip": ""}
    chosen = Choice(KINDS.index("blur"))
    with pytest.raises(InputError) as caught:
        maps.use("miniature", chosen)
    assert caught.value.key == "no_network"
    session.set(photo=None)
    with pytest.raises(InputError) as caught:
        maps.show(session.values, ENGLISH)
    assert caught.value.key == "no_source"
