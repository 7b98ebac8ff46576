"""The cards of further controls, as they are laid out: each with its picture, kind, settings, strength and window."""

from collections.abc import Mapping
from typing import Any

import gradio as gr

from cnxs import text
from cnxs.request import MAX_CONTROL_SCALE
from cnxs.specs import ControlKind, ParamSpec
from cnxs.ui import gains
from cnxs.ui.binding import Fields, Values
from cnxs.ui.parts import UploadedImage
from cnxs.ui.words import label

PLACES = ("second", "third")  # begin the names of a card's components
SLIDERS = {"control_scale": (MAX_CONTROL_SCALE, 0.7), "start": (1.0, 0.0), "end": (1.0, 1.0)}
_NUMBERS, _CHOICE = ("number_1", "number_2", "number_3"), "choice"
WHERE = ("everywhere", "painted", "unpainted")  # a further control acts, by the region painted for the first
SLOTS = (*_NUMBERS, _CHOICE)  # show the settings of whichever kind is chosen


def switched_on(values: Values) -> int:
    """Return how many further controls are on."""
    return sum(bool(values[f"{place}_on"]) for place in PLACES)


def slots(kind: ControlKind) -> dict[str, ParamSpec]:
    """Return the settings of a kind by the component of a card that shows each: three numbers and a choice."""
    numbers, choice = iter(_NUMBERS), iter((_CHOICE,))
    return {next(choice if isinstance(param.default, str) else numbers): param for param in kind.params}


def slot_updates(kind: ControlKind, given: Mapping[str, Any], language: str) -> dict[str, Any]:
    """Return updates by slot that show the settings of a kind, each as given or else at its default."""
    updates: dict[str, Any] = {name: gr.update(visible=False) for name in SLOTS}
    for name, param in slots(kind).items():
        shown: dict[str, Any] = {
            "label": text.get(f"param.{param.name}", language),
            "info": text.get(f"param.{param.name}_hint", language),
            "value": given.get(param.name, param.default),
            "visible": True,
        }
        if name == _CHOICE:
            shown["choices"] = [(text.get(f"param.{param.name}_{c}", language), c) for c in param.choices]
        else:
            shown |= {"minimum": param.minimum, "maximum": param.maximum, "step": param.step}
        updates[name] = gr.update(**shown)
    return updates | {"settings": gr.update(visible=bool(kind.params))}


class _Number(gr.Slider):
    """A slider whose bounds change with the kind: a value of the last kind's may be on its way when they do."""

    is_template = True  # Gradio then draws it as its own Slider

    def preprocess(self, payload: float) -> float:
        """Return the value as it came; what it is taken for is checked where the map is drawn."""
        return payload


def further_cards(fields: Fields) -> None:
    """Add a card for each further control, folded away; the style sheet shows its rest once it is on."""
    for place in PLACES:
        _card(fields, place)


def _card(fields: Fields, place: str) -> None:
    fields[f"{place}_shown_for"] = gr.State(None)  # the kind that network and settings were chosen for
    with gr.Accordion(
        label(f"page.{place}_panel"), open=False, elem_id=f"{place}-panel", elem_classes="further-panel"
    ) as fields[f"{place}_panel"]:
        fields[f"{place}_on"] = gr.Checkbox(
            False,
            label=label("page.further_on"),
            info=label(f"hint.{place}_on"),
            elem_id=f"{place}-on",
            elem_classes="further-on",
        )
        with gr.Column(elem_id=f"{place}-card", elem_classes="further-card"):
            fields[f"{place}_kind"] = gr.Radio(
                [], label=label("page.kind"), elem_id=f"{place}-kind", elem_classes="further-kind"
            )
            fields[f"{place}_note"] = gr.HTML("", elem_id=f"{place}-note", apply_default_css=False)
            _settings(fields, place)
            _pictures(fields, place)
            _slider(fields, place, "control_scale")
            with gr.Row():
                _slider(fields, place, "start")
                _slider(fields, place, "end")
            fields[f"{place}_where"] = gr.Radio(
                [(label(f"page.where_{where}"), where) for where in WHERE],
                value=WHERE[0],
                label=label("page.further_where"),
                elem_id=f"{place}-where",
                elem_classes="further-where",
            )
            with gr.Accordion(
                label("page.gains_panel"), open=False, elem_id=f"{place}-gains", elem_classes="further-settings"
            ) as fields[f"{place}_gains"]:
                gains.gain_fields(fields, f"{place}_")
            fields[f"{place}_network"] = gr.Dropdown(
                [], label=label("page.network"), visible=False, elem_id=f"{place}-network", allow_custom_value=True
            )


def _settings(fields: Fields, place: str) -> None:
    with gr.Accordion(
        label("page.kind_settings"), open=False, elem_id=f"{place}-settings", elem_classes="further-settings"
    ) as fields[f"{place}_settings"]:
        for name in _NUMBERS:
            fields[f"{place}_{name}"] = _Number(
                0, 1, 0, label=name, buttons=[], elem_id=f"{place}-{name.replace('_', '-')}"
            )
        fields[f"{place}_{_CHOICE}"] = gr.Radio([], label=_CHOICE, elem_id=f"{place}-choice")


def _slider(fields: Fields, place: str, name: str) -> None:
    maximum, start = SLIDERS[name]
    fields[f"{place}_{name}"] = gr.Slider(
        0,
        maximum,
        start,
        step=0.05,
        label=label(f"page.{name}"),
        elem_id=f"{place}-{name.replace('_', '-')}",
        min_width=150,
        buttons=[],
    )


def _pictures(fields: Fields, place: str) -> None:
    with gr.Row(elem_classes="keep-row further-pictures"):
        fields[f"{place}_picture"] = UploadedImage(
            label=label("page.further_picture"),
            sources=["upload", "clipboard"],
            type="filepath",
            image_mode=None,
            buttons=[],
            height=240,
            min_width=120,
            elem_id=f"{place}-picture",
            elem_classes="further-picture",
        )
        fields[f"{place}_map"] = gr.Image(
            label=label("page.control_map"),
            alt_text=label("page.control_map_alt"),
            interactive=False,
            format="png",
            buttons=["fullscreen"],
            height=200,
            min_width=120,
            visible=False,
            elem_id=f"{place}-map",
            elem_classes="further-map",
        )
