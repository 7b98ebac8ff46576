"""Settings of a training run, and the specs of the controls it makes."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from diffusers import UNet2DConditionModel

from cnxs.errors import InputError
from cnxs.model import base_structure
from cnxs.specs import ControlSpec, ControlType

Precision = Literal["no", "bf16", "fp16"]
Optimizer = Literal["adamw", "adamw8bit"]
Prediction = Literal["auto", "epsilon", "v_prediction"]


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Settings of one run. The run's folder holds its state; starting again with the same folder goes on.

    A run ends after `steps` or `minutes`, whichever comes first; minutes of earlier starts count.
    """

    base: str  # a model folder, a single file, or a name: of the registry, or of a model in `models`
    condition: str  # "canny", "scribble", ...
    output: Path  # the finished control, also written at every save
    run: Path  # state, loss curve, sample sheets
    models: Path | None = None  # the user's models
    prediction: Prediction = "auto"  # what the base predicts; "auto": what it says or shows of itself
    pools: tuple[Path, ...] = ()  # data, either pools of `cnxs.miniature` ...
    images: Path | None = None  # ... or a folder of pictures with captions
    maps: Path | None = None  # a folder of control maps beside `images`; None: drawn by the condition's own kind
    caption: str = ""  # for pictures without a caption of their own; "": there must be none
    size: int | None = None  # pixels: pictures get the area of a square of this side; None: the base's own
    flip: bool = True  # also train on mirror images of pictures and maps
    init: Path | None = None  # a control of the same structure to start from
    minutes: float | None = None
    steps: int | None = None
    control_type: ControlType = "B"
    widths: tuple[int, ...] = (48, 96, 96)
    batch_size: int = 24  # of one optimiser step, over all processes and accumulated parts
    accumulation: int = 1  # parts a batch is worked through in
    gradient_checkpointing: bool = False  # compute activations again for the gradients, instead of keeping them
    optimizer: Optimizer = "adamw"
    learning_rate: float = 1e-3
    warmup_steps: int = 50
    decay_fraction: float = 0.4  # the learning rate falls to `final_rate` of itself over this last part of the run
    final_rate: float = 0.05
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 1e-3
    gradient_clip: float = 1.0
    prompt_dropout: float = 0.2
    ema_decay: float = 0.998
    spike: float = 3.0  # a step whose loss is this many times the running mean is skipped
    held_out: int = 256  # samples kept for validation
    precision: Precision = "no"
    threads: int = 0  # of the processor; 0 leaves torch's own choice
    seed: int = 0
    report_every: int = 50  # steps between lines of progress
    save_every: int = 500  # steps between saves, each with a validation
    sheet_every: int = 1000  # steps between sample sheets, one more at the end; 0: none
    licence: str = ""

    def identity(self) -> dict[str, Any]:
        """Return what must stay the same when a run goes on, as JSON has it."""
        keep = ("base", "condition", "control_type", "widths", "batch_size", "held_out", "prompt_dropout", "seed")
        keep += ("optimizer",)
        return json.loads(json.dumps({name: getattr(self, name) for name in keep}, default=str))

    def to_json(self) -> str:
        """Return all settings as indented JSON."""
        return json.dumps(dataclasses.asdict(self), default=str, indent=1)

    def check(self, *, processes: int = 1) -> None:
        """Check what no single option can tell.

        Raises:
            InputError: `training_no_length`, `training_no_data` or `training_batch`.
        """
        if self.minutes is None and self.steps is None:
            raise InputError("training_no_length")
        if bool(self.pools) == bool(self.images):
            raise InputError("training_no_data")
        if self.batch_size % (processes * self.accumulation):
            parts = processes * self.accumulation
            raise InputError("training_batch", given=self.batch_size, multiple=parts)


# Settings that suit a base, by its family; every one can be overridden on the command line.
PRESETS: dict[str, dict[str, Any]] = {
    "miniature": {},
    "sd15": {
        "widths": (32, 64, 128, 128),
        "batch_size": 16,
        "accumulation": 4,
        "learning_rate": 1e-4,
        "betas": (0.9, 0.999),
        "weight_decay": 1e-2,
        "warmup_steps": 500,
        "ema_decay": 0.9995,
        "precision": "bf16",
    },
}
_GREY = {"canny", "scribble", "soft_edge", "line_art", "depth"}  # conditions whose maps have no colour
PRESETS["sd21"] = PRESETS["sd15"]
PRESETS["sdxl"] = PRESETS["sd15"] | {"widths": (32, 64, 128), "accumulation": 16}


def hint_channels(condition: str, *, family: str) -> int:
    """Return the channels of a condition's maps: one for grey maps on the miniature, else three."""
    return 1 if family == "miniature" and condition in _GREY else 3


def control_spec(config: TrainingConfig, base: UNet2DConditionModel, *, family: str, base_sha256: str) -> ControlSpec:
    """Return the spec of the control that `config` trains on `base`.

    Raises:
        InputError: `training_widths` if there is not one width for each level of the base, or one is no multiple of 4.
    """
    structure: dict[str, Any] = base_structure(base)
    levels = len(structure["base_channels"])
    if len(config.widths) != levels or any(width < 4 or width % 4 for width in config.widths):
        raise InputError("training_widths", given=",".join(map(str, config.widths)), levels=levels)
    channels = hint_channels(config.condition, family=family)
    hint = {"hint_net": "unshuffle", "hint_factor": 16} if family == "miniature" else {}
    return ControlSpec(
        control_type=config.control_type,
        control_channels=config.widths,
        min_group_channels=4,
        head_channels=32,
        base_family=family,
        condition=config.condition,
        base_sha256=base_sha256,
        licence=config.licence,
        hint_channels=channels,
        **hint,
        **structure,
    )
