"""How strongly each part of a control network steers, and on which side of guidance: the same for every control."""

from typing import Any

import gradio as gr

from cnxs.request import ControlUse
from cnxs.ui import form
from cnxs.ui.binding import Fields, Values
from cnxs.ui.words import label

_GAINS = ("gain_early", "gain_middle", "gain_late")  # encoder, middle, decoder connections
NAMES = (*_GAINS, "prompt_half_only")


def gain_fields(fields: Fields, prefix: str = "") -> None:
    """Add three sliders and a switch, under names and ids that begin with `prefix`."""
    gr.HTML(
        label("page.gains"),
        html_template='<p class="note">${value}</p>',
        apply_default_css=False,
        elem_id=_id(f"{prefix}gains-intro"),
    )
    for name in _GAINS:
        fields[prefix + name] = gr.Slider(
            0,
            2,
            1.0,
            step=0.05,
            label=label(f"page.{name}"),
            info=label(f"hint.{name}"),
            elem_id=_id(prefix + name),
            buttons=[],
        )
    fields[f"{prefix}prompt_half_only"] = gr.Checkbox(
        False,
        label=label("page.prompt_half_only"),
        info=label("hint.prompt_half_only"),
        elem_id=_id(f"{prefix}prompt_half_only"),
    )


def _id(name: str) -> str:
    return name.replace("_", "-")


def read(values: Values, prefix: str = "") -> dict[str, Any]:
    """Return what the fields set of a `ControlUse`.

    Raises:
        InputError: if a slider holds no number.
    """
    gains = form.read(values, {prefix + name: float for name in _GAINS})
    return {"gains": tuple(gains.values()), "prompt_half_only": bool(values[f"{prefix}prompt_half_only"])}


def laid_out(use: ControlUse, prefix: str = "") -> dict[str, Any]:
    """Return values of the fields that bring back what a control was used with."""
    given = (*use.gains, use.prompt_half_only)
    return {prefix + name: value for name, value in zip(NAMES, given, strict=True)}


def are_usual(use: ControlUse) -> bool:
    """Say whether a control steers with all its parts, as trained, on both sides."""
    return set(use.gains) == {1.0} and not use.prompt_half_only
