"""Worker threads own the work, one per device: the queue, cancellation, and writing to the history.

A page only reads events. That it goes away, or stops reading, never stops a job; only Cancel does.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from cnxs import controls, images, pnginfo
from cnxs.controls.thin import thin
from cnxs.errors import InputError, UnavailableError
from cnxs.history import History
from cnxs.job import Job
from cnxs.protocol import ControlMap, Downloader, DownloadInfo, Event, JobInfo, Models, Restored, Result, TrainingDesk
from cnxs.records import Gallery
from cnxs.request import GenerationRequest, Placement, defaults, validate
from cnxs.store import ImageStore
from cnxs.workers import Engine, Limits, Workers

logger = logging.getLogger(__name__)


_LIMITS = Limits()
_THIN_ALREADY = ("canny", "as_is")  # kinds whose maps a network of thin edges takes as they are


class Studio:
    """The real `cnxs.protocol.Backend`. Use as a context manager, or call `close`.

    Args:
        engines: one per device, or factories that a worker thread calls, so that the page need not wait for torch.
        images: uploads, drawings and control maps.
        history: where finished images are kept; None keeps none.
        shared: everybody sees all finished images, as on a machine of one's own; else each owner their own.
        catalogue: what there is to choose from while no engine has started.
        downloads: what fetches models; None: nothing does.
        trainings: what trains controls; None: nothing does.
        detectors: where the weights of the kinds that need some lie; None: nowhere.
    """

    def __init__(
        self,
        engines: Sequence[Engine | Callable[[], Engine]],
        *,
        images: ImageStore,
        history: History | None,
        catalogue: Callable[[], Models],
        limits: Limits = _LIMITS,
        downloads: Downloader | None = None,
        trainings: TrainingDesk | None = None,
        detectors: Path | None = None,
        shared: bool = False,
    ) -> None:
        self._images = images
        self._history = history
        self._shared = shared
        self._limits = limits
        self._catalogue = catalogue
        self._downloads = downloads
        self._trainings = trainings
        self._detectors = detectors
        self._workers = Workers(engines, storage=self, limits=limits)

    def __enter__(self) -> "Studio":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Start the workers, which start their engines; the first `submit` does so as well."""
        self._workers.start()

    def close(self) -> None:
        """Cancel every job and end the workers; running ones stop within a step."""
        self._workers.close()

    # --- the backend as the page sees it; documented in cnxs.request ---------------------------------------------

    def models(self) -> Models:
        """Return what can be chosen; a note says so while the models start, or where a device failed."""
        engines = self._workers.engines
        models = engines[0].models() if engines else self._catalogue()
        notes = [*models.notes, *(("note.device_failed", error.fields) for error in self._workers.errors)]
        if self._workers.are_starting:
            notes.append(("note.starting", {}))
        device = ", ".join(dict.fromkeys(engine.device for engine in engines)) or models.device
        return replace(models, device=device, notes=tuple(notes))

    def put_image(self, data: bytes) -> str:
        """Store an uploaded picture; return its digest."""
        return self._images.put(images.load(data))

    def get_image(self, digest: str) -> Image.Image:
        """Return a stored picture, of this run or of the history."""
        try:
            return self._images.get(digest)
        except InputError:
            if self._history is None:
                raise
            return self._history.images.get(digest)

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
        """Place the source at the size and draw its control map there, thinned for a network of thin edges."""
        validate(replace(defaults(), width=width, height=height), size_multiple=1)
        fill = images.BLACK if kind == "as_is" else images.WHITE
        placed = images.place(self.get_image(source_id), width=width, height=height, placement=placement, fill=fill)
        drawn = controls.draw(placed, kind=kind, params=params, weights=self._detectors)
        control_map, notes = drawn.map, drawn.notes
        if kind not in _THIN_ALREADY and self._wants_thin_edges(network):
            control_map = Image.fromarray(thin(np.asarray(control_map)))
            notes = (*notes, ("note.thinned", {}))
        return ControlMap(
            placed=placed,
            placed_id=self._images.put(placed),
            map=control_map,
            map_id=self._images.put(control_map),
            notes=notes,
        )

    def _wants_thin_edges(self, network: str) -> bool:
        return any(known.name == network and known.condition == "canny" for known in self.models().networks)

    def restore(self, data: bytes) -> Restored:
        """Read the settings inside a PNG."""
        return pnginfo.read(data, bases=tuple(base.name for base in self.models().bases))

    def submit(self, request: GenerationRequest, owner: str) -> str:
        """Validate and queue a request; a live one replaces its owner's older live ones. Return the job id."""
        self._check(request)
        job = Job(request, owner)
        self._workers.add(job)
        self._workers.start()
        return job.job_id

    def events(self, job_id: str, after: int = 0) -> Iterator[Event]:
        """Return the job's events with numbers above `after`; the iterator waits for new ones until its last."""
        return self._workers.events(job_id, after)

    def cancel(self, job_id: str, owner: str) -> None:
        """Stop a job between two steps; nothing happens if it has ended."""
        self._workers.cancel(job_id, owner)

    def jobs(self, owner: str) -> tuple[JobInfo, ...]:
        """Return the owner's jobs, oldest first."""
        return self._workers.jobs(owner)

    def png(self, job_id: str, cell: int) -> bytes:
        """Return a finished image as PNG bytes with its complete request inside."""
        result = self._workers.result(job_id, cell)
        return pnginfo.encode(result.image, result.request, extra={})

    def history(self, owner: str) -> Gallery:
        """Return the finished images that an owner may see."""
        if self._history is None:
            raise UnavailableError("history_off")
        # A session that has not said who it is has no owner yet: it must not pass for everybody.
        return self._history.of(None if self._shared else owner or "")

    def count_tokens(self, base: str, prompt: str) -> tuple[int, int]:
        """Return (tokens of the prompt, tokens of one chunk)."""
        if not self._workers.engines:
            raise UnavailableError("model_starting")
        return self._workers.engines[0].count_tokens(base, prompt)

    def download(self, name: str) -> None:
        """Start to download a model; it goes on where it stopped."""
        if self._downloads is None:
            raise UnavailableError("downloads_off")
        self._downloads.start(name)

    def downloads(self) -> tuple[DownloadInfo, ...]:
        """Return every download of this run."""
        return self._downloads.infos() if self._downloads else ()

    def cancel_download(self, name: str) -> None:
        """Stop a download; what is there of it is kept."""
        if self._downloads is not None:
            self._downloads.cancel(name)

    def training(self) -> TrainingDesk | None:
        """Return what trains controls."""
        return self._trainings

    def _check(self, request: GenerationRequest) -> None:
        """Refuse what cannot work, and bring the pictures it needs to where they stay until it is done."""
        engines = self._workers.engines
        listed = (base for base in self._catalogue().bases if base.name == request.base)
        known = engines[0].base_info(request.base) if engines else next(listed, None)
        # A base that only a started engine knows is checked once more by the worker.
        validate(request, size_multiple=known.size_multiple if known else 1)
        cells = request.cells()
        if (pixels := len(cells) * request.width * request.height) > self._limits.job_pixels:
            million = 10**6
            raise InputError("job_too_large", given=pixels // million, maximum=self._limits.job_pixels // million)
        store = self.store_for(request)
        for digest in sorted({digest for cell in cells for digest in cell.picture_ids()}):
            image = self.get_image(digest)
            if store is not self._images:
                store.put(image)

    # --- for the workers: cnxs.workers.Storage --------------------------------------------------------------------

    def store_for(self, request: GenerationRequest) -> ImageStore:
        """Return the store that has the request's pictures; live frames leave nothing on the disk."""
        return self._images if self._history is None or request.live else self._history.images

    def stored(self, result: Result, job: Job) -> Result:
        """Return the result with its record id; where it cannot be stored it is shown all the same, with a note."""
        if self._history is None or job.request.live:
            return result
        try:
            record_id = self._history.add(
                result.image,
                result.request,
                owner=job.owner,
                edge_agreement=result.edge_agreement,
                seconds=result.seconds,
            )
        except OSError as error:
            logger.exception("job %s: an image was not stored", job.job_id)
            return replace(result, notes=(*result.notes, ("note.not_saved", {"reason": error.strerror or str(error)})))
        return replace(result, record_id=record_id)
