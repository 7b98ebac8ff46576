import gc
import random
import threading
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from cnxs.errors import InputError, UnavailableError
from cnxs.history import History
from cnxs.jobs import Limits, Studio
from cnxs.protocol import Cancelled, Failed, Finished, Progress, Result
from cnxs.request import ControlUse
from cnxs.store import ImageStore
from cnxs.weights import Library
from tests.fake_engine import (
    PATIENCE,
    REQUEST,
    STRIP,
    FakeEngine,
    Gate,
    Make,
    picture,
    positions,
    studios,
    types_of,
)


@pytest.fixture
def make() -> Iterator[Make]:
    with studios() as make:
        yield make


@pytest.fixture
def gate() -> Gate:
    return Gate()


# --- the queue -----------------------------------------------------------------------------------------------------


def test_jobs_run_in_order_and_their_places_are_told(make: Make, gate: Gate) -> None:
    studio = make(gate=gate)
    first, second, third, fourth = (studio.submit(replace(REQUEST, seed=i), f"owner {i}") for i in range(4))
    gate.wait_for_arrivals(1)
    stream = studio.events(fourth)
    places = positions(stream, 1)
    studio.cancel(third, "owner 2")
    places += positions(stream, 1)
    gate.allow(4)
    list(studio.events(first))
    places += positions(stream, 1)
    gate.open()
    assert places == [3, 2, 1]
    assert isinstance(list(studio.events(second))[-1], Finished)
    assert isinstance(list(stream)[-1], Finished)


def test_a_full_queue_and_too_many_jobs_of_one_owner_are_refused(make: Make, gate: Gate) -> None:
    studio = make(gate=gate, limits=Limits(waiting_jobs=3, jobs_per_owner=2))
    first = studio.submit(REQUEST, "ada")
    gate.wait_for_arrivals(1)
    studio.submit(REQUEST, "ada")
    with pytest.raises(InputError) as caught:
        studio.submit(REQUEST, "ada")
    assert caught.value.key == "too_many_jobs"
    studio.submit(REQUEST, "bob")
    studio.submit(REQUEST, "bob")
    with pytest.raises(InputError) as caught:
        studio.submit(REQUEST, "cyd")
    assert caught.value.key == "queue_full"
    assert len(studio.jobs("ada")) == 2

    studio.cancel(first, "ada")  # what is being cancelled no longer counts
    with pytest.raises(InputError) as caught:
        studio.submit(REQUEST, "ada")
    assert caught.value.key == "queue_full"
    gate.open()
    list(studio.events(first))


def test_a_job_with_too_many_pixels_is_refused(make: Make) -> None:
    studio = make(limits=Limits(job_pixels=10**6))
    with pytest.raises(InputError) as caught:
        studio.submit(replace(STRIP, width=640, height=640), "ada")
    assert caught.value.key == "job_too_large"


def test_old_jobs_are_forgotten_oldest_first(make: Make) -> None:
    studio = make(limits=Limits(kept_jobs=3))
    ids = [studio.submit(replace(REQUEST, seed=i), "ada") for i in range(3)]
    for job_id in ids:
        list(studio.events(job_id))
    for i in range(3, 6):
        ids.append(studio.submit(replace(REQUEST, seed=i), f"owner {i}"))
        list(studio.events(ids[-1]))
    assert [info.job_id for owner in ("ada", "owner 3", "owner 4", "owner 5") for info in studio.jobs(owner)] == ids[3:]
    with pytest.raises(InputError):
        studio.png(ids[0], 0)


def test_the_pixels_in_memory_are_bounded(make: Make) -> None:
    studio = make(limits=Limits(kept_pixels=2 * 64 * 48))
    for i in range(5):
        list(studio.events(studio.submit(replace(REQUEST, seed=i), "ada")))
    assert [info.request.seed for info in studio.jobs("ada")] == [3, 4]
    list(studio.events(studio.submit(STRIP, "ada")))
    assert [info.request for info in studio.jobs("ada")] == [STRIP]  # the newest stays, whatever its size


# --- live frames ---------------------------------------------------------------------------------------------------


def test_a_live_frame_replaces_its_owners_older_live_frames_only(make: Make, gate: Gate, tmp_path: Path) -> None:
    history = History(tmp_path)
    studio = make(gate=gate, history=history, limits=Limits(jobs_per_owner=2))
    live = replace(REQUEST, live=True)
    other = studio.submit(live, "bob")
    gate.wait_for_arrivals(1)
    normal = studio.submit(REQUEST, "ada")
    frames = [studio.submit(replace(live, seed=i), "ada") for i in range(5)]

    assert [info.job_id for info in studio.jobs("ada")] == [normal, frames[-1]]
    newer = studio.submit(replace(live, seed=9), "bob")
    gate.open()
    assert types_of(list(studio.events(newer)))[-1] is Finished
    assert types_of(list(studio.events(normal)))[-1] is Finished
    (result,) = [event for event in studio.events(frames[-1]) if isinstance(event, Result)]
    assert result.record_id == ""
    assert [info.job_id for info in studio.jobs("bob")] == [newer]
    with pytest.raises(InputError):
        studio.events(other)
    assert [record.request.live for record in history.search()] == [False]
    history.close()


def test_a_running_live_frame_stops_within_one_step(make: Make, gate: Gate) -> None:
    studio = make(gate=gate)
    stream = studio.events(studio.submit(replace(REQUEST, live=True), "ada"))
    gate.wait_for_arrivals(1)
    newest = studio.submit(replace(REQUEST, live=True, seed=1), "ada")
    gate.open()
    assert types_of(list(stream))[-2:] == [Progress, Cancelled]
    assert types_of(list(studio.events(newest)))[-1] is Finished


# --- several workers, starting and closing -------------------------------------------------------------------------


def test_two_workers_share_the_jobs_and_mix_nothing(make: Make) -> None:
    gates = [Gate(), Gate()]
    engines = [FakeEngine(f"device {i}", gate=gate) for i, gate in enumerate(gates)]
    store = ImageStore(None)
    studio = make(*engines, images=store, limits=Limits(jobs_per_owner=100))
    maps = [store.put(Image.effect_noise((64, 48), 50).convert("RGB")) for _ in range(4)]
    requests = [
        replace(STRIP, prompt=f"p {i}", controls=(ControlUse(network="miniature-canny", map_id=maps[i % 4]),))
        for i in range(20)
    ]
    ids = [studio.submit(request, f"owner {i % 3}") for i, request in enumerate(requests)]
    for gate in gates:
        gate.wait_for_arrivals(1)  # both devices have a job
    for gate in gates:
        gate.open()

    for job_id, request in zip(ids, requests, strict=True):
        events = list(studio.events(job_id))
        assert {event.job_id for event in events} == {job_id}
        results = [event for event in events if isinstance(event, Result)]
        assert [r.image.tobytes() for r in results] == [picture(c, store).tobytes() for c in request.cells()]
        assert [r.request for r in results] == [replace(c, threads=1) for c in request.cells()]
    assert all(len(engine.thread_names) == 1 for engine in engines)
    assert engines[0].thread_names != engines[1].thread_names
    assert studio.models().device == "device 0, device 1"


def test_before_the_models_are_there_the_page_can_choose_and_jobs_wait(make: Make) -> None:
    may_start = threading.Event()
    makers: list[int] = []

    def factory() -> FakeEngine:
        makers.append(threading.get_ident())
        assert may_start.wait(PATIENCE)
        return FakeEngine("slow")

    studio = make(factory)
    assert makers == []
    models = studio.models()
    assert models.bases[0].name == "miniature"
    assert models.notes == (("note.starting", {}),)
    with pytest.raises(UnavailableError):
        studio.count_tokens("miniature", "a fox")
    with pytest.raises(InputError):
        studio.submit(replace(REQUEST, width=65), "ada")
    unknown = studio.submit(replace(REQUEST, base="own"), "ada")
    job_id = studio.submit(REQUEST, "ada")
    assert [info.state for info in studio.jobs("ada")] == ["queued", "queued"]

    may_start.set()
    assert isinstance(list(studio.events(job_id))[-1], Finished)
    failed = list(studio.events(unknown))[-1]
    assert isinstance(failed, Failed)
    assert failed.error.key == "unknown_base"
    assert makers != [threading.get_ident()]
    assert len(makers) == 1
    assert studio.models().notes == ()
    assert studio.count_tokens("miniature", "a fox") == (2, 75)


def test_when_no_device_starts_every_job_fails_with_a_sentence(make: Make, caplog) -> None:
    def broken() -> FakeEngine:
        raise ImportError("no torch")

    studio = make(broken)
    job_id = studio.submit(REQUEST, "ada")
    last = list(studio.events(job_id))[-1]
    assert isinstance(last, Failed)
    assert "no torch" in last.error.sentence()
    assert "Traceback" in caplog.text
    with pytest.raises(UnavailableError, match="no torch"):
        studio.submit(REQUEST, "ada")
    assert studio.models().notes == (("note.device_failed", {"reason": "no torch"}),)


def test_a_device_that_does_not_start_leaves_the_work_to_the_others(make: Make) -> None:
    def broken() -> FakeEngine:
        raise ImportError("no torch")

    studio = make(broken, FakeEngine())
    for i in range(4):
        job_id = studio.submit(replace(REQUEST, seed=i), "ada")
        assert isinstance(list(studio.events(job_id))[-1], Finished)


def test_close_ends_everything(gate: Gate) -> None:
    with Studio([FakeEngine(gate=gate)], images=ImageStore(None), history=None, catalogue=Library().models) as studio:
        running, waiting = studio.submit(REQUEST, "ada"), studio.submit(REQUEST, "ada")
        gate.wait_for_arrivals(1)
        gate.allow(1)
    for job_id in (running, waiting):
        assert isinstance(list(studio.events(job_id))[-1], Cancelled)
    with pytest.raises(UnavailableError):
        studio.submit(REQUEST, "ada")
    studio.close()


def test_a_forgotten_job_frees_its_images(make: Make) -> None:
    studio = make(limits=Limits(kept_jobs=1))
    (*_, result, _) = studio.events(studio.submit(REQUEST, "ada"))
    assert isinstance(result, Result)
    image = weakref.ref(result.image)
    del result
    list(studio.events(studio.submit(replace(REQUEST, seed=1), "ada")))
    gc.collect()
    assert image() is None


def test_many_clients_that_cancel_and_reload_get_their_own_images(make: Make) -> None:
    engines = [FakeEngine("a"), FakeEngine("b")]
    studio = make(*engines, limits=Limits(waiting_jobs=6, jobs_per_owner=3, kept_jobs=1000))
    outcomes: list[str] = []

    def client(number: int) -> None:
        dice, owner = random.Random(number), f"owner {number}"
        for turn in range(12):
            request = replace(STRIP, prompt=f"{number}.{turn}", live=dice.random() < 0.3)
            try:
                job_id = studio.submit(request, owner)
            except InputError as error:
                outcomes.append(error.key)
                continue
            if dice.random() < 0.5:
                next(studio.events(job_id))  # a page that reloads
            if dice.random() < 0.3:
                studio.cancel(job_id, owner)
            events = list(studio.events(job_id))
            for event in events:
                assert event.job_id == job_id
                if isinstance(event, Result):
                    expected = picture(request.cells()[event.cell], ImageStore(None))
                    assert event.image.tobytes() == expected.tobytes()
            outcomes.append(type(events[-1]).__name__)

    clients = [threading.Thread(target=client, args=(number,)) for number in range(12)]
    for one in clients:
        one.start()
    for one in clients:
        one.join(PATIENCE)
    assert len(outcomes) == 12 * 12
    assert set(outcomes) <= {"Finished", "Cancelled", "queue_full"}
    assert {"Finished", "Cancelled"} <= set(outcomes)
