"""Frozen descriptions of models and settings. Standard library only, so that pages and tests load without torch."""

import dataclasses
import json
from dataclasses import dataclass
from typing import Any, Literal, cast

from cnxs.errors import CheckpointError

ControlType = Literal["A", "B", "C"]


@dataclass(frozen=True, kw_only=True)
class ControlSpec:
    """Structure and provenance of one ControlNet-XS.

    The structure is that of the paper's types A, B and C (arXiv 2312.06573, section 3) with everything that
    the published checkpoints vary. Level i of the tuples is resolution 1 / 2**i of the latent.
    """

    # structure
    control_type: ControlType = "B"
    control_channels: tuple[int, ...]  # widths of the thin stream, one per level
    base_channels: tuple[int, ...]  # widths of the base it is coupled to
    layers_per_block: int = 2
    transformer_depth: tuple[int, ...]  # transformer blocks per level; 0: a level without attention
    middle_depth: int = 1  # transformer blocks of the middle
    context_width: int  # width of the text states
    latent_channels: int = 4
    num_heads: int | None = None  # either a fixed number of heads ...
    head_channels: int | None = None  # ... or the widest head allowed
    linear_projection: bool = True
    transformer_norm_eps: float = 1e-6
    max_norm_groups: int = 32
    min_group_channels: int = 1  # above 1: norms that let the timestep through (own controls use 4)
    learn_time_embedding: bool = False
    hint_net: Literal["convolutions", "unshuffle"] = "convolutions"
    hint_channels: int = 3
    hint_factor: int = 8  # pixels of the map per latent pixel
    gains: tuple[float, ...] = ()  # one per connection: encoder (none in type A), middle, decoder; (): all 1
    # provenance
    base_family: str  # "sd15", "sd21", "sdxl" or "miniature"
    condition: str  # "canny", "depth", "scribble", ...
    base_sha256: str = ""  # of the base U-Net's weights it was trained on, where known
    licence: str = ""
    training: tuple[tuple[str, str | float], ...] = ()  # facts: images seen, steps, date, ...

    @property
    def num_connections(self) -> int:
        """Encoder connections n: the first convolution, every ResBlock, every downsampler."""
        return len(self.base_channels) * (self.layers_per_block + 1)

    @property
    def connection_gains(self) -> tuple[float, ...]:
        """The authors' `scale_list`: n encoder entries (none in type A), the middle's, n decoder entries."""
        count = self.num_connections + 1 + (0 if self.control_type == "A" else self.num_connections)
        return self.gains or (1.0,) * count

    def to_json(self) -> str:
        """Return the spec as JSON, for a checkpoint's metadata."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "ControlSpec":
        """Read a spec written by `to_json`.

        Raises:
            CheckpointError: if the JSON is damaged, or a field is unknown or missing.
        """
        try:
            values = json.loads(text)
            return cls(**{name: _tupled(value) for name, value in values.items()})
        except (json.JSONDecodeError, TypeError, AttributeError) as error:
            raise CheckpointError("control_spec_damaged", reason=str(error)) from error


def _tupled(value: Any) -> Any:
    return tuple(_tupled(item) for item in cast("list[Any]", value)) if isinstance(value, list) else value


@dataclass(frozen=True, kw_only=True)
class ParamSpec:
    """One slider, switch or choice of a control kind, declared as data; the page is generated from it."""

    name: str  # keyword argument of the kind's function; wording key `param.<name>`
    default: float | bool | str
    minimum: float = 0.0
    maximum: float = 1.0
    step: float = 1.0
    choices: tuple[str, ...] = ()  # for a string: the allowed values

    def check(self, value: float | bool | str) -> bool:
        """Say whether `value` is allowed: of the default's type, within bounds or among the choices."""
        if isinstance(self.default, bool) or isinstance(value, bool):
            return isinstance(self.default, bool) and isinstance(value, bool)
        if isinstance(self.default, str):
            return value in self.choices
        return isinstance(value, (int, float)) and self.minimum <= value <= self.maximum


@dataclass(frozen=True, kw_only=True)
class ControlKind:
    """A way to draw a control map from a picture. Wording: `kind.<name>` and `kind.<name>_hint`."""

    name: str
    conditions: tuple[str, ...]  # conditions of control networks it can drive, best first
    params: tuple[ParamSpec, ...] = ()
    line_map: bool = False  # white lines on black: edge agreement can be measured
    weights: tuple[str, ...] = ()  # files it needs, names in the registry; () needs none


@dataclass(frozen=True, kw_only=True)
class BaseModelSpec:
    """A base model that the studio knows."""

    name: str
    label: str
    family: str  # "sd15", "sd21", "sdxl" or "miniature"
    repositories: tuple[str, ...] = ()  # hub ids, best first; () for the bundled miniature
    vae_repository: str = ""  # a VAE to use instead of the repository's own
    licence: str = ""
    download_bytes: int = 0  # about; the hub is asked before a download
    text_encoders: int = 1
    native_size: int = 512  # pixels: side of the square it was trained on
    size_multiple: int = 8  # pixels per latent pixel
    prediction_type: Literal["epsilon", "v_prediction"] = "epsilon"
    prompt_tokens: int = 75  # per chunk, start and end not counted
    default_steps: int = 25
    default_guidance_scale: float = 7.5


@dataclass(frozen=True, kw_only=True)
class ControlNetworkSpec:
    """A published control network: where it is and what it was trained for."""

    name: str
    label: str
    family: str
    condition: str
    base: str  # name of the base model it was trained on
    hint: Literal["white_lines", "near_white"] = "white_lines"  # on black; 0 to 1 in three equal channels
    repository: str = ""
    filename: str = ""  # "": an adapter of diffusers, a folder
    sha256: str = ""
    licence: str = ""
    download_bytes: int = 0
