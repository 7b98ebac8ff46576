"""A region and a second control with the bundled model: the page's pictures show what was set."""

import contextlib
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from cnxs import images, metrics
from cnxs.backend import Engine
from cnxs.history import History
from cnxs.jobs import Studio
from cnxs.store import ImageStore
from cnxs.weights import Library
from tests.test_restoring import finished
from tests.test_start_picture import canvas
from tests.test_ui import Session

SIZE = 256
LEFT, RIGHT = (30, 70, 120, 190), (140, 60, 230, 200)  # boxes
WIDE, SMALL = (20, 40, 236, 216), (70, 85, 186, 171)  # around the middle


def drawn(box: tuple[int, int, int, int]) -> Image.Image:
    picture = Image.new("RGB", (SIZE, SIZE), "white")
    ImageDraw.Draw(picture).ellipse(box, fill=(200, 30, 30), outline="black", width=3)
    return picture


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    engine = Engine(torch.device("cpu"), Library(), threads=1)
    history = History(tmp_path_factory.mktemp("outputs"))
    made = Studio([engine], images=ImageStore(None), history=history, catalogue=engine.models)
    with contextlib.closing(history), made as studio:
        studio.start()
        yield studio


@pytest.fixture
def session(studio: Studio) -> Session:
    session = Session(studio)  # as good a backend as the fake one
    session.set(photo=session.handlers.files.put_image(drawn(LEFT)), width=SIZE, height=SIZE)
    session.set(prompt="a red ball", seed=4, steps=6)
    return session


def painted(session: Session, **values: object) -> np.ndarray:
    """Return the pixels that the page's values make."""
    session.set(**values)
    finished(session)
    png = session.backend.png(session.values[session.fields["job"]], 0)
    return np.asarray(images.load(png), np.float32)


def test_outside_of_the_region_the_words_are_free(session: Session) -> None:
    free, steered = painted(session, control_scale=0), painted(session, control_scale=1)
    session.set(region_on=True)
    shown = session.apply(session.handlers.fine_control.show(session.values))
    left = np.arange(SIZE)[None].repeat(SIZE, axis=0) < SIZE / 2
    session.set(region=canvas(np.where(left, 0, 255), ground=shown["region_ground"].name))
    made = painted(session)
    inside, outside = (np.abs(made - free)[side].mean() / np.abs(steered - free)[side].mean() for side in (left, ~left))
    assert outside < 0.75 * inside


def follows(pixels: np.ndarray, box: tuple[int, int, int, int]) -> float:
    """Return how well the edges of a picture agree with those of what was drawn."""
    edges, wanted = (metrics.canny_edges(picture) for picture in (Image.fromarray(pixels.astype(np.uint8)), drawn(box)))
    return metrics.edge_agreement(edges, wanted).f


def test_two_pictures_are_followed_at_once(session: Session) -> None:
    alone = painted(session)
    session.set(
        second_on=True,
        second_kind="scribble",
        second_network="miniature-scribble",
        second_control_scale=1,
    )
    both = painted(session, second_picture=session.handlers.files.put_image(drawn(RIGHT)))
    assert follows(alone, LEFT) > 0.5 > 0.1 > follows(alone, RIGHT)
    assert min(follows(both, LEFT), follows(both, RIGHT)) > 0.4


def test_each_picture_is_followed_in_its_own_part(session: Session) -> None:
    session.set(photo=session.handlers.files.put_image(drawn(WIDE)), region_on=True)
    shown = session.apply(session.handlers.fine_control.show(session.values))
    left = np.arange(SIZE)[None].repeat(SIZE, axis=0) < SIZE / 2
    session.set(region=canvas(np.where(left, 0, 255), ground=shown["region_ground"].name))
    session.set(
        second_on=True,
        second_kind="scribble",
        second_network="miniature-scribble",
        second_control_scale=1,
        second_picture=session.handlers.files.put_image(drawn(SMALL)),
    )
    apart = painted(session, second_where="unpainted")
    assert min(agreement(apart, left, WIDE), agreement(apart, ~left, SMALL)) > 0.6
    assert max(agreement(apart, left, SMALL), agreement(apart, ~left, WIDE)) < 0.2
    same = painted(session, second_where="painted")  # both on the left, none on the right
    assert agreement(same, ~left, SMALL) < 0.4


def agreement(pixels: np.ndarray, part: np.ndarray, box: tuple[int, int, int, int]) -> float:
    """Return how well the edges in a part of a picture agree with those of what was drawn."""
    made, wanted = (
        metrics.canny_edges(picture) & part for picture in (Image.fromarray(pixels.astype(np.uint8)), drawn(box))
    )
    return metrics.edge_agreement(made, wanted).f
