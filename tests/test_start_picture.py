"""Starting from a picture, without a browser: what is painted becomes a mask, and what came back is taken as it is."""

import base64
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cnxs import images
from cnxs.errors import InputError
from cnxs.request import GenerationRequest
from cnxs.ui import masks
from cnxs.ui.masks import Ground
from cnxs.ui.start_picture import CHANGE
from tests.fake_backend import FakeBackend
from tests.test_ui import Session, submitted

ASKED = GenerationRequest(base="miniature", prompt="a fox", width=64, height=48)


@pytest.fixture
def session(photo: Image.Image) -> Session:
    session = Session(FakeBackend())
    path = session.handlers.files.put_image(photo)
    session.set(photo=path, start_picture=path, width=64, height=48)
    return session


def canvas(pixels: np.ndarray, *, ground: str, strokes: int = 1) -> dict[str, Any]:
    """Return what the canvas sends of these grey pixels."""
    png = base64.b64encode(images.encode_png(Image.fromarray(pixels.astype(np.uint8)))).decode()
    empty = bool((pixels == 255).all())
    address = f"data:image/png;base64,{png}"
    return {"png": address, "width": 64, "height": 48, "strokes": strokes, "empty": empty, "ground": ground}


PAPER = np.full((48, 64), 255)
PAINTED = np.where(np.arange(64) < 20, 0, 255)[None].repeat(48, axis=0)


def stored(backend: FakeBackend, pixels: np.ndarray) -> str:
    return backend.put_image(images.encode_png(Image.fromarray(pixels.astype(np.uint8)).convert("RGB")))


def test_without_a_picture_nothing_is_said_of_one(session: Session) -> None:
    session.set(start_picture=None, change=0.3)
    asked = submitted(session)
    assert (asked.init_id, asked.mask_id, asked.change) == ("", "", 1.0)


def test_the_picture_is_brought_to_the_size_and_the_paint_is_its_mask(session: Session) -> None:
    shown = session.apply(session.handlers.start_picture.show(session.values))
    assert shown["mask"]["document_size"] == [64, 48]
    assert shown["mask"]["background"]["marks"] == ""
    session.set(mask=canvas(PAINTED, ground=shown["ground"].name), change=0.4)
    asked = submitted(session)
    assert asked.change == 0.4
    assert session.backend.get_image(asked.init_id).size == (64, 48)
    np.testing.assert_array_equal(np.asarray(session.backend.get_image(asked.mask_id))[..., 0], 255 - PAINTED)


def test_nothing_painted_is_no_mask(session: Session) -> None:
    shown = session.apply(session.handlers.start_picture.show(session.values))
    session.set(mask=canvas(PAPER, ground=shown["ground"].name, strokes=2))
    asked = submitted(session)
    assert asked.init_id
    assert (asked.mask_id, asked.change) == ("", CHANGE)


def test_another_size_keeps_what_was_painted_and_another_picture_does_not(session: Session, photo: Image.Image) -> None:
    first = session.apply(session.handlers.start_picture.show(session.values))
    session.set(width=80)
    wider = session.apply(session.handlers.start_picture.show(session.values))
    assert wider["ground"].name == first["ground"].name
    assert wider["mask"]["background"]["marks"] is None
    assert session.apply(session.handlers.start_picture.show(session.values)).keys() == {"mask_panel"}
    session.set(start_picture=session.handlers.files.put_image(photo.rotate(180)))
    other = session.apply(session.handlers.start_picture.show(session.values))
    assert other["ground"].name != first["ground"].name
    assert other["mask"]["background"]["marks"] == ""


def test_a_picture_alone_decides_the_size(session: Session) -> None:
    session.set(photo=None)
    shown = session.apply(session.handlers.start_picture.show(session.values))
    assert shown["width"] > shown["height"] > 200


def test_a_mask_that_came_back_is_used_to_the_pixel_until_it_is_painted_on() -> None:
    backend = FakeBackend()
    came = stored(backend, 255 - PAINTED)
    ground = Ground(name="a", picture="p", placed=(64, 48, "crop"), mask_id=came)
    softened = np.clip(PAINTED + 3, 0, 255)
    for value in (None, canvas(PAINTED, ground="older"), canvas(softened, ground="a", strokes=0)):
        assert masks.painted(backend, value, ground) == came
    painted = masks.painted(backend, canvas(np.zeros((48, 64)), ground="a"), ground)
    assert np.asarray(backend.get_image(painted)).min() == 255
    assert masks.painted(backend, canvas(PAPER, ground="a", strokes=0), ground) == ""


def test_a_start_comes_back_and_one_that_is_not_here_is_told(session: Session, photo: Image.Image) -> None:
    init = stored(session.backend, np.full((48, 64, 3), 90))
    mask = stored(session.backend, 255 - PAINTED)
    asked = replace(ASKED, init_id=init, mask_id=mask, change=0.3)
    changes = session.apply(session.handlers.restoring.bring_back(asked, "en"))
    assert "Everything is as it was" in changes["status"]
    assert changes["change"] == 0.3
    session.set(photo=None)
    again = submitted(session)
    assert (again.init_id, again.mask_id, again.change) == (init, mask, 0.3)
    for lost in ({"init_id": "0" * 64}, {"mask_id": "0" * 64}, {"init_id": "", "mask_id": ""}):
        changes = session.apply(session.handlers.restoring.bring_back(replace(asked, **lost), "en"))
        assert "the picture to start from" in changes["status"]
        assert changes["start_picture"] is None


def test_there_must_be_something_to_start_from(session: Session) -> None:
    start = session.handlers.start_picture
    for use, key in ((start.from_photo, "no_photo_to_start"), (start.from_result(lambda _: ""), "nothing_to_save")):
        with pytest.raises(InputError) as caught:
            use(None)
        assert caught.value.key == key
