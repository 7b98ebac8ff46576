"""Settings that come back: what the page cannot show is listed, and the rest is laid out all the same."""

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cnxs import images, settings
from cnxs.backend import Engine
from cnxs.errors import InputError
from cnxs.history import History
from cnxs.jobs import Studio
from cnxs.protocol import Result
from cnxs.request import ControlUse, GenerationRequest
from cnxs.store import ImageStore
from cnxs.weights import Library
from tests.fake_backend import FakeBackend
from tests.test_ui import ENGLISH, Session

USE = ControlUse(network="miniature-canny", kind="line_art", map_id="", control_scale=0.6, start=0.1, end=0.9)
ASKED = GenerationRequest(base="miniature", prompt="a fox", seed=11, width=192, height=160, steps=7, controls=(USE,))


@pytest.fixture
def session() -> Session:
    return Session(FakeBackend())


def brought_back(session: Session, asked: GenerationRequest) -> dict[str, Any]:
    return session.apply(session.handlers.restoring.bring_back(asked, "en"))


def test_everything_is_laid_out_and_the_size_is_kept(session: Session, photo: Image.Image) -> None:
    source = session.backend.put_image(Path(session.handlers.files.put_image(photo)).read_bytes())
    asked = replace(ASKED, controls=(replace(USE, source_id=source),))
    changes = brought_back(session, asked)
    values = {name: changes[name] for name in ("prompt", "seed", "width", "height", "steps", "control_scale", "end")}
    assert values == {
        "prompt": "a fox", "seed": 11, "width": 192, "height": 160, "steps": 7, "control_scale": 0.6, "end": 0.9,
    }  # fmt: skip
    assert changes["kind"]["value"] == "line_art"
    assert "Everything is as it was" in changes["status"]
    # The picture has another shape than the output: it must not decide the size anew.
    preview = session.apply(session.handlers.sources.preview(session.values, ENGLISH))
    assert "width" not in preview
    assert images.load(Path(preview["control_map"]["value"]).read_bytes()).size == (192, 160)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"base": "somebodys-own"}, "Base model: somebodys-own"),
        ({"controls": (replace(USE, kind="colour_grid"),)}, "colour_grid"),
        ({"controls": (replace(USE, network="mine"),)}, "Control network: mine"),
        ({"controls": (USE, replace(USE, network="second"))}, "second"),
        ({"controls": (replace(USE, source_id="0" * 64),)}, "the picture to follow"),
        ({"loras": (("ink", 0.5),)}, "LoRA: ink"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_what_cannot_be_restored_is_listed(session: Session, changed: dict[str, Any], told: str) -> None:
    changes = brought_back(session, replace(ASKED, **changed))
    assert told in changes["status"]
    assert changes["prompt"] == "a fox"


def test_words_alone_come_back_without_control(session: Session) -> None:
    assert brought_back(session, replace(ASKED, controls=()))["control_scale"] == 0


def test_a_settings_file_is_read_and_a_damaged_one_refused(session: Session, tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    file.write_text(settings.to_json(ASKED), "utf-8")
    assert session.apply(session.handlers.restoring.file(str(file), ENGLISH))["seed"] == 11
    for content in (b"{}", b"\xff\xfe", b"[1]", settings.to_json(ASKED).encode()[:-9]):
        file.write_bytes(content)
        with pytest.raises(InputError) as caught:
            session.handlers.restoring.file(str(file), ENGLISH)
        assert caught.value.key == "settings_damaged"


def test_a_damaged_link_is_told_and_changes_nothing(session: Session) -> None:
    changes = session.apply(session.handlers.restoring.link("damaged", ENGLISH))
    assert set(changes) == {"status", "link"}
    assert 'role="alert"' in changes["status"]
    linked = session.apply(session.handlers.restoring.link(settings.to_link(ASKED), ENGLISH))
    assert linked["seed"] == 11
    assert "the picture to follow" in linked["status"]


def test_a_chosen_network_stays_where_it_fits(session: Session) -> None:
    use_kind = session.handlers.menus.use_kind
    brought_back(session, replace(ASKED, controls=(replace(USE, kind="scribble"),)))
    assert session.values[session.fields["network_for"]] == "scribble"
    keep = session.apply(
        use_kind("miniature", "scribble", "miniature-canny", session.values[session.fields["network_for"]])
    )
    assert keep["network"]["value"] == "miniature-canny"
    # Where it was chosen for another kind, that kind's own leads, though the old one could follow as well.
    other = session.apply(use_kind("miniature", "scribble", "miniature-canny", "canny"))
    assert other["network"]["value"] == "miniature-scribble"


def test_a_png_of_the_history_gives_the_same_pixels_again(tmp_path: Path, photo: Image.Image) -> None:
    engine = Engine(torch.device("cpu"), Library(), threads=1)
    history = History(tmp_path / "outputs")
    studio = Studio([engine], images=ImageStore(None), history=history, catalogue=engine.models)
    with studio, contextlib.closing(history):
        studio.start()
        first, second = Session(studio), Session(studio)
        first.set(photo=first.handlers.files.put_image(photo), prompt="a red apple", seed=3, steps=3, control_scale=0.8)
        made = finished(first)
        file = tmp_path / "made.png"
        file.write_bytes(history.png(made))
        second.apply(second.handlers.restoring.file(str(file), ENGLISH))
        again = finished(second)
        assert made != again
        assert history.get(again).request == history.get(made).request
        pictures = [np.asarray(images.load(history.png(record))) for record in (made, again)]
        np.testing.assert_array_equal(*pictures)
        assert pictures[0].std() > 5


def finished(session: Session) -> str:
    """Generate what the page describes; return the id of its record."""
    session.apply(list(session.handlers.generate(session.values, ENGLISH))[-1])
    events = session.backend.events(session.values[session.fields["job"]])
    return next(event.record_id for event in events if isinstance(event, Result))
