"""What travels between the page and the model: requests one way, numbered events the other. Standard library only."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

from cnxs.errors import InputError, UserError
from cnxs.specs import ControlKind

if TYPE_CHECKING:
    from PIL.Image import Image

Sampler = Literal["ddim", "euler", "dpmpp_2m", "unipc", "lcm"]
Placement = Literal["crop", "fit", "stretch"]

MAX_CONTROL_SCALE = 2.0
MAX_STEPS = 150
MAX_GUIDANCE_SCALE = 30.0
MAX_SEED = 2**32 - 1
MAX_PIXELS = 4096 * 4096
MAX_CELLS = 100
MAX_PROMPT_CHARACTERS = 10_000


@dataclass(frozen=True, kw_only=True)
class ControlUse:
    """One control network at work on one map.

    Images are named by their content: the digest that `Backend.put_image` or `Backend.control_map` returned.
    """

    network: str  # name of a control network from `Backend.models()`
    map_id: str  # the map, uint8 RGB at the output's size; exactly what is encoded as the hint
    kind: str = "as_is"  # the control kind that drew it, and its parameters: kept to restore the page
    params: tuple[tuple[str, float | bool | str], ...] = ()
    source_id: str = ""  # the picture or drawing before placement, "" where there is none
    control_scale: float = 1.0  # 0 (plain base) to 2
    start: float = 0.0  # control window, as fractions of the steps
    end: float = 1.0
    gains: tuple[float, float, float] = (1.0, 1.0, 1.0)  # encoder, middle, decoder connections
    region_id: str = ""  # white where the control acts, black where it does not; "": everywhere
    prompt_half_only: bool = False  # leave the negative half of guidance uncontrolled


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One thing that varies over the cells of a comparison."""

    name: Literal["control_scale", "seed", "guidance_scale", "control_end", "network", "prompt", "steps"]
    values: tuple[float | int | str, ...]


@dataclass(frozen=True, kw_only=True)
class GenerationRequest:
    """Everything that decides an image, and the axes over which several images differ.

    With no axes it describes one image completely: what is stored inside each finished PNG.
    """

    base: str
    prompt: str = ""
    negative_prompt: str = ""
    controls: tuple[ControlUse, ...] = ()
    width: int = 256  # pixels, multiples of the base's `size_multiple`
    height: int = 256
    placement: Placement = "crop"
    seed: int = 0
    steps: int = 20
    guidance_scale: float = 4.0  # 1: no classifier-free guidance
    sampler: Sampler = "ddim"
    init_id: str = ""  # a picture at the output's size to start from; "": pure noise
    change: float = 1.0  # how much of it may change: the share of the steps that are run
    mask_id: str = ""  # white where the start picture is painted anew; "": everywhere
    clip_skip: int = 0  # last text-encoder layers left out
    loras: tuple[tuple[str, float], ...] = ()  # (name, weight) on the base
    threads: int = 0  # CPU threads; 0: the backend's own number, which it fills in
    axes: tuple[Axis, ...] = ()
    live: bool = False  # a frame of live sketching: replaces its owner's older live jobs and is never stored

    def picture_ids(self) -> tuple[str, ...]:
        """Return the digests of every picture that the request needs, sorted, each once."""
        uses = (digest for use in self.controls for digest in (use.map_id, use.source_id, use.region_id))
        return tuple(sorted({digest for digest in (*uses, self.init_id, self.mask_id) if digest}))

    def cells(self) -> tuple["GenerationRequest", ...]:
        """Return one axis-free request per image, the last axis varying fastest."""
        cells: tuple[GenerationRequest, ...] = (replace(self, axes=()),)
        for axis in self.axes:
            cells = tuple(_AXES[axis.name](cell, value) for cell in cells for value in axis.values)
        return cells


def _on_first_control(**changes: Any) -> Callable[[GenerationRequest], GenerationRequest]:
    def apply(request: GenerationRequest) -> GenerationRequest:
        if not request.controls:
            raise InputError("axis_needs_control")
        return replace(request, controls=(replace(request.controls[0], **changes), *request.controls[1:]))

    return apply


# How each axis changes a request. A new axis is a new line here.
_AXES: dict[str, Callable[[GenerationRequest, Any], GenerationRequest]] = {
    "control_scale": lambda request, value: _on_first_control(control_scale=float(value))(request),
    "control_end": lambda request, value: _on_first_control(end=float(value))(request),
    "network": lambda request, value: _on_first_control(network=str(value))(request),
    "seed": lambda request, value: replace(request, seed=int(value)),
    "guidance_scale": lambda request, value: replace(request, guidance_scale=float(value)),
    "steps": lambda request, value: replace(request, steps=int(value)),
    "prompt": lambda request, value: replace(request, prompt=str(value)),
}


def active_steps(num_steps: int, start: float, end: float) -> range:
    """Return the step indices at which a control window [start, end] is open.

    Step i of n covers (i/n, (i+1)/n]. It is active if it begins at or after `start` and is over by `end`: the rule of
    the diffusers ControlNet pipelines.
    """
    tolerance = 1e-9
    active = [
        i for i in range(num_steps) if i / num_steps >= start - tolerance and (i + 1) / num_steps <= end + tolerance
    ]
    return range(active[0], active[-1] + 1) if active else range(0)


def validate(request: GenerationRequest, *, size_multiple: int) -> None:
    """Check every value of every cell.

    Raises:
        InputError: naming the first value that is not allowed, the allowed range, and what to do.
    """
    if (count := _count(request)) > MAX_CELLS:
        raise InputError("too_many_images", given=count, maximum=MAX_CELLS)
    if request.width * request.height > MAX_PIXELS or min(request.width, request.height) < size_multiple:
        raise InputError("size_out_of_range", width=request.width, height=request.height, multiple=size_multiple)
    if request.width % size_multiple or request.height % size_multiple:
        raise InputError("size_off_grid", width=request.width, height=request.height, multiple=size_multiple)
    if request.sampler not in get_args(Sampler):
        raise InputError("unknown_sampler", given=request.sampler, allowed=", ".join(get_args(Sampler)))
    for axis in request.axes:
        if not axis.values or not all(_fits(axis.name, value) for value in axis.values):
            raise InputError("axis_values", name=axis.name)
    for cell in request.cells():
        _check_range("seed", cell.seed, 0, MAX_SEED)
        _check_range("steps", cell.steps, 1, MAX_STEPS)
        _check_range("guidance_scale", cell.guidance_scale, 1, MAX_GUIDANCE_SCALE)
        _check_range("prompt_length", len(cell.prompt), 0, MAX_PROMPT_CHARACTERS)
        _check_range("prompt_length", len(cell.negative_prompt), 0, MAX_PROMPT_CHARACTERS)
        _check_range("clip_skip", cell.clip_skip, 0, 11)
        _check_range("change", cell.change, 0.01, 1)
        if cell.mask_id and not cell.init_id:
            raise InputError("mask_without_picture")
        for use in cell.controls:
            _check_range("control_scale", use.control_scale, 0, MAX_CONTROL_SCALE)
            _check_range("control_window", use.start, 0, 1)
            _check_range("control_window", use.end, 0, 1)
            if use.start >= use.end:
                raise InputError("control_window_empty", start=use.start, end=use.end)
            for gain in use.gains:
                _check_range("gain", gain, 0, 2)


def _count(request: GenerationRequest) -> int:
    count = 1
    for axis in request.axes:
        count *= len(axis.values)
    return count


def _fits(axis: str, value: object) -> bool:
    if axis in ("network", "prompt"):
        return isinstance(value, str)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    # Seeds and steps are whole numbers; NaN and infinity are not.
    return axis not in ("seed", "steps") or float(value).is_integer()


def _check_range(name: str, given: float, minimum: float, maximum: float) -> None:
    # The comparison is false for NaN, so NaN is refused as well.
    if not minimum <= given <= maximum:
        raise InputError("out_of_range", name=name, given=given, minimum=minimum, maximum=maximum)


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
    loras: tuple[AddonInfo, ...] = ()
    embeddings: tuple[AddonInfo, ...] = ()
    vaes: tuple[AddonInfo, ...] = ()
    unusable: tuple[UserError, ...] = ()  # a sentence for each file in the models folder that cannot be used


@dataclass(frozen=True, kw_only=True)
class DownloadInfo:
    """A download of this run of the program."""

    name: str  # of the base model or control network
    state: Literal["running", "finished", "cancelled", "failed"]
    done_bytes: int = 0
    total_bytes: int = 0  # 0 until the hub has told it
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


def defaults() -> GenerationRequest:
    """Return the request of a page on which nothing was changed."""
    return GenerationRequest(base="miniature")
