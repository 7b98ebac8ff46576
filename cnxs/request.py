"""What is asked of the model: one image, or several along axes. Standard library only; `cnxs.protocol` answers."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from cnxs.errors import InputError

Sampler = Literal["ddim", "euler", "dpmpp_2m", "unipc", "lcm"]
Placement = Literal["crop", "fit", "stretch"]
Prediction = Literal["auto", "epsilon", "v_prediction"]

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
    """One thing that varies over the cells of a comparison.

    The values of "control" are whole `ControlUse`s: each says what is drawn and followed, by another kind for instance;
    strength and window stay those of the request.
    """

    name: Literal["control_scale", "seed", "guidance_scale", "control_end", "network", "control", "prompt", "steps"]
    values: tuple[float | int | str | ControlUse, ...]


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
    guidance_rescale: float = 0.0  # how much of the contrast that guidance adds is taken back, 0 to 1
    sampler: Sampler = "ddim"
    init_id: str = ""  # a picture at the output's size to start from; "": pure noise
    change: float = 1.0  # how much of it may change: the share of the steps that are run
    mask_id: str = ""  # white where the start picture is painted anew; "": everywhere
    prediction: Prediction = "auto"  # what the U-Net predicts, where the base does not show it
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
    "control": lambda request, value: _followed(request, value),
    "network": lambda request, value: _on_first_control(network=str(value))(request),
    "seed": lambda request, value: replace(request, seed=int(value)),
    "guidance_scale": lambda request, value: replace(request, guidance_scale=float(value)),
    "steps": lambda request, value: replace(request, steps=int(value)),
    "prompt": lambda request, value: replace(request, prompt=str(value)),
}


def _followed(request: GenerationRequest, use: ControlUse) -> GenerationRequest:
    drawn = {name: getattr(use, name) for name in ("network", "map_id", "kind", "params", "source_id")}
    return _on_first_control(**drawn)(request)


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
    if request.prediction not in get_args(Prediction):
        raise InputError("unknown_prediction", given=request.prediction, allowed=", ".join(get_args(Prediction)))
    for cell in request.cells():
        _check_range("seed", cell.seed, 0, MAX_SEED)
        _check_range("steps", cell.steps, 1, MAX_STEPS)
        _check_range("guidance_scale", cell.guidance_scale, 1, MAX_GUIDANCE_SCALE)
        _check_range("guidance_rescale", cell.guidance_rescale, 0, 1)
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
    if axis == "control":
        return isinstance(value, ControlUse)
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


def defaults() -> GenerationRequest:
    """Return the request of a page on which nothing was changed."""
    return GenerationRequest(base="miniature")
