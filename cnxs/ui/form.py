"""From the page's values to a request, by name. Pure functions, no Gradio."""

import math
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cnxs.errors import InputError
from cnxs.protocol import BaseInfo, Models, NetworkInfo
from cnxs.request import MAX_CONTROL_SCALE, Axis, ControlUse, GenerationRequest
from cnxs.specs import ControlKind

# Fields of a request that a component of the same name feeds, and how its value is read.
REQUEST_FIELDS: dict[str, type] = {
    "base": str,
    "prompt": str,
    "negative_prompt": str,
    "width": int,
    "height": int,
    "placement": str,
    "seed": int,
    "steps": int,
    "guidance_scale": float,
    "guidance_rescale": float,
    "sampler": str,
    "clip_skip": int,
    "prediction": str,
}
CONTROL_FIELDS: dict[str, type] = {"network": str, "kind": str, "control_scale": float, "start": float, "end": float}

LINE_KINDS = ("canny", "scribble", "soft_edge", "line_art")  # how the names of kinds begin whose maps are lines

SEED_RANGE = 2**31  # seeds drawn here stay short enough to read out


@dataclass(frozen=True, kw_only=True)
class KindChoice:
    """A control kind that the chosen base can follow, and the networks for it, best first."""

    kind: ControlKind
    networks: tuple[NetworkInfo, ...]

    @property
    def near(self) -> bool:
        """Say whether the best network was trained for another condition than the kind's own."""
        return self.networks[0].condition != self.kind.conditions[0] and self.kind.name != "as_is"


def base_info(models: Models, name: str) -> BaseInfo:
    """Return the base model of that name.

    Raises:
        InputError: if there is none.
    """
    for base in models.bases:
        if base.name == name:
            return base
    raise InputError("unknown_base", given=name, allowed=", ".join(base.name for base in models.bases))


def is_starting(models: Models) -> bool:
    """Say whether models are still being loaded, so that what can be chosen is not all known yet."""
    return any(key == "note.starting" for key, _ in models.notes)


def kind_choices(models: Models, base: str) -> tuple[KindChoice, ...]:
    """Return the kinds for which `base` has a control network, each with its networks, best first."""
    family = base_info(models, base).family
    choices = []
    for kind in models.kinds:
        fitting = [
            network
            for network in models.networks
            if network.family == family and kind.name in network.kinds and network.state != "missing"
        ]
        fitting.sort(key=lambda network: (network.state != "here", _rank(kind, network)))
        if fitting:
            choices.append(KindChoice(kind=kind, networks=tuple(fitting)))
    return tuple(choices)


def kinds_away(models: Models, base: str) -> tuple[str, ...]:
    """Return the kinds that `base` could follow, if their weights were here."""
    family = base_info(models, base).family
    can = {kind for network in models.networks if network.family == family for kind in network.kinds}
    return tuple(kind for info in models.detectors if info.state != "here" for kind in info.kinds if kind in can)


def _rank(kind: ControlKind, network: NetworkInfo) -> int:
    return kind.conditions.index(network.condition) if network.condition in kind.conditions else len(kind.conditions)


def kind_params(models: Models, kind: str, values: Mapping[str, Any]) -> dict[str, float | bool | str]:
    """Return the parameters of `kind` from the components `param.<kind>.<name>`; a missing one has its default."""
    found = next((known for known in models.kinds if known.name == kind), None)
    if found is None:
        raise InputError("unknown_kind", given=kind, allowed=", ".join(known.name for known in models.kinds))
    return {param.name: values.get(f"param.{kind}.{param.name}", param.default) for param in found.params}


def is_editable(values: Mapping[str, Any]) -> bool:
    """Say whether the shown map can be edited as a drawing: it is of lines, and its source is no drawing yet."""
    return values["source"] != "sketch" and str(values["kind"]).startswith(LINE_KINDS)


def draw_seed() -> int:
    """Return a new random seed."""
    return secrets.randbelow(SEED_RANGE)


def read(values: Mapping[str, Any], fields: Mapping[str, type]) -> dict[str, Any]:
    """Return the named values, each as its type.

    Raises:
        InputError: naming a number that was left empty.
    """
    result: dict[str, Any] = {}
    for name, kind in fields.items():
        value = values[name]
        if kind is str:
            result[name] = "" if value is None else str(value)
        elif value is None or not math.isfinite(value):
            raise InputError("value_missing", name=name)
        else:
            result[name] = round(float(value)) if kind is int else float(value)
    return result


def build_request(
    values: Mapping[str, Any], *, control: ControlUse | None = None, axes: Sequence[Axis] = ()
) -> GenerationRequest:
    """Return the request that the page's values describe."""
    return GenerationRequest(
        **read(values, REQUEST_FIELDS), controls=() if control is None else (control,), axes=tuple(axes)
    )


def build_control(
    values: Mapping[str, Any], *, map_id: str, source_id: str, params: Mapping[str, float | bool | str]
) -> ControlUse:
    """Return the control that the page's values describe, on a map that the backend drew."""
    return ControlUse(
        **read(values, CONTROL_FIELDS), map_id=map_id, source_id=source_id, params=tuple(sorted(params.items()))
    )


def seed_axis(seed: int, count: int) -> tuple[Axis, ...]:
    """Return the axis for `count` variations that start at `seed`; none for a single image."""
    return (Axis(name="seed", values=tuple(seed + i for i in range(count))),) if count > 1 else ()


def strengths(given: str) -> tuple[float, ...]:
    """Read control strengths such as "0.25, 0.5; 1": sorted, without repeats, 0 (no control) always first.

    Raises:
        InputError: if one is no number or out of range, or there is none.
    """
    parts = given.replace(";", " ").replace(", ", " ").split()
    values = {0.0}
    for part in (piece for chunk in parts for piece in _split_commas(chunk)):
        try:
            value = float(part)
        except ValueError:
            raise InputError("strength_unreadable", given=part[:40]) from None
        if not 0 <= value <= MAX_CONTROL_SCALE:
            raise InputError("strength_out_of_range", given=part[:40], maximum=MAX_CONTROL_SCALE)
        values.add(value)
    if len(values) == 1:
        raise InputError("strengths_empty")
    return tuple(sorted(values))


def _split_commas(chunk: str) -> list[str]:
    # "0,25" typed by a German hand is one number; "0.5,1" are two.
    if chunk.count(",") == 1 and "." not in chunk:
        return [chunk.replace(",", ".")]
    return [piece for piece in chunk.split(",") if piece]
