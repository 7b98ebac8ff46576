"""A deterministic backend without a model, for tests of the page. Images are the map, tinted by seed and strength."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from cnxs import images, pnginfo
from cnxs.errors import InputError, UnavailableError, UserError
from cnxs.history import History
from cnxs.protocol import (
    LAST_EVENTS,
    BaseInfo,
    Cancelled,
    ControlMap,
    DownloadInfo,
    Event,
    Failed,
    Finished,
    JobInfo,
    Loading,
    Models,
    NetworkInfo,
    Preview,
    Progress,
    Queued,
    Restored,
    Result,
    TrainingDesk,
)
from cnxs.records import Gallery
from cnxs.registry import CONTROL_KINDS
from cnxs.request import GenerationRequest, Placement, validate
from cnxs.store import ImageStore

BASES = (
    BaseInfo(
        name="miniature",
        label="Miniature (bundled)",
        family="miniature",
        state="here",
        native_size=256,
        size_multiple=16,
        default_steps=20,
        default_guidance_scale=4.0,
        prompt_tokens=75,
    ),
    BaseInfo(
        name="sd15",
        label="Stable Diffusion 1.5",
        family="sd15",
        state="here",
        native_size=512,
        size_multiple=8,
        default_steps=25,
        default_guidance_scale=7.5,
        prompt_tokens=75,
    ),
)
NETWORKS = tuple(
    NetworkInfo(
        name=f"{family}-{condition}",
        label=f"{condition.capitalize()} ({family})",
        family=family,
        condition=condition,
        kinds=tuple(kind.name for kind in CONTROL_KINDS.values() if condition in kind.conditions),
        state="here",
    )
    for family, condition in (("miniature", "canny"), ("miniature", "scribble"), ("sd15", "canny"))
)


@dataclass
class _Job:
    request: GenerationRequest
    owner: str
    events: list[Event] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)
    cancelled: threading.Event = field(default_factory=threading.Event)

    @property
    def state(self) -> Literal["running", "finished", "cancelled", "failed"]:
        match self.events[-1] if self.events else None:
            case Finished():
                return "finished"
            case Cancelled():
                return "cancelled"
            case Failed():
                return "failed"
        return "running"


class FakeBackend:
    """Meets `cnxs.protocol.Backend`.

    Args:
        step_seconds: how long one step takes. A job waits on `gate` before each step where one is given.
        gate: a test holds the work here: called before every step.
        kept: where finished images are kept; None: nowhere.

    While `starting` is set, it says that models are being loaded.
    Prompts with a meaning: "fail" fails the job with a sentence, "crash" raises a programming error in `submit`.
    """

    def __init__(
        self, *, step_seconds: float = 0.0, gate: Callable[[], None] = lambda: None, kept: History | None = None
    ) -> None:
        self.kept = kept
        self.step_seconds = step_seconds
        self.gate = gate
        self.starting = False
        self.ahead = 0  # jobs that a new one waits for, until a test says there are none
        self.requests: list[GenerationRequest] = []
        self.restored: Restored | None = None  # what every file says; None: what it really says
        self.desk: TrainingDesk | None = None
        self.fetched: dict[str, DownloadInfo] = {}
        self._images = ImageStore(None)
        self._jobs: dict[str, _Job] = {}
        self._submitted = threading.Condition()

    def models(self) -> Models:
        return Models(
            bases=BASES,
            networks=() if self.starting else NETWORKS,
            kinds=tuple(CONTROL_KINDS.values()),
            device="" if self.starting else "a test bench",
            notes=(("note.starting", {}),) if self.starting else (),
        )

    def put_image(self, data: bytes) -> str:
        return self._images.put(images.load(data))

    def get_image(self, digest: str) -> Image.Image:
        try:
            return self._images.get(digest)
        except InputError:
            if self.kept is None:
                raise
            return self.kept.images.get(digest)

    def control_map(
        self,
        source_id: str,
        *,
        kind: str,
        params: Mapping[str, float | bool | str],
        width: int,
        height: int,
        placement: Placement,
        network: str = "",
    ) -> ControlMap:
        placed = ImageOps.fit(self.get_image(source_id), (width, height))
        gray = placed.convert("L")
        lines = gray if kind == "as_is" else gray.filter(ImageFilter.FIND_EDGES)
        cut = float(params["low"]) / 4 if kind == "canny" else 40
        picture = lines.point(lambda value: 255 if value > cut else 0).convert("RGB")
        return ControlMap(
            placed=placed, placed_id=self._images.put(placed), map=picture, map_id=self._images.put(picture), notes=()
        )

    def restore(self, data: bytes) -> Restored:
        return self.restored or pnginfo.read(data, bases=tuple(base.name for base in BASES))

    def submit(self, request: GenerationRequest, owner: str) -> str:
        if request.prompt == "crash":
            raise RuntimeError("a programming error, told by the test")
        base = next(base for base in BASES if base.name == request.base)
        validate(request, size_multiple=base.size_multiple)
        with self._submitted:
            self.requests.append(request)
            self._submitted.notify_all()
        for older in self._jobs.values():
            if request.live and older.request.live and older.owner == owner:
                older.cancelled.set()
        job_id = f"job-{len(self._jobs)}"
        self._jobs[job_id] = _Job(request=request, owner=owner)
        threading.Thread(target=self._work, args=(job_id,), daemon=True).start()
        return job_id

    def wait_for_requests(self, count: int) -> None:
        """Wait until that many were submitted since the list of them was last cleared."""
        with self._submitted:
            assert self._submitted.wait_for(lambda: len(self.requests) >= count, timeout=60)

    def wait_for_cancel(self) -> None:
        """Wait until the newest job was told to stop."""
        assert [*self._jobs.values()][-1].cancelled.wait(60)

    def wait_for_states(self, *states: str) -> None:
        """Wait until the jobs whose requests are in the list have these states."""
        deadline = time.monotonic() + 60
        while self._states() != [*states]:
            assert time.monotonic() < deadline, self._states()
            time.sleep(0.02)

    def _states(self) -> list[str]:
        return [job.state for job in self._jobs.values() if any(job.request is asked for asked in self.requests)]

    def events(self, job_id: str, after: int = 0) -> Iterator[Event]:
        job = self._jobs[job_id]
        while True:
            with job.changed:
                while len(job.events) <= after:
                    job.changed.wait()
                event = job.events[after]
            yield event
            after += 1
            if isinstance(event, LAST_EVENTS):
                return

    def cancel(self, job_id: str, owner: str) -> None:
        assert self._jobs[job_id].owner == owner
        self._jobs[job_id].cancelled.set()

    def jobs(self, owner: str) -> tuple[JobInfo, ...]:
        return tuple(
            JobInfo(
                job_id=job_id,
                request=job.request,
                state=job.state,
                cells_done=sum(isinstance(event, Result) for event in job.events),
            )
            for job_id, job in self._jobs.items()
            if job.owner == owner
        )

    def png(self, job_id: str, cell: int) -> bytes:
        for event in self._jobs[job_id].events:
            if isinstance(event, Result) and event.cell == cell:
                return pnginfo.encode(event.image, event.request, extra={})
        raise InputError("no_such_image", cell=cell)

    def count_tokens(self, base: str, prompt: str) -> tuple[int, int]:
        return len(prompt.split()), 75

    def history(self, owner: str) -> Gallery:
        if self.kept is None:
            raise UnavailableError("history_off")
        return self.kept.of(owner or "")

    def download(self, name: str) -> None:
        self.fetched[name] = DownloadInfo(name=name, state="running")

    def downloads(self) -> tuple[DownloadInfo, ...]:
        return tuple(self.fetched.values())

    def cancel_download(self, name: str) -> None:
        self.fetched[name] = replace(self.fetched[name], state="cancelled")

    def training(self) -> TrainingDesk | None:
        return self.desk

    def _emit(self, job_id: str, event: Event) -> None:
        job = self._jobs[job_id]
        with job.changed:
            job.events.append(replace(event, job_id=job_id, number=len(job.events) + 1))
            job.changed.notify_all()

    def _work(self, job_id: str) -> None:
        job = self._jobs[job_id]
        if self.ahead:
            self._emit(job_id, Queued(position=self.ahead))
            while self.ahead and not job.cancelled.wait(0.02):
                pass
        self._emit(job_id, Queued(position=0))
        self._emit(job_id, Loading(model=job.request.base))
        if job.request.prompt == "fail":
            error: UserError = InputError("settings_damaged", reason="the prompt says so")
            self._emit(job_id, Failed(error=error))
            return
        cells = job.request.cells()
        for index, cell in enumerate(cells):
            image = self._draw(cell)
            for step in range(cell.steps):
                self.gate()
                if job.cancelled.wait(self.step_seconds):
                    self._emit(job_id, Cancelled())
                    return
                left = self.step_seconds * (cell.steps - step - 1 + cell.steps * (len(cells) - index - 1))
                self._emit(
                    job_id,
                    Progress(cell=index, cells=len(cells), step=step + 1, steps=cell.steps, seconds_left=left),
                )
                self._emit(job_id, Preview(cell=index, image=image.filter(ImageFilter.GaussianBlur(cell.steps - step))))
            agreement = round(0.3 + 0.3 * cell.controls[0].control_scale, 2) if cell.controls else None
            self._emit(
                job_id,
                Result(
                    cell=index,
                    image=image,
                    request=cell,
                    seconds=self.step_seconds * cell.steps + 0.01,
                    record_id=self._stored(job, cell, image),
                    edge_agreement=agreement,
                ),
            )
        self._emit(job_id, Finished())

    def _stored(self, job: _Job, cell: GenerationRequest, image: Image.Image) -> str:
        if self.kept is None or cell.live:
            return ""
        for digest in cell.picture_ids():
            self.kept.images.put(self.get_image(digest))
        return self.kept.add(image, cell, owner=job.owner)

    def _draw(self, cell: GenerationRequest) -> Image.Image:
        hue = np.random.default_rng(cell.seed).integers(60, 220, size=3)
        ground = np.full((cell.height, cell.width, 3), hue, dtype=np.float64)
        ground *= np.linspace(1.1, 0.7, cell.height)[:, None, None]
        if cell.controls:
            lines = np.asarray(self.get_image(cell.controls[0].map_id).resize((cell.width, cell.height)), np.float64)
            ground -= lines * min(1.0, cell.controls[0].control_scale) * 0.8
        return Image.fromarray(np.clip(ground, 0, 255).astype(np.uint8))
