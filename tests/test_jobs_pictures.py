import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from cnxs import images, pnginfo
from cnxs.errors import InputError
from cnxs.history import History
from cnxs.job import Clock, Job
from cnxs.protocol import Finished, Progress, Result
from cnxs.request import Axis, ControlUse
from cnxs.weights import Library
from tests.fake_engine import (
    REQUEST,
    FakeEngine,
    Gate,
    Make,
    studios,
)


@pytest.fixture
def make() -> Iterator[Make]:
    with studios() as make:
        yield make


@pytest.fixture
def gate() -> Gate:
    return Gate()


# --- pictures and the history --------------------------------------------------------------------------------------


@pytest.fixture
def upload() -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((90, 70), 60).convert("RGB").save(buffer, "PNG")
    return buffer.getvalue()


def test_a_picture_becomes_a_map_and_a_stored_image(make: Make, tmp_path: Path, upload: bytes) -> None:
    history = History(tmp_path)
    studio = make(history=history)
    source_id = studio.put_image(upload)
    drawn = studio.control_map(source_id, kind="canny", params={"low": 50}, width=64, height=48, placement="crop")
    assert drawn.map.size == drawn.placed.size == (64, 48)
    assert studio.get_image(drawn.map_id).tobytes() == drawn.map.tobytes()
    assert studio.get_image(drawn.placed_id).tobytes() == drawn.placed.tobytes()

    use = ControlUse(network="miniature-canny", map_id=drawn.map_id, source_id=source_id, kind="canny")
    request = replace(REQUEST, controls=(use,))
    job_id = studio.submit(replace(request, axes=(Axis(name="control_scale", values=(0, 1)),)), "ada")
    results = [event for event in studio.events(job_id) if isinstance(event, Result)]

    records = history.search(owner="ada")
    assert [record.record_id for record in records] == [result.record_id for result in results][::-1]
    assert records[0].request == results[1].request
    assert (records[0].edge_agreement, records[0].seconds) == (0.5, 0.5)
    assert history.images.get(source_id).tobytes() == images.load(upload).tobytes()
    with Image.open(io.BytesIO(history.png(results[1].record_id))) as stored:
        assert stored.tobytes() == results[1].image.tobytes()
    history.close()


def test_a_stored_image_can_be_made_again_in_a_new_run(make: Make, tmp_path: Path, upload: bytes) -> None:
    history = History(tmp_path)
    first = make(history=history)
    source_id = first.put_image(upload)
    map_id = first.control_map(source_id, kind="canny", params={}, width=64, height=48, placement="fit").map_id
    use = ControlUse(network="miniature-canny", map_id=map_id, source_id=source_id, kind="canny")
    done = first.submit(replace(REQUEST, controls=(use,)), "ada")
    list(first.events(done))
    data = first.png(done, 0)

    second = make(history=history)
    request = pnginfo.read(data).request
    assert request is not None
    assert second.get_image(request.controls[0].source_id).tobytes() == images.load(upload).tobytes()
    again = second.submit(request, "bob")
    list(second.events(again))
    assert second.png(again, 0) == data
    history.close()


def test_live_frames_leave_nothing_on_the_disk(make: Make, tmp_path: Path, upload: bytes) -> None:
    history = History(tmp_path)
    studio = make(history=history)
    map_id = studio.put_image(upload)
    use = ControlUse(network="miniature-scribble", map_id=map_id, source_id=map_id)
    list(studio.events(studio.submit(replace(REQUEST, width=90 // 16 * 16, height=64, live=True), "ada")))
    live = replace(REQUEST, width=64, height=48, live=True, controls=(replace(use, control_scale=0.0),))
    assert isinstance(list(studio.events(studio.submit(live, "ada")))[-1], Finished)
    assert not list(tmp_path.rglob("*.png"))
    history.close()


def test_bad_pictures_and_sizes_of_maps_are_refused(make: Make, upload: bytes) -> None:
    studio = make()
    with pytest.raises(InputError):
        studio.put_image(b"no picture")
    with pytest.raises(InputError):
        studio.get_image("../secret")
    source_id = studio.put_image(upload)
    for width, height in ((0, 64), (10**5, 10**5), (-8, 8)):
        with pytest.raises(InputError):
            studio.control_map(source_id, kind="canny", params={}, width=width, height=height, placement="crop")


def test_png_of_an_image_that_is_not_there_is_refused(make: Make) -> None:
    studio = make()
    job_id = studio.submit(REQUEST, "ada")
    list(studio.events(job_id))
    for cell in (1, -1, 99):
        with pytest.raises(InputError) as caught:
            studio.png(job_id, cell)
        assert caught.value.key == "no_such_image"


# --- parts ---------------------------------------------------------------------------------------------------------


def test_the_clock_counts_steps_of_all_images_and_leaves_loading_out() -> None:
    clock = Clock((replace(REQUEST, steps=10), replace(REQUEST, steps=10)), now=0.0)

    def progress(cell: int, step: int, steps: int = 10) -> Progress:
        return Progress(cell=cell, cells=2, step=step, steps=steps, seconds_left=7.0)

    assert clock.seconds_left(progress(0, 0), now=5.0) == 7.0
    clock.restart(now=100.0)
    assert clock.seconds_left(progress(0, 1), now=102.0) == pytest.approx(2.0 * 19)
    assert clock.seconds_left(progress(0, 4), now=104.0) == pytest.approx(1.0 * 16)
    clock.finish(0)
    assert clock.seconds_left(progress(1, 5, steps=5), now=110.0) == 0.0
    clock.restart(now=200.0)
    assert clock.seconds_left(progress(1, 5), now=201.0) == 7.0


def test_job_ids_are_not_to_be_guessed() -> None:
    assert len({Job(REQUEST, "ada").job_id for _ in range(100)}) == 100
    assert len(Job(REQUEST, "ada").job_id) == 32


def test_the_catalogue_is_asked_until_an_engine_is_there(make: Make) -> None:
    catalogue = replace(Library().models(), device="soon", networks=())
    studio = make(FakeEngine, catalogue=lambda: catalogue)
    assert studio.models() == replace(catalogue, notes=(("note.starting", {}),))
    list(studio.events(studio.submit(REQUEST, "ada")))
    assert studio.models().device == "fake"
