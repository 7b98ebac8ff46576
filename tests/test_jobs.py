import gc
import io
import threading
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from cnxs import images, jobs, pnginfo
from cnxs.errors import InputError, UnavailableError
from cnxs.history import History
from cnxs.job import Clock, Job
from cnxs.jobs import Limits, Studio
from cnxs.request import (
    Axis,
    Cancelled,
    ControlUse,
    Event,
    Failed,
    Finished,
    Loading,
    Preview,
    Progress,
    Queued,
    Result,
    defaults,
)
from cnxs.store import ImageStore
from tests.fake_engine import PATIENCE, FakeEngine, Gate, picture

REQUEST = replace(defaults(), prompt="a fox", steps=4, width=64, height=48)
STRIP = replace(REQUEST, axes=(Axis(name="seed", values=(1, 2, 3)),))

Make = Callable[..., Studio]


@pytest.fixture
def make() -> Iterator[Make]:
    """Make studios of fake engines, that are closed afterwards."""
    studios: list[Studio] = []
    gates: list[Gate] = []

    def made(*engines: object, gate: Gate | None = None, **options: object) -> Studio:
        if gate is not None:
            gates.append(gate)
        studio = Studio(
            engines or (FakeEngine(gate=gate),),  # pyright: ignore[reportArgumentType]
            **{"images": ImageStore(None), "history": None, **options},  # pyright: ignore[reportArgumentType]
        )
        studios.append(studio)
        return studio

    yield made
    for gate in gates:
        gate.open()
    for studio in studios:
        studio.close()


@pytest.fixture
def gate() -> Gate:
    return Gate()


def _types(events: list[Event]) -> list[type[Event]]:
    return [type(event) for event in events]


def _read_until(stream: Iterator[Event], kind: type[Event]) -> Event:
    return next(event for event in stream if isinstance(event, kind))


def _positions(stream: Iterator[Event], count: int) -> list[int]:
    return [event.position for event in (next(stream) for _ in range(count)) if isinstance(event, Queued)]


# --- one job ------------------------------------------------------------------------------------------------------


def test_a_job_ends_with_its_images_in_order(make: Make) -> None:
    studio = make()
    job_id = studio.submit(STRIP, "ada")
    events = list(studio.events(job_id))

    numbers = [event.number for event in events]
    assert numbers == sorted(set(numbers))
    assert {event.job_id for event in events} == {job_id}
    results = [event for event in events if isinstance(event, Result)]
    assert [result.cell for result in results] == [0, 1, 2]
    assert [result.request.seed for result in results] == [1, 2, 3]
    for result, cell in zip(results, STRIP.cells(), strict=True):
        assert result.image.tobytes() == picture(cell, ImageStore(None)).tobytes()
    assert isinstance(events[-1], Finished)
    (info,) = studio.jobs("ada")
    assert (info.job_id, info.request, info.state, info.cells_done) == (job_id, STRIP, "finished", 3)


def test_live_events_come_one_by_one(make: Make, gate: Gate) -> None:
    studio = make(gate=gate)
    stream = studio.events(studio.submit(REQUEST, "ada"))
    assert _positions(stream, 1) == [0]
    assert isinstance(next(stream), Loading)
    for step in (1, 2, 3, 4):
        gate.allow(1)
        event = _read_until(stream, Progress)
        assert isinstance(event, Progress)
        assert (event.step, event.steps, event.cell, event.cells) == (step, 4, 0, 1)
    assert _types(list(stream))[-2:] == [Result, Finished]


def test_events_can_be_replayed_from_any_number(make: Make) -> None:
    studio = make()
    job_id = studio.submit(STRIP, "ada")
    list(studio.events(job_id))  # what was outdated on the way is gone now
    events = list(studio.events(job_id))
    assert _types(events) == [Loading, Result, Result, Progress, Result, Finished]
    for after in range(events[-1].number + 3):
        assert list(studio.events(job_id, after)) == [event for event in events if event.number > after]


def test_only_the_newest_preview_of_a_cell_and_the_newest_progress_are_kept(make: Make, gate: Gate) -> None:
    studio = make(gate=gate)
    job_id = studio.submit(replace(STRIP, steps=6), "ada")
    gate.allow(6 + 5)
    gate.wait_for_arrivals(6 + 6)
    live = studio.events(job_id)
    kept = [next(live) for _ in range(5)]
    assert _types(kept) == [Queued, Loading, Result, Preview, Progress]
    assert isinstance(kept[-1], Progress)
    assert (kept[-1].cell, kept[-1].step) == (1, 5)
    gate.open()
    list(live)
    assert _types(list(studio.events(job_id))) == [Loading, Result, Result, Progress, Result, Finished]


def test_a_reader_that_goes_away_stops_nothing_and_a_reload_finds_the_job(make: Make, gate: Gate) -> None:
    studio = make(gate=gate)
    job_id = studio.submit(STRIP, "ada")
    stream = studio.events(job_id)
    next(stream)
    stream.close()  # pyright: ignore[reportAttributeAccessIssue]
    gate.allow(5)
    gate.wait_for_arrivals(6)

    (info,) = studio.jobs("ada")
    assert (info.job_id, info.state, info.cells_done) == (job_id, "running", 1)
    gate.open()
    assert _types(list(studio.events(job_id)))[-1] is Finished


def test_several_readers_see_the_same(make: Make, gate: Gate) -> None:
    studio = make(gate=gate)
    job_id = studio.submit(STRIP, "ada")
    seen: list[list[int]] = [[], [], []]

    def read(numbers: list[int]) -> None:
        numbers += [event.number for event in studio.events(job_id) if isinstance(event, Result | Finished)]

    readers = [threading.Thread(target=read, args=(numbers,)) for numbers in seen]
    for reader in readers:
        reader.start()
    gate.open()
    for reader in readers:
        reader.join(PATIENCE)
    assert seen[0] == seen[1] == seen[2]
    assert len(seen[0]) == 4


# --- cancelling ---------------------------------------------------------------------------------------------------


def test_cancel_of_a_running_job_stops_within_one_step_and_keeps_finished_images(make: Make, gate: Gate) -> None:
    studio = make(gate=gate)
    job_id = studio.submit(STRIP, "ada")
    gate.allow(5)
    gate.wait_for_arrivals(6)  # the second step of the second image has begun
    studio.cancel(job_id, "ada")
    studio.cancel(job_id, "ada")
    gate.open()

    list(studio.events(job_id))
    events = list(studio.events(job_id))
    assert _types(events) == [Loading, Result, Progress, Cancelled]
    assert isinstance(events[2], Progress)
    assert (events[2].cell, events[2].step) == (1, 2)
    assert studio.jobs("ada")[0].state == "cancelled"
    assert pnginfo.read(studio.png(job_id, 0)).request == replace(STRIP.cells()[0], threads=1)
    studio.cancel(job_id, "ada")
    assert list(studio.events(job_id)) == events


def test_cancel_of_a_waiting_job_takes_it_out_of_the_queue(make: Make, gate: Gate) -> None:
    studio = make(gate=gate)
    running, waiting, last = (studio.submit(replace(REQUEST, seed=i), "ada") for i in range(3))
    gate.wait_for_arrivals(1)
    studio.cancel(waiting, "ada")
    assert _types(list(studio.events(waiting))) == [Cancelled]
    gate.open()
    assert isinstance(list(studio.events(last))[-1], Finished)
    assert [info.state for info in studio.jobs("ada")] == ["finished", "cancelled", "finished"]
    assert running == studio.jobs("ada")[0].job_id


def test_only_its_owner_may_cancel_or_list_a_job(make: Make, gate: Gate) -> None:
    studio = make(gate=gate)
    job_id = studio.submit(REQUEST, "ada")
    with pytest.raises(InputError, match="not known"):
        studio.cancel(job_id, "bob")
    with pytest.raises(InputError, match="not known"):
        studio.cancel("no-such-job", "ada")
    assert studio.jobs("bob") == ()
    gate.open()
    assert isinstance(list(studio.events(job_id))[-1], Finished)


def test_an_unknown_job_is_refused_before_the_first_event(make: Make) -> None:
    studio = make()
    with pytest.raises(InputError) as caught:
        studio.events("nothing")
    assert caught.value.key == "unknown_job"


# --- the queue ----------------------------------------------------------------------------------------------------


def test_jobs_run_in_order_and_their_places_are_told(make: Make, gate: Gate) -> None:
    studio = make(gate=gate)
    first, second, third, fourth = (studio.submit(replace(REQUEST, seed=i), f"owner {i}") for i in range(4))
    gate.wait_for_arrivals(1)
    stream = studio.events(fourth)
    places = _positions(stream, 1)
    studio.cancel(third, "owner 2")
    places += _positions(stream, 1)
    gate.allow(4)
    list(studio.events(first))
    places += _positions(stream, 1)
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


# --- live frames --------------------------------------------------------------------------------------------------


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
    assert _types(list(studio.events(newer)))[-1] is Finished
    assert _types(list(studio.events(normal)))[-1] is Finished
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
    assert _types(list(stream))[-2:] == [Progress, Cancelled]
    assert _types(list(studio.events(newest)))[-1] is Finished


# --- failures -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prompt", "kind", "key"),
    [
        ("fail", UnavailableError, "internal"),
        ("out of memory", UnavailableError, "out_of_memory"),
        ("refuse", InputError, "unknown_sampler"),
    ],
)
def test_a_failing_job_does_not_end_the_worker(make: Make, caplog, prompt: str, kind: type, key: str) -> None:
    studio = make()
    failing = studio.submit(replace(REQUEST, prompt=prompt), "ada")
    following = studio.submit(REQUEST, "ada")

    (*_, last) = studio.events(failing)
    assert isinstance(last, Failed)
    assert type(last.error) is kind
    assert last.error.key == key
    assert last.error.sentence("de")
    assert last.error.__traceback__ is None
    assert failing in caplog.text
    assert "Traceback" in caplog.text
    assert isinstance(list(studio.events(following))[-1], Finished)
    assert [info.state for info in studio.jobs("ada")] == ["failed", "finished"]


def test_bad_values_are_refused_at_once(make: Make) -> None:
    studio = make()
    use = ControlUse(network="miniature-canny", map_id="a" * 64)
    for bad in (
        replace(REQUEST, width=65),
        replace(REQUEST, steps=0),
        replace(REQUEST, base="nothing"),
        replace(REQUEST, controls=(use,)),
        replace(REQUEST, controls=(replace(use, map_id="../../etc/passwd"),)),
        replace(REQUEST, axes=(Axis(name="control_scale", values=(1,)),)),
        replace(REQUEST, axes=(Axis(name="seed", values=()),)),
    ):
        with pytest.raises(InputError):
            studio.submit(bad, "ada")
    assert studio.jobs("ada") == ()


def test_an_image_that_cannot_be_stored_is_shown_with_a_note(make: Make, tmp_path: Path, monkeypatch) -> None:
    history = History(tmp_path)

    def full(*_: object, **__: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(history, "add", full)
    studio = make(history=history)
    events = list(studio.events(studio.submit(REQUEST, "ada")))
    (result,) = [event for event in events if isinstance(event, Result)]
    assert result.notes == (("note.not_saved", {"reason": "No space left on device"}),)
    assert isinstance(events[-1], Finished)
    history.close()


# --- several workers, starting and closing ------------------------------------------------------------------------


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
    with Studio([FakeEngine(gate=gate)], images=ImageStore(None), history=None) as studio:
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


# --- pictures and the history -------------------------------------------------------------------------------------


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


# --- parts --------------------------------------------------------------------------------------------------------


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
    catalogue = replace(jobs.registered_models(), device="soon", networks=())
    studio = make(FakeEngine, catalogue=lambda: catalogue)
    assert studio.models() == replace(catalogue, notes=(("note.starting", {}),))
    list(studio.events(studio.submit(REQUEST, "ada")))
    assert studio.models().device == "fake"
