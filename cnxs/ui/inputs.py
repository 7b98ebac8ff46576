"""The left and middle columns: what to follow, and what it becomes. Components are kept by name in `fields`."""

from typing import Any, get_args

import gradio as gr
from gradio.components import Component

from cnxs.protocol import BaseInfo, Models
from cnxs.registry import CONTROL_KINDS
from cnxs.request import MAX_CONTROL_SCALE, MAX_GUIDANCE_SCALE, MAX_SEED, MAX_STEPS, Prediction, Sampler, defaults
from cnxs.specs import ControlKind, ParamSpec
from cnxs.ui import examples, styles
from cnxs.ui.all_maps import all_maps_button, all_maps_row
from cnxs.ui.axes import compare_panel
from cnxs.ui.binding import Fields
from cnxs.ui.canvas import SketchCanvas
from cnxs.ui.fine_control import fine_panel
from cnxs.ui.form import kind_choices
from cnxs.ui.further_cards import further_cards
from cnxs.ui.loras import loras_panel
from cnxs.ui.parts import STATIC, Strip, UploadedImage
from cnxs.ui.start_picture import start_panel
from cnxs.ui.waiting import waiting_switches
from cnxs.ui.words import label

SOURCES = ("photo", "sketch", "map")
MAX_COUNT = 4


def heading(key: str) -> gr.HTML:
    """Add a column heading; the browser fills in the words."""
    return gr.HTML(label(key), elem_classes="heading", html_template="<h2>${value}</h2>", apply_default_css=False)


def source_column(fields: Fields, models: Models) -> None:
    """Add the source tabs, the choice of control kind with its sliders, and the previews."""
    heading("page.heading_source")
    with gr.Tabs(selected="photo", elem_id="source-tabs") as fields["source_tabs"]:
        with gr.Tab(label("page.tab_photo"), id="photo", elem_id="tab-photo") as fields["tab_photo"]:
            fields["photo"] = _upload("photo", ["upload", "clipboard", "webcam"])
        with gr.Tab(label("page.tab_sketch"), id="sketch", elem_id="tab-sketch") as fields["tab_sketch"]:
            fields["sketch"] = SketchCanvas(elem_id="sketch")
            fields["live"] = gr.Checkbox(False, label=label("page.live"), info=label("hint.live"), elem_id="live")
            fields["trace"] = gr.Button(label("page.trace"), size="sm", elem_id="trace")
        with gr.Tab(label("page.tab_map"), id="map", elem_id="tab-map") as fields["tab_map"]:
            fields["map"] = _upload("map", ["upload", "clipboard"])
    kinds = [choice.kind.name for choice in kind_choices(models, models.bases[0].name)]
    fields["kind"] = gr.Radio(
        [(label(f"kind.{kind}"), kind) for kind in kinds],
        value=default_kind("photo", kinds),
        label=label("page.kind"),
        elem_id="kind",
    )
    fields["kinds_away"] = gr.HTML(
        "", js_on_load=(STATIC / "open_panel.js").read_text("utf-8"), elem_id="kinds-away", apply_default_css=False
    )
    fields["map_note"] = gr.HTML("", elem_id="map-note", apply_default_css=False)
    with gr.Accordion(label("page.kind_settings"), open=False, elem_id="kind-settings") as fields["kind_settings"]:
        for kind in CONTROL_KINDS.values():  # those as well whose weights may arrive while the page is open
            with gr.Group(visible=kind.name == "canny") as fields[f"group.{kind.name}"]:
                _sliders(fields, kind)
    with gr.Row(elem_id="maps", elem_classes="keep-row"):
        fields["placed"] = _shown("placed", "page.placed")
        fields["control_map"] = _shown("control-map", "page.control_map")
    _map_buttons(fields)
    if examples.read():
        gr.HTML(
            label("page.examples"),
            html_template='<p class="note">${value}</p>',
            apply_default_css=False,
            elem_id="examples-label",
        )
        fields["examples"] = Strip(value=examples.strip_html(), elem_id="examples")
    fine_panel(fields)
    further_cards(fields)


def _map_buttons(fields: Fields) -> None:
    with gr.Row(elem_id="map-actions", elem_classes="keep-row actions"):
        for name in ("edit_map", "copy_map"):
            fields[name] = gr.Button(
                label(f"page.{name}"), size="sm", visible=False, elem_id=name.replace("_", "-"), min_width=100
            )
        all_maps_button(fields)
    all_maps_row(fields)


def _upload(name: str, sources: list[Any]) -> UploadedImage:
    return UploadedImage(
        label=label(f"page.{name}"),
        show_label=False,
        sources=sources,
        type="filepath",
        image_mode=None,
        buttons=[],
        height=300,
        elem_id=name,
    )


def _shown(elem_id: str, key: str) -> gr.Image:
    return gr.Image(
        label=label(key),
        alt_text=label(key),
        interactive=False,
        format="png",
        buttons=["download", "fullscreen"],
        height=200,
        min_width=120,
        visible=False,
        elem_id=elem_id,
    )


def _sliders(fields: Fields, kind: ControlKind) -> None:
    for param in kind.params:
        fields[f"param.{kind.name}.{param.name}"] = _param(param)


def _param(param: ParamSpec) -> Component:
    words = {"label": label(f"param.{param.name}"), "info": label(f"param.{param.name}_hint")}
    if isinstance(param.default, bool):
        return gr.Checkbox(param.default, **words)
    if isinstance(param.default, str):
        choices = [(label(f"param.{param.name}_{choice}"), choice) for choice in param.choices]
        return gr.Radio(choices, value=param.default, **words)
    return gr.Slider(param.minimum, param.maximum, param.default, step=param.step, **words, buttons=[])


def prompt_column(fields: Fields, models: Models) -> None:
    """Add the words, the strength, the buttons and, folded away, everything else."""
    heading("page.heading_prompt")
    fields["prompt"] = gr.Textbox(
        label=label("page.prompt"), placeholder=label("page.prompt_placeholder"), lines=3, elem_id="prompt"
    )
    styles.prompt_help(fields)
    fields["negative_prompt"] = gr.Textbox(
        label=label("page.negative_prompt"),
        placeholder=label("page.negative_placeholder"),
        lines=1,
        elem_id="negative-prompt",
    )
    fields["control_scale"] = gr.Slider(
        0,
        MAX_CONTROL_SCALE,
        1.0,
        step=0.05,
        label=label("page.control_scale"),
        info=label("hint.control_scale"),
        elem_id="control-scale",
        buttons=[],
    )
    fields["count"] = gr.Radio(
        list(range(1, MAX_COUNT + 1)), value=1, label=label("page.count"), elem_id="count", elem_classes="small-radio"
    )
    fields["generate"] = gr.Button(label("page.generate"), variant="primary", size="lg", elem_id="generate")
    fields["cancel"] = gr.Button(label("page.cancel"), variant="stop", size="lg", elem_id="cancel", visible=False)
    with gr.Row(elem_classes="keep-row compare-row"):
        fields["compare"] = gr.Button(label("page.compare"), elem_id="compare", min_width=150, scale=0)
        fields["cost"] = gr.HTML("", elem_id="cost", apply_default_css=False)
    with gr.Accordion(label("page.compare_settings"), open=False, elem_id="compare-settings"):
        compare_panel(fields)
    start_panel(fields)
    loras_panel(fields)
    with gr.Accordion(label("page.advanced"), open=False, elem_id="advanced"):
        _advanced(fields, models)


def _advanced(fields: Fields, models: Models) -> None:
    base, start = models.bases[0], defaults()
    with gr.Row():
        fields["seed"] = gr.Number(
            start.seed,
            label=label("page.seed"),
            info=label("hint.seed"),
            precision=0,
            minimum=0,
            maximum=MAX_SEED,
            elem_id="seed",
        )
        fields["random_seed"] = gr.Checkbox(True, label=label("page.random_seed"), elem_id="random-seed")
    fields["base"] = gr.Dropdown(
        [(info.label, info.name) for info in models.bases], value=base.name, label=label("page.base"), elem_id="base"
    )
    fields["network"] = gr.Dropdown([], label=label("page.network"), elem_id="network", allow_custom_value=True)
    _sampling(fields, base)
    _size(fields, base)
    waiting_switches(fields)
    fields["clip_skip"] = _slider("clip_skip", 0, 11, 0, 1)
    fields["prediction"] = gr.Dropdown(
        [(label(f"page.prediction_{name}"), name) for name in get_args(Prediction)],
        value=start.prediction,
        label=label("page.prediction"),
        info=label("hint.prediction"),
        elem_id="prediction",
    )


def _sampling(fields: Fields, base: BaseInfo) -> None:
    start = defaults()
    with gr.Row():
        fields["steps"] = _slider("steps", 1, MAX_STEPS, base.default_steps, 1)
        fields["guidance_scale"] = _slider("guidance_scale", 1, MAX_GUIDANCE_SCALE, base.default_guidance_scale, 0.5)
    fields["guidance_rescale"] = _slider("guidance_rescale", 0, 1, start.guidance_rescale, 0.05)
    fields["sampler"] = gr.Dropdown(
        list(get_args(Sampler)),
        value=start.sampler,
        label=label("page.sampler"),
        info=label("hint.sampler"),
        elem_id="sampler",
    )
    with gr.Row():
        fields["start"] = _slider("start", 0, 1, 0.0, 0.05)
        fields["end"] = _slider("end", 0, 1, 1.0, 0.05)


def _size(fields: Fields, base: BaseInfo) -> None:
    start = defaults()
    with gr.Row():
        for name in ("width", "height"):
            fields[name] = gr.Number(
                getattr(start, name),
                label=label(f"page.{name}"),
                precision=0,
                step=base.size_multiple,
                min_width=90,
                elem_id=name,
            )
    fields["placement"] = gr.Radio(
        [(label(f"page.placement_{name}"), name) for name in ("crop", "fit", "stretch")],
        value=start.placement,
        label=label("page.placement"),
        info=label("hint.placement"),
        elem_id="placement",
    )


def _slider(name: str, minimum: float, maximum: float, value: float, step: float) -> gr.Slider:
    return gr.Slider(
        minimum,
        maximum,
        value,
        step=step,
        label=label(f"page.{name}"),
        info=label(f"hint.{name}"),
        elem_id=name.replace("_", "-"),
        min_width=240,
        buttons=[],
    )


def default_kind(source: str, kinds: list[str]) -> str | None:
    """Return the kind that suits a source best, among the kinds that there are."""
    wanted = {"photo": "canny", "sketch": "scribble", "map": "as_is"}[source]
    others = [kind for kind in kinds if kind != "as_is"]
    return wanted if wanted in kinds else next(iter(others or kinds), None)
