"""The seam between page and work: numbered events, what menus show, and the backend. Standard library only."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from cnxs.errors import UserError
from cnxs.records import Gallery
from cnxs.request import GenerationRequest, Placement
from cnxs.specs import ControlKind

if TYPE_CHECKING:
    from PIL.Image import Image

# --- events: what happens to a job, numbered from 1, kept, and replayable from any number -------------------------


@dataclass(frozen=True, kw_only=True)
class Event:
    """Base of all events. `number` counts from 1 within a job."""

    number: int = 0
    job_id: str = ""


@dataclass(frozen=True, kw_only=True)
class Queued(Event):
    """The job waits; `position` jobs are ahead of it."""

    position: int


@dataclass(frozen=True, kw_only=True)
class Loading(Event):
    """A model is being loaded or prepared before the first step."""

    model: str


@dataclass(frozen=True, kw_only=True)
class Progress(Event):
    """Step `step` of `steps` of image `cell` (from 0) of `cells` is done."""

    cell: int
    cells: int
    step: int
    steps: int
    seconds_left: float


@dataclass(frozen=True, kw_only=True)
class Preview(Event):
    """A small RGB picture of image `cell` as it stands. Only the newest of each cell is kept for replay."""

    cell: int
    image: "Image"


@dataclass(frozen=True, kw_only=True)
class Result(Event):
    """Image `cell` is finished."""

    cell: int
    image: "Image"
    request: GenerationRequest  # complete and axis-free: generating it again gives this image
    seconds: float
    record_id: str = ""  # of the stored PNG, where a history is kept
    notes: tuple[tuple[str, Mapping[str, object]], ...] = ()  # wording keys with fields: what the user should know
    edge_agreement: float | None = None  # F-score against a line map, 0 to 1


@dataclass(frozen=True, kw_only=True)
class Finished(Event):
    """The job is over and every image is there."""


@dataclass(frozen=True, kw_only=True)
class Cancelled(Event):
    """The job was cancelled; finished images stay."""


@dataclass(frozen=True, kw_only=True)
class Failed(Event):
    """The job stopped with an error; finished images stay."""

    error: UserError


LAST_EVENTS = (Finished, Cancelled, Failed)


# --- the backend as the page sees it ------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class BaseInfo:
    """A base model as a menu shows it."""

    name: str
    label: str
    family: str
    state: Literal["here", "downloadable", "missing"]
    native_size: int
    size_multiple: int
    default_steps: int
    default_guidance_scale: float
    prompt_tokens: int  # tokens of one prompt chunk
    detail: str = ""
    licence: str = ""
    download_bytes: int = 0  # about; of a model that can be downloaded
    notes: tuple[tuple[str, Mapping[str, object]], ...] = ()  # where it is missing: which files, and where to put them


@dataclass(frozen=True, kw_only=True)
class NetworkInfo:
    """A control network as a menu shows it. `kinds` are the control kinds that can drive it, best first."""

    name: str
    label: str
    family: str
    condition: str
    kinds: tuple[str, ...]
    state: Literal["here", "downloadable", "missing"]
    detail: str = ""
    licence: str = ""
    download_bytes: int = 0
    notes: tuple[tuple[str, Mapping[str, object]], ...] = ()


@dataclass(frozen=True, kw_only=True)
class DetectorInfo:
    """Weights that some control kinds need to draw their maps, as a menu shows them."""

    name: str
    label: str
    kinds: tuple[str, ...]  # the control kinds that they bring
    state: Literal["here", "downloadable", "missing"]
    licence: str
    commercial_use: bool  # whether the licence allows it without asking
    download_bytes: int
    notes: tuple[
        tuple[str, Mapping[str, object]], ...
    ] = ()  # where they are missing: which files, and where to put them


@dataclass(frozen=True, kw_only=True)
class AddonInfo:
    """A LoRA, an embedding or a VAE of the user's. `family` is "" where its file does not show it."""

    name: str
    family: str = ""


@dataclass(frozen=True, kw_only=True)
class Models:
    """Everything there is to choose from."""

    bases: tuple[BaseInfo, ...]
    networks: tuple[NetworkInfo, ...]
    kinds: tuple[ControlKind, ...]
    device: str  # for people: "CPU", "NVIDIA RTX 4090"
    notes: tuple[tuple[str, Mapping[str, object]], ...] = ()  # e.g. an NVIDIA card with a CPU-only torch
    detectors: tuple[DetectorInfo, ...] = ()  # `kinds` has those kinds only whose detectors are here
    loras: tuple[AddonInfo, ...] = ()
    embeddings: tuple[AddonInfo, ...] = ()
    vaes: tuple[AddonInfo, ...] = ()
    unusable: tuple[UserError, ...] = ()  # a sentence for each file in the models folder that cannot be used


@dataclass(frozen=True, kw_only=True)
class DownloadInfo:
    """A download of this run of the program."""

    name: str  # of the base model, the control network or the detector
    state: Literal["running", "finished", "cancelled", "failed"]
    done_bytes: int = 0
    total_bytes: int = 0  # 0 until the hub has told it
    error: UserError | None = None


TrainingState = Literal["running", "stopping", "finished", "stopped", "failed"]


@dataclass(frozen=True, kw_only=True)
class TrainingOrder:
    """A control network to be trained."""

    name: str  # of the finished control: letters, digits, - and _
    base: str  # the base model's name
    condition: str  # a control kind, which draws the maps
    minutes: float
    folder: str = ""  # name of the folder with pictures, or ...
    files: tuple[str, ...] = ()  # ... uploads as the server stored them: pictures, captions, zip archives of them
    caption: str = ""  # for pictures that have none of their own


@dataclass(frozen=True, kw_only=True)
class TrainingInfo:
    """The newest training of this run of the program."""

    name: str
    base: str
    condition: str
    state: TrainingState
    prepared: int = 0  # pictures whose samples are ready, of ...
    pictures: int = 0  # ... so many; 0 until that is known
    minutes: float = 0.0  # trained since this start, of ...
    minutes_asked: float = 0.0  # ... so many
    steps: int = 0
    losses: tuple[tuple[float, float], ...] = ()  # (pictures seen, loss of training)
    held_out: tuple[tuple[float, float], ...] = ()  # (pictures seen, loss on pictures kept for validation)
    sheet: bytes | None = None  # the newest sample sheet, PNG
    network: str = ""  # the control's name in the menus, once it can be tried
    error: UserError | None = None


@dataclass(frozen=True, kw_only=True)
class ControlMap:
    """A control map, as previewed and as encoded."""

    placed: "Image"  # the source at output size
    placed_id: str
    map: "Image"  # RGB, same size
    map_id: str
    notes: tuple[tuple[str, Mapping[str, object]], ...] = ()  # e.g. "polarity_inverted"


@dataclass(frozen=True, kw_only=True)
class Restored:
    """What a picture tells about its making. `request` is None where it tells nothing."""

    request: GenerationRequest | None
    unmapped: tuple[str, ...] = ()  # what could not be restored, as "name: value"


@dataclass(frozen=True, kw_only=True)
class JobInfo:
    """A job as a reloaded page finds it."""

    job_id: str
    request: GenerationRequest
    state: Literal["queued", "running", "finished", "cancelled", "failed"]
    cells_done: int


class Backend(Protocol):
    """The seam between page and work. Real: `cnxs.jobs.Studio`; tests use a fake; a cluster would fit here too."""

    def models(self) -> Models:
        """Return what can be chosen now; rescans the models folder."""
        ...

    def put_image(self, data: bytes) -> str:
        """Store an uploaded picture, orientation applied and flattened on white; return its digest.

        Raises:
            InputError: if it is no picture, too large, or damaged.
        """
        ...

    def get_image(self, digest: str) -> "Image":
        """Return a stored picture.

        Raises:
            InputError: if there is none of that digest.
        """
        ...

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
        """Place the source at the size and draw its control map there.

        With the name of a network that knows thin edges only, softer lines are thinned for it, and a note says so.
        """
        ...

    def restore(self, data: bytes) -> Restored:
        """Read the settings inside a PNG: our own exactly, those of other programs as far as they map.

        Raises:
            InputError: if it is no PNG, or its settings are damaged.
        """
        ...

    def submit(self, request: GenerationRequest, owner: str) -> str:
        """Validate and queue a request; return its job id.

        Raises:
            InputError: if a value is not allowed; nothing is queued then.
        """
        ...

    def events(self, job_id: str, after: int = 0) -> Iterator[Event]:
        """Yield the job's events with numbers above `after`, old ones first, then live ones until its last."""
        ...

    def cancel(self, job_id: str, owner: str) -> None:
        """Stop a job between two steps. Finished images stay."""
        ...

    def jobs(self, owner: str) -> tuple[JobInfo, ...]:
        """Return the owner's jobs, oldest first."""
        ...

    def png(self, job_id: str, cell: int) -> bytes:
        """Return a finished image as PNG bytes with its complete request inside."""
        ...

    def history(self, owner: str) -> Gallery:
        """Return the finished images that an owner may see.

        Raises:
            UnavailableError: if none are kept.
        """
        ...

    def count_tokens(self, base: str, prompt: str) -> tuple[int, int]:
        """Return (tokens of the prompt, tokens of one chunk)."""
        ...

    def download(self, name: str) -> None:
        """Start to download a model, once the user has confirmed its size and licence; it goes on where it stopped.

        Raises:
            InputError: if no model of that name can be downloaded.
        """
        ...

    def downloads(self) -> tuple[DownloadInfo, ...]:
        """Return every download of this run, each model once."""
        ...

    def cancel_download(self, name: str) -> None:
        """Stop a download; what is there of it is kept for the next attempt."""
        ...

    def training(self) -> "TrainingDesk | None":
        """Return what trains controls; None where none is offered, as on a page that others can reach."""
        ...


class TrainingDesk(Protocol):
    """Trains controls, one at a time. Real: `cnxs.trainings.Trainings`."""

    def folders(self) -> tuple[str, ...]:
        """Return the names of the folders with pictures."""
        ...

    def bases(self) -> tuple[str, ...]:
        """Return the names of the base models that can be trained on."""
        ...

    def conditions(self) -> tuple[str, ...]:
        """Return the names of the control kinds that can be trained for."""
        ...

    def start(self, order: TrainingOrder) -> None:
        """Start a training, or go on with the one of that name.

        Raises:
            InputError: if one runs already, or something in the order is not allowed.
        """
        ...

    def stop(self) -> None:
        """Ask the training to save and stop."""
        ...

    def info(self) -> TrainingInfo | None:
        """Return how far the newest training is; None where none was started."""
        ...


class Downloader(Protocol):
    """What fetches models. Real: `cnxs.weights.Downloads`."""

    def start(self, name: str) -> None:
        """Start or go on with a download."""
        ...

    def infos(self) -> tuple[DownloadInfo, ...]:
        """Return every download of this run."""
        ...

    def cancel(self, name: str) -> None:
        """Stop a download."""
        ...
