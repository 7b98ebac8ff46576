"""Control maps: a picture in, the map of the same size out. One file per kind, each a pure function."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from cnxs.controls import as_is, blur, canny, colour_grid, detectors, line_art, scribble, silhouette, soft_edge
from cnxs.errors import InputError
from cnxs.images import Pixels
from cnxs.registry import CONTROL_KINDS
from cnxs.specs import ParamSpec

# The kinds that need no weights: (H, W, 3) uint8 RGB and the parameters by keyword -> (H, W, 3) uint8 RGB
DRAWERS: dict[str, Callable[..., Pixels]] = {
    "canny": canny.draw,
    "scribble": scribble.draw,
    "as_is": as_is.draw,
    "soft_edge": soft_edge.draw,
    "line_art": line_art.draw,
    "blur": blur.draw,
    "colour_grid": colour_grid.draw,
    "silhouette": silhouette.draw,
}


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A control map, and what the user should know about it: wording keys with fields."""

    map: Image.Image  # RGB, of the picture's size
    notes: tuple[tuple[str, Mapping[str, object]], ...] = ()


def draw(
    image: Image.Image,
    *,
    kind: str,
    params: Mapping[str, float | bool | str],
    weights: Path | None = None,
    device: str = "cpu",
) -> Drawn:
    """Draw the control map of an RGB picture.

    Args:
        image: the placed source; it is not changed.
        kind: a name in `registry.CONTROL_KINDS`.
        params: values for its parameters; missing ones take their defaults.
        weights: where the weights of `registry.DETECTORS` lie, for a kind that needs any.
        device: where the network of such a kind runs.

    Raises:
        InputError: `unknown_kind`, `unknown_param`, `param_not_allowed`; `empty_sketch` from scribble.
        UnavailableError: if the kind's weights or the package it needs are not here.
        CheckpointError: if the kind's weights are damaged, or are others.
    """
    if kind not in CONTROL_KINDS:
        raise InputError("unknown_kind", given=kind, allowed=", ".join(CONTROL_KINDS))
    specs = {spec.name: spec for spec in CONTROL_KINDS[kind].params}
    for name, value in params.items():
        if name not in specs:
            raise InputError("unknown_param", kind=kind, given=name, allowed=", ".join(specs))
        if not specs[name].check(value):
            raise InputError("param_not_allowed", kind=kind, name=name, given=value, allowed=_allowed(specs[name]))
    values = {name: params.get(name, spec.default) for name, spec in specs.items()}
    pixels = np.asarray(image)
    if CONTROL_KINDS[kind].weights:
        return Drawn(map=Image.fromarray(detectors.draw(pixels, kind=kind, weights=weights, device=device, **values)))
    notes = ()
    if kind == "as_is" and values["polarity"] == "auto":
        turned = as_is.inverted(pixels, polarity="auto")
        notes = (("note.polarity_inverted" if turned else "note.polarity_kept", {}),)
    return Drawn(map=Image.fromarray(DRAWERS[kind](pixels, **values)), notes=notes)


def _allowed(spec: ParamSpec) -> str:
    if isinstance(spec.default, str):
        return ", ".join(spec.choices)
    return "true, false" if isinstance(spec.default, bool) else f"{spec.minimum:g} ... {spec.maximum:g}"
