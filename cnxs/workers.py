"""Worker threads, one per device: the queue, the running jobs, and the end of each.

One lock guards the queue and all jobs, and is notified at every event.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from cnxs.errors import InputError, UnavailableError, UserError
from cnxs.job import Clock, Job
from cnxs.protocol import (
    LAST_EVENTS,
    BaseInfo,
    Cancelled,
    Event,
    Failed,
    Finished,
    JobInfo,
    Loading,
    Models,
    Progress,
    Queued,
    Result,
)
from cnxs.request import GenerationRequest, validate
from cnxs.store import ImageStore

logger = logging.getLogger(__name__)


class Engine(Protocol):
    """The models on one device. `generate` is called by one worker only; everything else from any thread."""

    @property
    def device(self) -> str:
        """The device's name for people."""
        ...

    def models(self) -> Models:
        """Return what can be chosen now."""
        ...

    def base_info(self, name: str) -> BaseInfo:
        """Return a base model's description.

        Raises:
            InputError: if there is no such base.
        """
        ...

    def count_tokens(self, base: str, prompt: str) -> tuple[int, int]:
        """Return (tokens of the prompt, tokens of one chunk)."""
        ...

    def generate(
        self, cells: Sequence[GenerationRequest], store: ImageStore, cancelled: Callable[[], bool]
    ) -> Iterator[Event]:
        """Yield Loading, Progress, Preview and Result events without job id and number.

        Args:
            cells: axis-free requests, one per image.
            images: where the control maps are.
            cancelled: asked between two steps; when true, the iterator ends.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one program takes on. Everything above is refused with a sentence, or forgotten, oldest first."""

    waiting_jobs: int = 64
    jobs_per_owner: int = 8  # waiting or running
    job_pixels: int = 2**28  # of all images of one job
    kept_jobs: int = 100  # ended jobs that can be replayed
    kept_pixels: int = 2**27  # of all their images, in memory


class Storage(Protocol):
    """Where a job's pictures come from and its results go."""

    def store_for(self, request: GenerationRequest) -> ImageStore:
        """Return the store that has the request's control maps."""
        ...

    def stored(self, result: Result, job: Job) -> Result:
        """Keep a finished image; return the result as it is to be shown."""
        ...


class _Slot:
    """One device: its engine once it has started, or why it could not."""

    def __init__(self, engine: Engine | Callable[[], Engine]) -> None:
        self.engine = None if callable(engine) else engine
        self.make = engine if callable(engine) else lambda: engine
        self.error: UserError | None = None
        self.thread: threading.Thread | None = None


class Workers:
    """The queue and the threads that work on it.

    Args:
        engines: one per device, or factories that the device's thread calls.
        storage: of pictures and results.
        limits: of the queue and of what is kept in memory.
    """

    def __init__(self, engines: Sequence[Engine | Callable[[], Engine]], *, storage: Storage, limits: Limits) -> None:
        assert engines
        self._storage = storage
        self._limits = limits
        self._slots = [_Slot(engine) for engine in engines]
        self._changed = threading.Condition()
        self._jobs: dict[str, Job] = {}  # oldest first
        self._queue: deque[Job] = deque()
        self._running: list[Job] = []
        self._closed = False

    @property
    def engines(self) -> list[Engine]:
        """The engines that have started."""
        return [slot.engine for slot in self._slots if slot.engine is not None]

    @property
    def errors(self) -> list[UserError]:
        """Why devices could not be used."""
        return [slot.error for slot in self._slots if slot.error is not None]

    @property
    def are_starting(self) -> bool:
        """Whether an engine has yet to start."""
        return len(self.engines) + len(self.errors) < len(self._slots)

    def start(self) -> None:
        """Start the threads; nothing happens if they run."""
        with self._changed:
            for slot in self._slots:
                if slot.thread is None and not self._closed:
                    slot.thread = threading.Thread(target=self._work, args=(slot,), name="cnxs-worker", daemon=True)
                    slot.thread.start()

    def close(self) -> None:
        """Cancel every job and wait for the threads; running jobs stop within a step."""
        with self._changed:
            self._closed = True
            for job in [*self._queue, *self._running]:
                self._cancel(job)
            self._changed.notify_all()
        for slot in self._slots:
            if slot.thread is not None:
                slot.thread.join()

    def add(self, job: Job) -> None:
        """Queue a job; a live one takes the place of its owner's older live ones.

        Raises:
            InputError: `too_many_jobs` or `queue_full`.
            UnavailableError: if no device could be used, or the workers are closed.
        """
        with self._changed:
            own = [j for j in self._jobs.values() if j.owner == job.owner and not j.has_ended and not j.is_cancelling]
            replaced = [older for older in own if job.request.live and older.request.live]
            self._check_room(own=len(own) - len(replaced), waiting=len(set(self._queue) - set(replaced)))
            for older in replaced:
                self._cancel(older)
            self._jobs[job.job_id] = job
            self._queue.append(job)
            self._tidy()

    def _check_room(self, *, own: int, waiting: int) -> None:
        if self._closed:
            raise UnavailableError("studio_closed")
        if len(self.errors) == len(self._slots):
            raise _copied(self.errors[0])
        if own >= self._limits.jobs_per_owner:
            raise InputError("too_many_jobs", given=own, maximum=self._limits.jobs_per_owner)
        if waiting >= self._limits.waiting_jobs:
            raise InputError("queue_full", waiting=waiting, maximum=self._limits.waiting_jobs)

    def cancel(self, job_id: str, owner: str) -> None:
        """Stop an owner's job between two steps; nothing happens if it has ended.

        Raises:
            InputError: `unknown_job`: there is none of that id, or it is another's.
        """
        with self._changed:
            job = self._job(job_id)
            if job.owner != owner:
                raise InputError("unknown_job")
            self._cancel(job)
            self._tidy()

    def jobs(self, owner: str) -> tuple[JobInfo, ...]:
        """Return the owner's jobs, oldest first."""
        with self._changed:
            return tuple(job.info() for job in self._jobs.values() if job.owner == owner)

    def result(self, job_id: str, cell: int) -> Result:
        """Return a finished image.

        Raises:
            InputError: `unknown_job` or `no_such_image`.
        """
        with self._changed:
            result = self._job(job_id).results.get(cell)
        if result is None:
            raise InputError("no_such_image", cell=cell + 1)
        return result

    def events(self, job_id: str, after: int) -> Iterator[Event]:
        """Return an iterator over the job's events, that waits for new ones until its last.

        Raises:
            InputError: `unknown_job`, at once and not at the first event.
        """
        with self._changed:
            return self._follow(self._job(job_id), after)

    def _job(self, job_id: str) -> Job:
        job = self._jobs.get(job_id)
        if job is None:
            raise InputError("unknown_job")
        return job

    def _follow(self, job: Job, after: int) -> Iterator[Event]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: job.has_ended or job.number > after)  # noqa: B023 called at once
                fresh = job.events_after(after)
            yield from fresh
            if not fresh or isinstance(fresh[-1], LAST_EVENTS):
                return
            after = fresh[-1].number

    def _emit(self, job: Job, event: Event) -> None:
        with self._changed:
            job.emit(event)
            self._changed.notify_all()

    def _cancel(self, job: Job) -> None:
        job.is_cancelling = True
        if job in self._queue:
            self._queue.remove(job)
            self._emit(job, Cancelled())

    def _end(self, job: Job, event: Event) -> None:
        with self._changed:
            self._running.remove(job)
            self._emit(job, event)
            self._tidy()

    def _tidy(self) -> None:
        """Tell the waiting jobs their new places, and forget the oldest ended jobs."""
        for index, job in enumerate(self._queue):
            if job.position != (position := len(self._running) + index):
                job.position = position
                job.emit(Queued(position=position))
        newest_live = {job.owner: job for job in self._jobs.values() if job.request.live}
        ended = [job for job in self._jobs.values() if job.has_ended]
        outdated = [job for job in ended if job.request.live and newest_live[job.owner] is not job]
        kept = [job for job in ended if job not in outdated]
        pixels = sum(job.kept_pixels for job in kept)
        while len(kept) > 1 and (len(kept) > self._limits.kept_jobs or pixels > self._limits.kept_pixels):
            outdated.append(kept.pop(0))
            pixels -= outdated[-1].kept_pixels
        for job in outdated:
            del self._jobs[job.job_id]
        self._changed.notify_all()

    def _work(self, slot: _Slot) -> None:
        while True:
            job = None
            try:
                engine = slot.engine = slot.engine or slot.make()
                job = self._next()
                if job is None:
                    return
                self._run(engine, job)
            except Exception as error:
                logger.exception("job %s failed", job.job_id if job else "(start of a device)")
                if job is None:
                    self._give_up(slot, error)
                    return
                self._end(job, Failed(error=_told(error, job_id=job.job_id, device=engine.device)))

    def _give_up(self, slot: _Slot, error: Exception) -> None:
        """Note that a device did not start; with the last one, all that waits fails."""
        with self._changed:
            slot.error = UnavailableError("device_failed", reason=str(error) or type(error).__name__)
            while self._queue and all(one.error is not None for one in self._slots):
                self._queue.popleft().emit(Failed(error=slot.error))
            self._tidy()

    def _next(self) -> Job | None:
        """Wait for a job; None when the studio closes."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closed)
            if self._closed:
                return None
            job = self._queue.popleft()
            job.state = "running"
            self._running.append(job)
            self._tidy()
            return job

    def _run(self, engine: Engine, job: Job) -> None:
        validate(job.request, size_multiple=engine.base_info(job.request.base).size_multiple)
        clock = Clock(job.cells, now=time.monotonic())
        for event in engine.generate(job.cells, self._storage.store_for(job.request), lambda: job.is_cancelling):
            match event:
                case Loading():
                    clock.restart(now=time.monotonic())
                case Progress():
                    event = replace(event, seconds_left=clock.seconds_left(event, now=time.monotonic()))
                case Result():
                    clock.finish(event.cell)
                    event = self._storage.stored(event, job)
            self._emit(job, event)
        is_complete = len(job.results) == len(job.cells)
        assert is_complete or job.is_cancelling, "the engine ended without all images"
        self._end(job, Finished() if is_complete else Cancelled())


def _told(error: Exception, *, job_id: str, device: str) -> UserError:
    """Return an error as one that has a sentence."""
    if isinstance(error, UserError):
        return _copied(error)
    # By name, since torch is not imported here: torch.OutOfMemoryError.
    if isinstance(error, MemoryError) or any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__):
        return UnavailableError("out_of_memory", device=device)
    return UnavailableError("internal", type=type(error).__name__, job_id=job_id)


def _copied(error: UserError) -> UserError:
    # Without its traceback, whose frames would keep the images and tensors of the failed job.
    return type(error)(error.key, **error.fields)
