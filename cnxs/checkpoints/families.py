"""The families of base models: what a control's file does not say of itself, and which base it fits."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from diffusers import UNet2DConditionModel

from cnxs.errors import CheckpointError
from cnxs.model import base_structure
from cnxs.specs import ControlSpec

Note = tuple[str, Mapping[str, object]]  # a key `note.<key>` of the wording, and its fields


@dataclass(frozen=True, kw_only=True)
class Family:
    """A family of base models, and how the authors built controls for it."""

    label: str
    base_channels: tuple[int, ...]
    transformer_depth: tuple[int, ...]
    context_width: int
    linear_projection: bool
    prediction_type: Literal["epsilon", "v_prediction"]
    num_heads: int | None
    head_channels: int | None
    transformer_norm_eps: float
    published: tuple[tuple[int, ...], ...]  # control widths of the published files


FAMILIES: dict[str, Family] = {
    "sd15": Family(
        label="Stable Diffusion 1.5",
        base_channels=(320, 640, 1280, 1280),
        transformer_depth=(1, 1, 1, 0),
        context_width=768,
        linear_projection=False,
        prediction_type="epsilon",
        num_heads=8,
        head_channels=None,
        transformer_norm_eps=1e-6,
        published=((64, 128, 256, 256),),
    ),
    "sd21": Family(
        label="Stable Diffusion 2.1",
        base_channels=(320, 640, 1280, 1280),
        transformer_depth=(1, 1, 1, 0),
        context_width=1024,
        linear_projection=True,
        prediction_type="epsilon",
        num_heads=None,
        head_channels=8,
        transformer_norm_eps=1e-6,
        published=((4, 8, 16, 16),),
    ),
    "sdxl": Family(
        label="Stable Diffusion XL",
        base_channels=(320, 640, 1280),
        transformer_depth=(0, 2, 10),
        context_width=2048,
        linear_projection=True,
        prediction_type="epsilon",
        num_heads=None,
        head_channels=64,
        transformer_norm_eps=1e-5,
        published=((16, 32, 64), (32, 64, 128)),
    ),
}


@dataclass(frozen=True, kw_only=True)
class BaseInfo:
    """What a base model shows of itself.

    Attributes:
        structure: from `cnxs.model.base_structure`.
        prediction_type: what it predicts; None: not known.
        family: "sd15", "sd21", "sdxl" or "miniature"; None: not known.
        sha256: of its U-Net's weights; "": not known.
    """

    structure: Mapping[str, object]
    prediction_type: str | None = None
    family: str | None = None
    sha256: str = ""

    @classmethod
    def of(cls, base: UNet2DConditionModel, *, prediction_type: str | None = None, sha256: str = "") -> "BaseInfo":
        """Describe a U-Net; its family is told from its structure."""
        structure = base_structure(base)
        family = family_of(structure)
        return cls(structure=structure, prediction_type=prediction_type, family=family, sha256=sha256)


def family_of(structure: Mapping[str, object]) -> str | None:
    """Return the name of the family with exactly this structure, or None."""
    names = ("base_channels", "transformer_depth", "context_width", "linear_projection")
    for name, family in FAMILIES.items():
        if all(getattr(family, field) == structure[field] for field in names):
            return name
    return None


def complete_spec(
    structure: Mapping[str, Any], *, file: str, condition: str, overrides: Mapping[str, Any]
) -> tuple[ControlSpec, list[Note]]:
    """Return the spec of a control whose file shows its shapes only, with what was assumed.

    Args:
        structure: fields of `ControlSpec` read from shapes.
        file: its name, for messages.
        condition: "canny", "depth", ..., "unknown".
        overrides: fields that the caller knows better.

    Raises:
        CheckpointError: if the shapes fit no family and `overrides` names none.
    """
    family_name = overrides.get("base_family") or family_of(structure)
    if family_name not in FAMILIES:
        widths, context = structure["base_channels"], structure["context_width"]
        raise CheckpointError("control_family_unknown", file=file, widths=widths, context=context)
    family = FAMILIES[family_name]
    notes: list[Note] = []
    heads: dict[str, int | None] = {"num_heads": family.num_heads, "head_channels": family.head_channels}
    if "num_heads" in overrides or "head_channels" in overrides:
        heads = {"num_heads": None, "head_channels": None}
    elif structure["control_channels"] not in family.published:
        notes.append(("heads_assumed", {"file": file, "family": family.label}))
    known = {
        "base_family": family_name,
        "condition": condition,
        "transformer_norm_eps": family.transformer_norm_eps,
    }
    spec = ControlSpec(**{**structure, **known, **heads, **overrides})
    if spec.condition == "unknown":
        notes.append(("condition_unknown", {"file": file}))
    return spec, notes


def check_base_family(spec: ControlSpec, base: BaseInfo) -> tuple[Note, ...]:
    """Check that a control was made for a base.

    Returns:
        Notes on what fits in shape but differs: another prediction type, or other weights than it was trained on.

    Raises:
        CheckpointError: if the base is of another family or another structure.
    """
    if base.family is not None and base.family != spec.base_family:
        control, given = _label(spec.base_family), _label(base.family)
        raise CheckpointError("control_for_other_family", control=control, base=given)
    for name, of_base in base.structure.items():
        if (of_control := getattr(spec, name)) != of_base:
            raise CheckpointError("control_for_other_base", name=name, control=of_control, base=of_base)
    notes: list[Note] = []
    trained_on = _prediction_type(spec)
    if None not in (trained_on, base.prediction_type) and trained_on != base.prediction_type:
        notes.append(("control_other_prediction", {"control": trained_on, "base": base.prediction_type}))
    elif spec.base_sha256 and base.sha256 and spec.base_sha256 != base.sha256:
        notes.append(("control_other_weights", {}))
    return tuple(notes)


def _prediction_type(spec: ControlSpec) -> str | float | None:
    if spec.base_family in FAMILIES:
        return dict(spec.training).get("prediction_type", FAMILIES[spec.base_family].prediction_type)
    return dict(spec.training).get("prediction_type")


def _label(family: str) -> str:
    return FAMILIES[family].label if family in FAMILIES else family
