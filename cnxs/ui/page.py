"""The page: its layout, and which use of it calls which handler."""

from collections.abc import Awaitable, Callable
from typing import Any

import gradio as gr
from gradio.components import Component
from starlette.middleware import Middleware

from cnxs import text
from cnxs.protocol import Backend
from cnxs.ui import (
    all_maps,
    api,
    comparing,
    exporting,
    fine_control,
    further_controls,
    gallery,
    hints,
    live,
    loras,
    models_panel,
    prompting,
    second_pass,
    start_picture,
    tracing,
    training,
    waiting,
    words,
)
from cnxs.ui.canvas import SketchCanvas
from cnxs.ui.edge import edge
from cnxs.ui.files import PictureFiles
from cnxs.ui.further_cards import PLACES
from cnxs.ui.guard import Guard
from cnxs.ui.handlers import Handlers
from cnxs.ui.inputs import SOURCES, Fields, prompt_column, source_column
from cnxs.ui.limits import ClientLimits, limited
from cnxs.ui.line import Page, hold_line
from cnxs.ui.menus import BASE_FIELDS
from cnxs.ui.outputs import outputs, restorable, result_column
from cnxs.ui.parts import STATIC, on_choice
from cnxs.ui.theme import Studio
from cnxs.ui.words import label

LogIn = Callable[[str, str], Awaitable[bool]]

MAX_UPLOAD = "64mb"
MAX_EVENTS = 200  # at once over all pages; each open page has one that never ends
MAX_PAGES = 2 * MAX_EVENTS  # whose state is kept, open or closed: one that is open speaks up, and stays
STYLES = ("style.css", "history.css", "compare.css", "panels.css", "help.css", "train.css")
SCRIPTS = ("tabs.js", "page.js", "history.js", "compare.js", "notify.js", "files.js", "hints.js", "tour.js", "train.js")
CACHE_SECONDS = (3600, 86_400)  # how often Gradio's copies of pictures are looked at, and how old they may get

_QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": None}
_NEWEST: dict[str, Any] = {**_QUIET, "trigger_mode": "always_last"}

_FURTHER_ON = tuple(f"{place}_on" for place in PLACES)
_LIMITS = ClientLimits()


def build_ui(backend: Backend, *, limits: ClientLimits = _LIMITS) -> gr.Blocks:
    """Build the page on a backend. Serve it with `launch(**launch_options())`."""
    backend = limited(backend, limits)
    fields: Fields = {}
    models = backend.models()
    with Page(
        title=text.get("page.title"), analytics_enabled=False, delete_cache=CACHE_SECONDS, fill_width=True
    ) as page:
        _states(fields)
        desk = backend.training()
        _masthead(fields, trains=desk is not None)
        with gr.Row(elem_id="studio", equal_height=False):
            with gr.Column(scale=5, min_width=320, elem_id="column-source"):
                source_column(fields, models)
            with gr.Column(scale=4, min_width=300, elem_id="column-prompt"):
                prompt_column(fields, models)
                exporting.settings_row(fields)
            with gr.Column(scale=7, min_width=320, elem_id="column-result"):
                result_column(fields)
        models_panel.models_panel(fields)
        gr.HTML(
            label("page.keys"), html_template='<p class="keys">${value}</p>', apply_default_css=False, elem_id="keys"
        )
        hold_line(page, **_QUIET)
        drawer = gallery.history_drawer()
        hints.hint_pictures()
        hints.tour()
        crowded = '<p role="alert">${value}</p>'
        gr.HTML(label("page.crowded"), html_template=crowded, apply_default_css=False, elem_id="crowded")
        handlers = Handlers(backend, fields, PictureFiles())
        api.wire(backend, handlers.files)
        _wire(page, handlers, fields, drawer)
        if desk is not None:
            training.train_drawer(page, handlers, handlers.menus, desk)
    return page


def _wire(page: gr.Blocks, handlers: Handlers, fields: Fields, drawer: Fields) -> None:
    everything = _request_inputs(fields)
    _wire_menus(handlers, fields)
    _wire_preview(handlers, fields)
    _wire_work(page, handlers, fields)
    _wire_live(handlers, fields)
    gallery.wire(handlers, fields, drawer)
    models_panel.wire(page, handlers, handlers.menus)
    comparing.wire(handlers, handlers.comparing, everything)
    tracing.wire(handlers, everything)
    _wire_panels(page, handlers, everything)
    waiting.wire(fields)
    prompting.wire(page, handlers)
    exporting.wire(exporting.Exporting(handlers, handlers.asking), fields, everything)


def launch_options(*, mcp: bool = False, log_in: LogIn | None = None) -> dict[str, Any]:
    """Return what the page needs from `launch`: its look, its scripts, its languages, its limits.

    Args:
        mcp: offer the named endpoints as tools for assistants as well.
        log_in: says whether a name and a password fit; None: everybody may use the page.
    """
    options = {
        "auth": log_in,
        "mcp_server": mcp,
        "theme": Studio(),
        "css": "".join(map(_static, STYLES)),
        "head": f"<style>{_static('states.css')}</style>"
        + "".join(f"<script>{_static(name)}</script>" for name in SCRIPTS),
        "i18n": words.translations(),
        "max_file_size": MAX_UPLOAD,
        "max_threads": MAX_EVENTS,
        "state_session_capacity": MAX_PAGES,
        "allowed_paths": [],
        "enable_monitoring": False,
        "run_history": False,
        "footer_links": [],
        "ssr_mode": False,
    }
    return options | {"app_kwargs": {"middleware": [Middleware(Guard, head=options["head"])]}}


def _static(name: str) -> str:
    return (STATIC / name).read_text("utf-8")


def _states(fields: Fields) -> None:
    for name, start in (
        ("owner", None),
        ("source", "photo"),
        ("job", None),
        ("view", None),
        ("pace", None),
        ("fitted", None),
        ("network_for", None),  # the kind for which the network in the menu was chosen
        ("laid", None),  # the followed picture and its size, for panels that show it again
    ):
        fields[name] = gr.State(start)
    fields["waking"] = gr.Timer(0.7, active=False)
    # What the browser remembers of its user and of this tab, filled in by its script when the page arrives.
    fields["arrival"] = gr.Textbox(visible=False)
    fields["link"] = gr.Textbox(visible=False)  # settings on their way into a link, or out of one


def _masthead(fields: Fields, *, trains: bool) -> None:
    with gr.Row(elem_id="masthead", elem_classes="keep-row"):
        gr.HTML(
            label("page.tagline"),
            html_template=f"<h1>{text.get('page.title')}</h1><p>${{value}}</p>",
            apply_default_css=False,
        )
        gallery.history_button(fields)
        if trains:
            training.train_button(fields)
        fields["restore"] = gr.UploadButton(
            label("page.restore"), file_types=[".png", ".json"], type="filepath", size="sm", elem_id="restore", scale=0
        )
        fields["device"] = gr.HTML("", elem_id="device", apply_default_css=False)


def _request_inputs(fields: Fields) -> set[Component]:
    left_out = ("arrival", "link", "restore", "view", "job", "pace", "placed", "control_map", "stage", "slider", "pair")
    left_out += tuple(f"{place}_map" for place in PLACES)
    silent = (gr.HTML, gr.Timer, gr.Button, gr.DownloadButton, gr.Tab, gr.Tabs, gr.Row, gr.Column, gr.Group)
    silent += (gr.Accordion,)
    return {
        component
        for name, component in fields.items()
        if isinstance(component, SketchCanvas) or (name not in left_out and not isinstance(component, silent))
    }


def _wire_menus(handlers: Handlers, fields: Fields) -> None:
    for source in SOURCES:
        tab = fields[f"tab_{source}"]
        tab.select(
            edge(handlers.menus.choose_source(source)),
            [fields["base"], fields["source"]],
            [fields["source"], fields["kind"]],
            js=f"(...values) => {{ sessionStorage.setItem('cnxs.source', '{source}'); return values; }}",
            **_QUIET,
        )
    kind = [fields[name] for name in fields if name.startswith("group.")]
    kind += [fields["network"], fields["network_for"], fields["kind_settings"]]
    menus = [*kind, fields["kind"], fields["base"], fields["kinds_away"]]
    gr.on(
        [fields["kind"].change, fields["base"].change],
        edge(handlers.menus.use_kind),
        [fields["base"], fields["kind"], fields["network"], fields["network_for"]],
        kind,
        **_NEWEST,
    )
    on_choice(
        fields["base"],
        edge(handlers.menus.use_base),
        [fields["base"], fields["source"]],
        [*menus, *(fields[name] for name in BASE_FIELDS)],
        **_QUIET,
    )
    fields["waking"].tick(
        edge(handlers.menus.wake),
        [fields[name] for name in ("base", "source", "kind")],
        [*menus, fields["waking"], fields["device"]],
        **_QUIET,
    ).then(  # what was typed before there was a model to read it
        *_counting(handlers, fields), **_QUIET
    )


def _wire_preview(handlers: Handlers, fields: Fields) -> None:
    drawn = ("photo", "map", "sketch", "source", "kind", "network", "base", "width", "height", "placement")
    params = [name for name in fields if name.startswith("param.")]
    shown = ("placed", "control_map", "copy_map", "edit_map", "map_note", "fitted", "laid", "width", "height")
    gr.on(
        [fields[name].change for name in (*drawn, *params)],
        edge(handlers.sources.preview),
        # Runs on each stroke: nothing else travels with it.
        {fields[name] for name in (*drawn, *params, "fitted", "network_for", *_FURTHER_ON, "region_on")},
        [fields[name] for name in shown],
        **_NEWEST,
    )
    fields["copy_map"].click(None, js="() => window.cnxs.copyMap()", **_QUIET)


def _wire_work(page: gr.Blocks, handlers: Handlers, fields: Fields) -> None:
    everything = _request_inputs(fields)
    fields["job"].change(
        edge(handlers.follow),
        [fields["job"], fields["owner"], fields["pace"], fields["previews"]],
        outputs(fields),
        trigger_mode="multiple",
        **_QUIET,
    )
    for name, handler in (("generate", handlers.generate), ("compare", handlers.compare)):
        fields[name].click(
            edge(handler),
            everything,
            [fields[output] for output in ("job", "owner", "seed", "status")],
            **_QUIET,
        )
    fields["cancel"].click(edge(handlers.cancel), [fields["job"], fields["owner"]], **_QUIET)
    _wire_results(handlers, fields)
    _wire_restore(handlers, fields)
    _wire_examples(handlers, fields)
    _wire_words(page, handlers, fields)
    arrival = [component for name, component in fields.items() if not isinstance(component, gr.Button)]
    page.load(
        edge(handlers.arrive),
        [fields["arrival"]],
        arrival,
        js="async () => [await window.cnxs.arrival()]",
        **_QUIET,
    ).then(
        edge(handlers.restoring.link),
        fields["link"],
        [*restorable(fields), fields["link"]],
        js="() => [window.cnxsFiles.arrivedLink()]",
        **_QUIET,
    ).then(None, js="() => window.cnxs.arrived()", **_QUIET)


def _wire_panels(page: gr.Blocks, handlers: Handlers, everything: set[Component]) -> None:
    start_picture.wire(handlers, everything)
    all_maps.wire(handlers, everything)
    fine_control.wire(handlers)
    further_controls.wire(page, handlers)
    loras.wire(page, handlers)
    second_pass.wire(handlers)


def _wire_live(handlers: Handlers, fields: Fields) -> None:
    sketching = live.Live(handlers, handlers.asking)
    seed = [fields["seed"], fields["random_seed"]]
    gr.on(
        [fields["live"].change, fields["source"].change],
        edge(sketching.switch),
        [fields["live"], fields["source"], *seed],
        [fields["generate"], *seed],
        **_QUIET,
    )
    # A pen-up as `input`: Gradio runs the handlers of one event in turn, and those of `change` draw the map first.
    gr.on(
        [fields["sketch"].input, fields["live"].change, fields["prompt"].blur, fields["control_scale"].release],
        edge(sketching.frame),
        _request_inputs(fields) - {fields["region"]},  # on each stroke: what was painted there is in `region_kept`
        live.outputs(fields),
        trigger_mode="multiple",
        queue=False,  # answered by its own request: Gradio's queue looks for answers every 50 ms only
        **_QUIET,
    )


def _wire_restore(handlers: Handlers, fields: Fields) -> None:
    fields["restore"].upload(edge(handlers.restoring.file), fields["restore"], restorable(fields), **_QUIET)


def _wire_results(handlers: Handlers, fields: Fields) -> None:
    view = [fields["view"]]
    shown = ("stage", "stage_tabs", "empty", "tab_beside", "slider", "facts", "actions", "download", "strip")
    shown += ("finer", "tab_pair", "pair", "pair_facts")
    changed = [fields[name] for name in (*shown, "control_scale")]
    fields["strip"].click(edge(handlers.select), view, changed, **_QUIET)
    seed = [fields["seed"], fields["random_seed"]]
    fields["reuse_seed"].click(edge(handlers.reuse_seed), view, seed, **_QUIET)
    fields["new_seed"].click(edge(handlers.new_seed), None, seed, **_QUIET)
    fields["as_source"].click(
        edge(handlers.as_source), view, [fields[name] for name in ("photo", "source", "source_tabs")], **_QUIET
    )


def _wire_examples(handlers: Handlers, fields: Fields) -> None:
    if "examples" in fields:
        laid_out = [fields[name] for name in ("photo", "source", "source_tabs", "kind", "prompt")]
        fields["examples"].click(edge(handlers.menus.example), [fields["base"]], laid_out, **_QUIET)


def _wire_words(page: gr.Blocks, handlers: Handlers, fields: Fields) -> None:
    rows = ("rows", "row_values", "row_choices")
    priced = [fields[name] for name in ("strengths", *rows, "width", "height", "steps", "base", *_FURTHER_ON, "pace")]
    gr.on(
        [page.load, *(component.change for component in priced)],
        edge(handlers.menus.cost),
        set(priced),
        fields["cost"],
        **_NEWEST,
    )
    typed = [fields["prompt"], fields["negative_prompt"]]
    gr.on(
        [component.change for component in typed],
        None,
        typed,
        js="(prompt, negative) => window.cnxs.keep({ prompt, negative_prompt: negative })",
        **_QUIET,
    )
    gr.on([fields["prompt"].change, fields["base"].change], *_counting(handlers, fields), **_NEWEST)


def _counting(handlers: Handlers, fields: Fields) -> tuple[Any, ...]:
    """Return handler, inputs and output of the number of tokens below the prompt."""
    return edge(handlers.menus.count_tokens), [fields["base"], fields["prompt"]], fields["tokens"]
