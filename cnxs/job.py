"""One job: its request, and its events as a log that can be replayed from any number."""

import secrets
from dataclasses import replace
from typing import Literal

from cnxs.protocol import LAST_EVENTS, Cancelled, Event, Failed, Finished, JobInfo, Preview, Progress, Queued, Result
from cnxs.request import GenerationRequest

State = Literal["queued", "running", "finished", "cancelled", "failed"]

_END_STATES: dict[type[Event], State] = {Finished: "finished", Cancelled: "cancelled", Failed: "failed"}


class Job:
    """A request on its way. Not thread-safe by itself: `cnxs.jobs.Studio` holds its lock around every call."""

    def __init__(self, request: GenerationRequest, owner: str) -> None:
        self.job_id = secrets.token_hex(16)  # not to be guessed: who knows it may read the job's events
        self.request = request
        self.owner = owner
        self.cells = request.cells()
        self.state: State = "queued"
        self.is_cancelling = False
        self.position: int | None = None  # as last told
        self.number = 0  # of the newest event
        self._kept: dict[object, Event] = {}  # in the order of their numbers

    @property
    def has_ended(self) -> bool:
        """Whether the last event is there."""
        return self.state not in ("queued", "running")

    @property
    def results(self) -> dict[int, Result]:
        """Finished images by cell."""
        return {event.cell: event for event in self._kept.values() if isinstance(event, Result)}

    @property
    def kept_pixels(self) -> int:
        """Pixels of the images that the job holds in memory."""
        return sum(result.image.width * result.image.height for result in self.results.values())

    def info(self) -> JobInfo:
        """Return the job as a reloaded page finds it."""
        return JobInfo(job_id=self.job_id, request=self.request, state=self.state, cells_done=len(self.results))

    def emit(self, event: Event) -> None:
        """Number an event and keep it; what it outdates is dropped."""
        assert not self.has_ended
        self.number += 1
        key: object = self.number
        match event:
            case Preview():
                key = (Preview, event.cell)
            case Progress() | Queued():
                key = type(event)
            case Result():
                self._kept.pop((Preview, event.cell), None)
            case _ if isinstance(event, LAST_EVENTS):
                self.state = _END_STATES[type(event)]
                self._kept = {k: kept for k, kept in self._kept.items() if not isinstance(kept, (Preview, Queued))}
        self._kept.pop(key, None)
        self._kept[key] = replace(event, number=self.number, job_id=self.job_id)

    def events_after(self, number: int) -> list[Event]:
        """Return the kept events with higher numbers, in order."""
        return [event for event in self._kept.values() if event.number > number]


class Clock:
    """Estimates the time left from the pace of the steps so far; time spent loading models does not count.

    Args:
        cells: the job's images.
        now: the time of the start, in seconds.
    """

    def __init__(self, cells: tuple[GenerationRequest, ...], *, now: float) -> None:
        self._totals = [cell.steps for cell in cells]
        self._done = [0] * len(cells)
        self.restart(now=now)

    def restart(self, *, now: float) -> None:
        """Count from now on: a model was loaded until here."""
        self._started, self._done_before = now, sum(self._done)

    def finish(self, cell: int) -> None:
        """Note that an image is finished, whatever steps it took."""
        self._done[cell] = self._totals[cell]

    def seconds_left(self, event: Progress, *, now: float) -> float:
        """Return the estimate after a step; the event's own before the first."""
        self._totals[event.cell], self._done[event.cell] = event.steps, event.step
        steps = sum(self._done) - self._done_before
        if steps <= 0:
            return event.seconds_left
        return (now - self._started) / steps * (sum(self._totals) - sum(self._done))
