"""The page without a browser: values become requests by name, events become what is shown, errors become sentences."""

import dataclasses
import functools
import json
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from cnxs import images
from cnxs.errors import InputError
from cnxs.protocol import Restored
from cnxs.request import Axis, ControlUse, GenerationRequest
from cnxs.ui import examples, form, prints, view
from cnxs.ui.files import PictureFiles
from cnxs.ui.handlers import Handlers
from cnxs.ui.inputs import default_kind, prompt_column, source_column
from cnxs.ui.outputs import result_column
from cnxs.ui.page import _states
from tests.fake_backend import FakeBackend


@functools.cache
def components() -> dict[str, Any]:
    """Build the page's components once; their first values are never changed."""
    fields: dict[str, Any] = {}
    models = FakeBackend().models()
    with gr.Blocks(analytics_enabled=False):
        _states(fields)
        source_column(fields, models)
        prompt_column(fields, models)
        result_column(fields)
        fields["device"] = gr.HTML()
    return fields


class Session:
    """The page's components with their values, and handlers on a fake backend: a page without a browser."""

    def __init__(self, backend: FakeBackend) -> None:
        self.fields, self.backend = components(), backend
        self.handlers = Handlers(backend, self.fields, PictureFiles())
        self.handlers.frame_seconds = 0.0
        self.values = {component: getattr(component, "value", None) for component in self.fields.values()}
        self.set(network="miniature-canny", random_seed=False)

    def set(self, **values: Any) -> None:
        """Change values by name."""
        self.values |= {self.fields[name]: value for name, value in values.items()}

    def apply(self, updates: dict[Any, Any]) -> dict[str, Any]:
        """Take a handler's updates into the values; return them by name."""
        names = {component: name for name, component in self.fields.items()}
        for component, update in updates.items():
            value = update.get("value", self.values[component]) if isinstance(update, dict) else update
            self.values[component] = value
        return {names[component]: update for component, update in updates.items()}


ENGLISH = gr.Request(headers={"accept-language": "en-GB,en;q=0.9"})
GERMAN = gr.Request(headers={"accept-language": "de-DE,de;q=0.9"})


@pytest.fixture
def session(photo: Image.Image) -> Session:
    session = Session(FakeBackend())
    session.set(photo=session.handlers.files.put_image(photo))
    return session


def last(updates: Iterator[dict[Any, Any]]) -> dict[Any, Any]:
    return [*updates][-1]


def opened(path: str) -> Image.Image:
    return images.load(Path(path).read_bytes())


def submitted(session: Session) -> GenerationRequest:
    session.apply(last(session.handlers.generate(session.values, ENGLISH)))
    return session.backend.requests[-1]


# --- requests ----------------------------------------------------------------------------------------------------


def test_every_field_of_a_request_is_fed_by_the_component_of_its_name(session: Session) -> None:
    # Made of several values, or not offered by the page.
    elsewhere = {"controls", "axes", "loras", "threads", "live", "init_id", "mask_id", "change"}
    assert set(form.REQUEST_FIELDS) == {field.name for field in dataclasses.fields(GenerationRequest)} - elsewhere
    drawn = {"map_id", "params", "source_id", "gains", "prompt_half_only", "region_id"}
    assert set(form.CONTROL_FIELDS) == {field.name for field in dataclasses.fields(ControlUse)} - drawn
    assert set(form.REQUEST_FIELDS) | set(form.CONTROL_FIELDS) <= set(session.fields)


def test_each_value_reaches_the_request_under_its_name(session: Session) -> None:
    given = {
        "prompt": "a fox", "negative_prompt": "text", "width": 192, "height": 320, "placement": "fit", "seed": 7,
        "steps": 9, "guidance_scale": 5.5, "guidance_rescale": 0.6, "sampler": "euler", "clip_skip": 2,
    }  # fmt: skip
    control = {"control_scale": 0.7, "start": 0.1, "end": 0.8, "kind": "canny"}
    session.set(**given, **control, **{"param.canny.low": 50})
    request = submitted(session)
    assert {name: getattr(request, name) for name in given} == given
    assert {name: getattr(request.controls[0], name) for name in control} == control
    assert dict(request.controls[0].params)["low"] == 50


def test_every_parameter_of_every_kind_has_its_slider(session: Session) -> None:
    for kind in session.backend.models().kinds:
        for param in kind.params:
            assert session.fields[f"param.{kind.name}.{param.name}"].value == param.default


def test_several_images_differ_in_their_seed(session: Session) -> None:
    session.set(seed=5, count=3)
    assert [cell.seed for cell in submitted(session).cells()] == [5, 6, 7]


def test_a_comparison_starts_without_control_and_keeps_one_seed(session: Session) -> None:
    session.set(strengths="1  0,5 0.25", seed=3)
    session.apply(last(session.handlers.compare(session.values, ENGLISH)))
    cells = session.backend.requests[-1].cells()
    assert [cell.controls[0].control_scale for cell in cells] == [0, 0.25, 0.5, 1]
    assert {cell.seed for cell in cells} == {3}


def test_a_new_seed_is_drawn_for_every_image_when_asked(session: Session) -> None:
    session.set(random_seed=True)
    assert submitted(session).seed != submitted(session).seed


def test_words_alone_need_strength_zero(session: Session) -> None:
    session.set(photo=None)
    with pytest.raises(InputError) as caught:
        submitted(session)
    assert caught.value.key == "no_source"
    session.set(control_scale=0)
    assert submitted(session).controls == ()


def test_an_empty_sketch_is_told(session: Session) -> None:
    session.set(source="sketch", sketch=None, kind="scribble")
    with pytest.raises(InputError) as caught:
        submitted(session)
    assert caught.value.key == "empty_sketch"


def test_an_emptied_number_is_told(session: Session) -> None:
    session.set(steps=None)
    with pytest.raises(InputError) as caught:
        submitted(session)
    assert caught.value.key == "value_missing"


def test_the_network_follows_the_kind_even_before_the_menu_does(session: Session) -> None:
    session.set(kind="scribble", network="sd15-canny")
    assert submitted(session).controls[0].network == "miniature-scribble"


def test_generating_waits_for_the_models(session: Session) -> None:
    session.backend.starting = True
    updates = session.handlers.generate(session.values, ENGLISH)
    assert "loaded" in session.apply(next(updates))["status"]
    assert session.backend.requests == []
    session.backend.starting = False
    list(updates)
    assert len(session.backend.requests) == 1


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("1", (0, 1)),
        ("0.5 1", (0, 0.5, 1)),
        ("0,5; 1,5", (0, 0.5, 1.5)),
        ("0.5,1,2", (0, 0.5, 1, 2)),
        ("0 0 2", (0, 2)),
    ],
)
def test_strengths_are_read(given: str, expected: tuple[float, ...]) -> None:
    assert form.strengths(given) == expected


@pytest.mark.parametrize(
    ("given", "key"),
    [("", "strengths_empty"), ("0", "strengths_empty"), ("strong", "strength_unreadable"),
     ("2.5", "strength_out_of_range"), ("-1", "strength_out_of_range"), ("nan", "strength_out_of_range")],
)  # fmt: skip
def test_bad_strengths_are_told(given: str, key: str) -> None:
    with pytest.raises(InputError) as caught:
        form.strengths(given)
    assert caught.value.key == key


# --- kinds and menus ---------------------------------------------------------------------------------------------


def test_only_kinds_with_a_network_are_offered_and_near_ones_are_marked(session: Session) -> None:
    models = session.backend.models()
    miniature = {choice.kind.name: choice for choice in form.kind_choices(models, "miniature")}
    assert not miniature["scribble"].near
    assert miniature["line_art"].near
    assert "blur" not in miniature  # nothing was trained for it
    assert form.kind_choices(models, "sd15")[1].near  # its scribbles drive the Canny network


def test_each_source_has_its_own_kind() -> None:
    kinds = ["canny", "scribble", "as_is"]
    assert [default_kind(source, kinds) for source in ("photo", "sketch", "map")] == kinds
    assert default_kind("sketch", ["canny"]) == "canny"
    assert default_kind("photo", []) is None


def test_a_new_picture_decides_the_size_once(session: Session) -> None:
    changes = session.apply(session.handlers.sources.preview(session.values, ENGLISH))
    assert (changes["width"], changes["height"]) == (320, 208)  # 96 x 64 at the area of 256 x 256, in steps of 16
    session.set(width=256, height=256)
    changes = session.apply(session.handlers.sources.preview(session.values, ENGLISH))
    assert "width" not in changes
    assert opened(changes["control_map"]["value"]).size == (256, 256)


def test_the_shown_map_is_the_map_that_is_used(session: Session) -> None:
    shown = session.apply(session.handlers.sources.preview(session.values, ENGLISH))["control_map"]["value"]
    used = session.backend.get_image(submitted(session).controls[0].map_id)
    np.testing.assert_array_equal(np.asarray(opened(shown)), np.asarray(used))


def test_a_file_that_is_no_picture_is_told_beside_the_map(session: Session) -> None:
    session.set(photo=session.handlers.files.put(b"no picture"))
    changes = session.apply(session.handlers.sources.preview(session.values, ENGLISH))
    assert len(changes["map_note"]) > 40
    assert changes["control_map"]["visible"] is False


def test_the_cost_of_a_comparison_is_told_once_an_image_was_measured(session: Session) -> None:
    session.set(strengths="0.5 1", width=256, height=256, steps=20)
    assert "3 images" in session.handlers.menus.cost(session.values, ENGLISH)
    session.set(pace={view.pace_key("miniature", 1): 1.0 / (256 * 256 * 20)})
    assert "3 images, about 3 s" in session.handlers.menus.cost(session.values, ENGLISH)


# --- following a job ---------------------------------------------------------------------------------------------


def follow(session: Session) -> list[dict[str, Any]]:
    job, owner = session.values[session.fields["job"]], session.values[session.fields["owner"]]
    return [session.apply(updates) for updates in session.handlers.follow(job, owner, None, ENGLISH)]


def test_a_job_is_shown_from_its_first_step_to_the_file_with_everything_in_it(session: Session) -> None:
    session.set(steps=3)
    submitted(session)
    shown = follow(session)
    statuses = [updates["status"] for updates in shown if "status" in updates]
    assert any("Step 2 of 3" in status for status in statuses)
    assert "Done." in statuses[-1]
    job = session.values[session.fields["job"]]
    path = shown[-1]["stage"]
    assert Path(path).read_bytes() == session.backend.png(job, 0)
    assert shown[-1]["download"]["value"] == path
    assert shown[-1]["pace"][view.pace_key("miniature", 1)] > 0


def test_a_fast_job_does_not_flood_the_browser(session: Session) -> None:
    session.set(steps=40)
    submitted(session)
    session.handlers.frame_seconds = 1000.0
    shown = follow(session)
    assert len(shown) < 8  # of 80 events: start, first step, image, end
    assert "Done." in shown[-1]["status"]


def test_a_comparison_shows_captions_and_selects_the_current_strength(session: Session) -> None:
    session.set(strengths="0.5 1", steps=1, control_scale=0.5)
    session.apply(last(session.handlers.compare(session.values, ENGLISH)))
    strip = unescape(follow(session)[-1]["strip"])
    for caption in ("control map", "no control", "strength 0.5", "strength 1", "45 % of the lines"):
        assert caption in strip
    assert 'data-cell="1" aria-pressed="true"' in strip


def test_a_failed_job_tells_its_sentence_and_gives_the_page_back(session: Session) -> None:
    session.set(prompt="fail")
    submitted(session)
    final = follow(session)[-1]
    assert "cannot be read" in final["status"]
    assert 'role="alert"' in final["status"]
    assert final["generate"]["visible"] is True


def test_someone_elses_job_is_not_shown(session: Session) -> None:
    submitted(session)
    job = session.values[session.fields["job"]]
    assert list(last(session.handlers.follow(job, "another", None, ENGLISH)).values()) == [gr.update()]


def test_a_result_of_the_strip_hands_its_strength_on(session: Session) -> None:
    session.set(strengths="0.5 1", steps=1)
    session.apply(last(session.handlers.compare(session.values, ENGLISH)))
    follow(session)
    shown = session.values[session.fields["view"]]
    changes = session.apply(session.handlers.select(shown, gr.EventData(None, {"cell": 1}), ENGLISH))
    assert changes["control_scale"] == 0.5
    with pytest.raises(InputError):
        session.handlers.select(shown, gr.EventData(None, {"cell": 9}), ENGLISH)


def test_captions_use_the_language_of_the_browser() -> None:
    request = GenerationRequest(
        base="miniature",
        controls=(ControlUse(network="n", map_id="m"),),
        axes=(Axis(name="control_scale", values=(0.0, 0.25)),),
    )
    shown = view.JobView(job_id="j", request=request)
    assert prints.caption(shown, 0, "de") == "ohne Steuerung"
    assert prints.caption(shown, 1, "de") == "Stärke 0,25"


def test_prompts_are_escaped_where_they_become_html() -> None:
    hostile = "<img src=x onerror=alert(1)>"
    assert "<img" not in view.note_html(hostile)
    shown = view.JobView(job_id=f'"{hostile}', request=GenerationRequest(base="miniature"))
    assert "<img" not in view.status_html(shown, "en")


# --- coming back -------------------------------------------------------------------------------------------------


def test_a_new_page_gets_an_owner_and_finds_nothing(session: Session) -> None:
    changes = session.apply(session.handlers.arrive("", ENGLISH))
    assert len(changes["owner"]) >= 32
    guessable = session.apply(session.handlers.arrive(json.dumps({"owner": "me"}), ENGLISH))
    assert guessable["owner"] not in ("me", changes["owner"])
    assert "job" not in changes


def test_a_reloaded_page_finds_its_job_and_everything_that_was_set(session: Session) -> None:
    session.set(prompt="a fox", seed=11, steps=4, kind="line_art")
    submitted(session)
    kept = {"job": session.values[session.fields["job"]], "prompt": "a fox", "source": "photo"}
    owner = session.values[session.fields["owner"]]
    changes = session.apply(session.handlers.arrive(json.dumps({"owner": owner, **kept}), ENGLISH))
    assert (changes["job"], changes["owner"]) == (session.values[session.fields["job"]], owner)
    assert (changes["prompt"], changes["seed"], changes["steps"]) == ("a fox", 11, 4)
    assert changes["kind"]["value"] == "line_art"
    assert opened(changes["photo"]).size == (96, 64)


def test_a_png_brings_everything_back_and_says_what_it_cannot(session: Session, tmp_path: Path) -> None:
    session.set(prompt="a fox", seed=11, steps=4, kind="line_art", control_scale=0.7)
    submitted(session)
    asked = session.backend.jobs(session.values[session.fields["owner"]])[0].request.cells()[0]
    file = tmp_path / "made.png"
    file.write_bytes(b"x")

    session.backend.restored = Restored(request=asked, unmapped=("Hires upscale: 2",))
    changes = session.apply(session.handlers.restoring.file(str(file), ENGLISH))
    assert (changes["prompt"], changes["seed"], changes["steps"], changes["control_scale"]) == ("a fox", 11, 4, 0.7)
    assert opened(changes["photo"]).size == (96, 64)
    assert changes["random_seed"] is False
    assert "Hires upscale: 2" in changes["status"]

    elsewhere = dataclasses.replace(asked.controls[0], source_id="0" * 64)
    session.backend.restored = Restored(request=dataclasses.replace(asked, controls=(elsewhere,)))
    changes = session.apply(session.handlers.restoring.file(str(file), ENGLISH))
    assert changes["prompt"] == "a fox"
    assert "photo" not in changes

    session.backend.restored = Restored(request=None)
    with pytest.raises(InputError) as caught:
        session.handlers.restoring.file(str(file), ENGLISH)
    assert caught.value.key == "nothing_to_restore"


def test_two_tabs_of_one_browser_do_not_mix(session: Session) -> None:
    submitted(session)
    owner = session.values[session.fields["owner"]]
    other_tab = session.handlers.arrive(json.dumps({"owner": owner, "alone": False}), ENGLISH)
    assert session.fields["job"] not in other_tab


@pytest.mark.parametrize("arrival", ["", "nonsense", "[]", '{"job": 3, "source": "nowhere", "prompt": null}'])
def test_a_damaged_memory_of_the_browser_is_no_problem(session: Session, arrival: str) -> None:
    assert session.apply(session.handlers.arrive(arrival, GERMAN))["prompt"] == ""


def test_every_example_is_laid_out_with_its_kind(session: Session) -> None:
    assert len(examples.read()) >= 4
    for number, example in enumerate(examples.read()):
        changes = session.apply(session.handlers.menus.example("miniature", gr.EventData(None, {"cell": number})))
        assert (changes["kind"], changes["prompt"]) == (example.kind, example.prompt)
        assert images.load(example.png).size == opened(changes["photo"]).size
