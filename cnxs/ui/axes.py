"""What a comparison varies: its part of the page, and what is typed there as axes of a request."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from cnxs.errors import InputError
from cnxs.request import Axis
from cnxs.ui.form import strengths
from cnxs.ui.words import label

# One click each. A set holds the strengths after "no control", which always comes first.
STRENGTH_SETS = {
    "coarse": "0.5  1  1.5",
    "standard": "0.25  0.5  0.75  1  1.5",
    "fine": "0.2  0.4  0.6  0.8  1  1.2  1.4",
}
# What may vary in rows, beside the strengths in columns.
TYPED = ("seed", "guidance_scale", "control_end", "prompt")
CHOSEN = ("kind", "network")

_OPENINGS = {"guidance_scale": "2  4  7", "control_end": "0.4  0.7  1"}
_SEEDS_OFFERED = 3


def compare_panel(fields: dict[str, Any]) -> None:
    """Add the strengths, their sets as buttons, and the choice of what varies in rows."""
    fields["strengths"] = gr.Textbox(
        STRENGTH_SETS["standard"], label=label("page.strengths"), info=label("hint.strengths"), elem_id="strengths"
    )
    with gr.Row(elem_classes="keep-row chips", elem_id="strength-sets"):
        for name, values in STRENGTH_SETS.items():
            chip = gr.Button(label(f"page.strengths_{name}"), size="sm", min_width=60, elem_id=f"strengths-{name}")
            chip.click(
                None,
                None,
                fields["strengths"],
                js=f"() => '{values}'",
                show_progress="hidden",
                api_visibility="private",
            )
    fields["rows"] = gr.Dropdown(
        [(label(f"page.rows_{name}"), name) for name in ("none", *TYPED, *CHOSEN)],
        value="none",
        label=label("page.rows"),
        info=label("hint.rows"),
        elem_id="rows",
    )
    fields["row_values"] = gr.Textbox(visible=False, label=label("page.row_values"), elem_id="row-values")
    fields["row_choices"] = gr.CheckboxGroup([], visible=False, label=label("page.row_choices"), elem_id="row-choices")


def opening(name: str, values: Mapping[str, Any]) -> str:
    """Return what the page writes into the box of row values when `name` was chosen, for the user to change."""
    if name == "prompt":
        return str(values["prompt"] or "")
    if name == "seed":
        first = int(values["seed"] or 0)
        return "  ".join(str(first + i) for i in range(_SEEDS_OFFERED))
    return _OPENINGS.get(name, "")


def row_count(values: Mapping[str, Any]) -> int:
    """Return how many rows the page's values describe; 1 without a second axis.

    Raises:
        InputError: if they cannot be read.
    """
    if values["rows"] in CHOSEN:
        return len(choices(values))
    return len(typed_rows(values).values) if values["rows"] in TYPED else 1


def typed_rows(values: Mapping[str, Any]) -> Axis:
    """Return the axis of the rows that were typed.

    Raises:
        InputError: `axis_values`, if one is no number, or there is none.
    """
    name, given = values["rows"], str(values["row_values"] or "")
    if name == "prompt":
        read: tuple[Any, ...] = tuple(dict.fromkeys(line.strip() for line in given.splitlines() if line.strip()))
    else:
        read = tuple(dict.fromkeys(_number(name, part) for part in given.replace(";", " ").replace(",", " ").split()))
    if not read:
        raise InputError("rows_empty")
    return Axis(name=name, values=read)


def chosen_rows(values: Mapping[str, Any], *, of: Sequence[Any]) -> Axis:
    """Return the axis of the rows that were chosen, with the values that stand for the choices."""
    return Axis(name="control" if values["rows"] == "kind" else "network", values=tuple(of))


def column_axis(values: Mapping[str, Any]) -> Axis:
    """Return the axis of the strengths."""
    return Axis(name="control_scale", values=strengths(values["strengths"]))


def choices(values: Mapping[str, Any]) -> list[str]:
    """Return the kinds or networks that were chosen as rows.

    Raises:
        InputError: `rows_empty`.
    """
    if not values["row_choices"]:
        raise InputError("rows_empty")
    return list(values["row_choices"])


def between(values: Sequence[float], middle: float) -> tuple[float, ...]:
    """Return five strengths around `middle`, out to its neighbours among `values`, halfway points included.

    At an end of `values` the missing neighbour lies as far away as the one there is, within 0 and 2.
    """
    below = max((value for value in values if value < middle), default=None)
    above = min((value for value in values if value > middle), default=None)
    low = below if below is not None else max(0.0, 2 * middle - (above if above is not None else middle + 0.25))
    high = above if above is not None else min(2.0, 2 * middle - low)
    return tuple(sorted({round(v, 4) for v in (low, (low + middle) / 2, middle, (middle + high) / 2, high)}))


def _number(name: str, part: str) -> float | int:
    try:
        value = float(part)
    except ValueError:
        raise InputError("row_unreadable", given=part[:40]) from None
    if not math.isfinite(value) or (name == "seed" and not value.is_integer()):
        raise InputError("row_unreadable", given=part[:40])
    return int(value) if name == "seed" else value
