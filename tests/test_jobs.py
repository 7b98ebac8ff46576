import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cnxs import pnginfo
from cnxs.errors import InputError, UnavailableError
from cnxs.history import History
from cnxs.protocol import Cancelled, Failed, Finished, Loading, Preview, Progress, Queued, Result
from cnxs.request import Axis, ControlUse
from cnxs.store import ImageStore
from tests.fake_engine import PATIENCE, REQUEST, STRIP, Gate, Make, picture, positions, read_until, studios, types_of


@pytest.fixture
def make() -> Iterator[Make]:
    with studios() as make:
        yield make


@pytest.fixture
def gate() -> Gate:
    return Gate()


# --- one job -------------------------------------------------------------------------------------------------------


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
    assert positions(stream, 1) == [0]
    assert isinstance(next(stream), Loading)
    for step in (1, 2, 3, 4):
        gate.allow(1)
        event = read_until(stream, Progress)
        assert isinstance(event, Progress)
        assert (event.step, event.steps, event.cell, event.cells) == (step, 4, 0, 1)
    assert types_of(list(stream))[-2:] == [Result, Finished]


def test_events_can_be_replayed_from_any_number(make: Make) -> None:
    studio = make()
    job_id = studio.submit(STRIP, "ada")
    list(studio.events(job_id))  # what was outdated on the way is gone now
    events = list(studio.events(job_id))
    assert types_of(events) == [Loading, Result, Result, Progress, Result, Finished]
    for after in range(events[-1].number + 3):
        assert list(studio.events(job_id, after)) == [event for event in events if event.number > after]


def test_only_the_newest_preview_of_a_cell_and_the_newest_progress_are_kept(make: Make, gate: Gate) -> None:
    studio = make(gate=gate)
    job_id = studio.submit(replace(STRIP, steps=6), "ada")
    gate.allow(6 + 5)
    gate.wait_for_arrivals(6 + 6)
    live = studio.events(job_id)
    kept = [next(live) for _ in range(5)]
    assert types_of(kept) == [Queued, Loading, Result, Preview, Progress]
    assert isinstance(kept[-1], Progress)
    assert (kept[-1].cell, kept[-1].step) == (1, 5)
    gate.open()
    list(live)
    assert types_of(list(studio.events(job_id))) == [Loading, Result, Result, Progress, Result, Finished]


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
    assert types_of(list(studio.events(job_id)))[-1] is Finished


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


# --- cancelling ----------------------------------------------------------------------------------------------------


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
    assert types_of(events) == [Loading, Result, Progress, Cancelled]
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
    assert types_of(list(studio.events(waiting))) == [Cancelled]
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


# --- failures ------------------------------------------------------------------------------------------------------


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
