"""The second pass, without a browser: a complete request at the new size, with every map drawn anew."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from cnxs import images
from cnxs.errors import InputError
from cnxs.request import ControlUse, GenerationRequest
from cnxs.ui.second_pass import CHANGE, FACTORS, SecondPass
from tests.fake_backend import FakeBackend
from tests.test_ui import Session

USE = ControlUse(network="miniature-canny", map_id="m", kind="canny", params=(("high", 200), ("low", 60)), end=0.7)
MADE = GenerationRequest(base="miniature", prompt="a fox", seed=5, width=256, height=192, steps=7, controls=(USE,))


@pytest.fixture
def session() -> Session:
    return Session(FakeBackend())


def test_all_stays_but_size_start_and_maps(session: Session, photo: Image.Image) -> None:
    source = session.backend.put_image(images.encode_png(photo))
    half = np.zeros((192, 256, 3), np.uint8)
    half[:, 128:] = 255
    region = session.backend.put_image(images.encode_png(Image.fromarray(half)))
    made = replace(MADE, mask_id="old", controls=(replace(USE, source_id=source, region_id=region),) * 2)
    finished = photo.resize((256, 192))
    asked = SecondPass(session.handlers).request(made, finished, 1.5)
    assert (asked.width, asked.height, asked.change, asked.mask_id) == (384, 288, CHANGE, "")
    assert session.backend.get_image(asked.init_id).size == (384, 288)
    for use in asked.controls:
        assert session.backend.get_image(use.map_id).size == (384, 288)
        assert np.asarray(session.backend.get_image(use.region_id))[:, [0, 383], 0].tolist() == [[0, 255]] * 288
        assert replace(use, map_id="m", region_id=region) == made.controls[0]
    kept = replace(asked, width=256, height=192, controls=made.controls, init_id="", change=1.0, mask_id="old")
    assert kept == made


@pytest.mark.parametrize("factor", FACTORS.values())
@pytest.mark.parametrize("side", [208, 256, 272])
def test_every_side_is_one_that_the_base_takes(session: Session, factor: float, side: int) -> None:
    made = replace(MADE, width=side, controls=())
    asked = SecondPass(session.handlers).request(made, Image.new("RGB", (side, 192)), factor)
    assert asked.width % 16 == asked.height % 16 == 0
    assert abs(asked.width - factor * side) <= 8


def test_a_map_whose_picture_is_not_known_is_refused(session: Session) -> None:
    with pytest.raises(InputError) as caught:
        SecondPass(session.handlers).request(MADE, Image.new("RGB", (256, 192)), 2.0)
    assert caught.value.key == "larger_without_source"


def test_without_a_finished_image_there_is_nothing_to_enlarge(session: Session) -> None:
    with pytest.raises(InputError) as caught:
        SecondPass(session.handlers).larger(2.0)(None, "me")
    assert caught.value.key == "nothing_to_save"
