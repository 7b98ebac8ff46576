"""The history: every finished image, over the whole page, one click from the workbench."""

from typing import Any

import gradio as gr
from gradio.components import Component

from cnxs.ui.browsing import ALL, Browsing, Place
from cnxs.ui.edge import edge
from cnxs.ui.handlers import Handlers
from cnxs.ui.inputs import Fields
from cnxs.ui.outputs import restorable
from cnxs.ui.parts import Prints, Strip
from cnxs.ui.words import label

_QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": None}
_NEWEST: dict[str, Any] = {**_QUIET, "trigger_mode": "always_last"}
_CLOSE = "() => window.cnxsHistory.close()"

_FILTERS = ("history_search", "history_base", "history_condition", "history_favourites")
# What a page, and an image that is seen large, change.
_PAGE = ("place", "prints", "count", "pager", "newer", "older", "undo_row")
_LARGE = ("large", "picture", "facts", "previous", "next", "favourite", "download")


def history_button(fields: Fields) -> None:
    """Add the button that opens the history."""
    fields["history"] = gr.Button(label("page.history"), size="sm", elem_id="history-open", scale=0, min_width=90)


def history_drawer() -> Fields:
    """Add the history itself, closed; return its components by name."""
    fields: Fields = {}
    fields["history_place"] = gr.State(Place())
    fields["history_recent"] = gr.State(())
    with gr.Column(elem_id="history", elem_classes="drawer"):
        _head(fields)
        fields["history_prompts"] = Strip(value="", elem_id="history-prompts")
        with gr.Row(visible=False, elem_id="history-undo-row", elem_classes="keep-row") as fields["history_undo_row"]:
            gr.HTML(
                label("page.history_deleted"),
                html_template='<p role="status">${value}</p>',
                apply_default_css=False,
            )
            fields["history_undo"] = _button("history_undo")
        fields["history_prints"] = Prints(value=None, elem_id="history-prints")
        with gr.Row(visible=False, elem_id="history-pager", elem_classes="keep-row") as fields["history_pager"]:
            fields["history_newer"] = _button("history_newer")
            fields["history_older"] = _button("history_older")
        # The script of the drawer presses it while the drawer is open.
        fields["history_refresh"] = gr.Button("", visible="hidden", elem_id="history-refresh")
        with gr.Column(visible=False, elem_id="history-large") as fields["history_large"]:
            _large(fields)
    return fields


def _head(fields: Fields) -> None:
    with gr.Row(elem_id="history-head", elem_classes="keep-row drawer-head"):
        gr.HTML(
            label("page.history"), elem_classes="heading", html_template="<h2>${value}</h2>", apply_default_css=False
        )
        fields["history_count"] = gr.HTML("", elem_id="history-count", apply_default_css=False)
        _button("history_close").click(None, js=_CLOSE, **_QUIET)
    with gr.Row(elem_id="history-filters", elem_classes="keep-row"):
        fields["history_search"] = gr.Textbox(
            show_label=False,
            label=label("page.history_search"),
            placeholder=label("page.history_search"),
            elem_id="history-search",
            scale=3,
            min_width=220,
        )
        for name in ("base", "condition"):
            fields[f"history_{name}"] = gr.Dropdown(
                [(label(f"page.history_all_{name}s"), ALL)],
                value=ALL,
                show_label=False,
                label=label(f"page.history_{name}"),
                elem_id=f"history-{name}",
                scale=1,
                min_width=150,
            )
        fields["history_favourites"] = gr.Checkbox(
            label=label("page.history_favourites"), elem_id="history-favourites", scale=0, min_width=150
        )


def _large(fields: Fields) -> None:
    with gr.Row(elem_id="history-large-head", elem_classes="keep-row"):
        fields["history_back"] = _button("history_back")
        fields["history_previous"] = _button("history_previous")
        fields["history_next"] = _button("history_next")
    with gr.Row(elem_id="history-large-body", equal_height=False):
        with gr.Column(scale=3, min_width=300):
            fields["history_picture"] = gr.Image(
                label=label("page.result"),
                alt_text=label("page.result"),
                show_label=False,
                interactive=False,
                format="png",
                buttons=["fullscreen"],
                elem_id="history-picture",
            )
        with gr.Column(scale=2, min_width=280, elem_id="history-side"):
            fields["history_facts"] = gr.HTML("", elem_id="history-facts", apply_default_css=False)
            fields["history_bring_back"] = gr.Button(
                label("page.history_bring_back"), variant="primary", elem_id="history-bring-back"
            )
            fields["history_more"] = gr.Button(label("page.history_more"), elem_id="history-more")
            with gr.Row(elem_classes="keep-row history-actions"):
                fields["history_favourite"] = _button("history_favourite")
                fields["history_download"] = gr.DownloadButton(
                    label("page.download"), size="sm", elem_id="history-download", min_width=90
                )
                fields["history_delete"] = _button("history_delete")


def _button(name: str) -> gr.Button:
    return gr.Button(label(f"page.{name}"), size="sm", elem_id=name.replace("_", "-"), min_width=90)


def wire(handlers: Handlers, page_fields: Fields, drawer: Fields) -> None:
    """Tie the history to its handlers."""
    browsing, fields = Browsing(handlers, handlers.restoring, drawer), {**page_fields, **drawer}

    def named(*names: str) -> list[Component]:
        return [fields[name] for name in names]

    filters, place = named("owner", *_FILTERS), named("owner", "history_place")
    page = named(*(f"history_{name}" for name in _PAGE))
    everything = [*page, *named(*(f"history_{name}" for name in _LARGE))]
    fields["history"].click(
        edge(browsing.open),
        filters,
        [*page, *named("history_base", "history_condition", "history_prompts", "history_recent")],
        js="(...values) => { window.cnxsHistory.open(); return values; }",
        **_QUIET,
    ).then(None, js="() => window.cnxsHistory.watch()", **_QUIET)
    for name in _FILTERS:
        fields[name].change(edge(browsing.look), filters, page, **_NEWEST)
    fields["history_refresh"].click(edge(browsing.refresh), place, page, **_QUIET)
    fields["history_prints"].click(edge(browsing.choose), place, everything, **_NEWEST)
    fields["history_back"].click(edge(browsing.back), place, everything, **_QUIET)
    for name, handler in (
        ("older", browsing.older),
        ("newer", browsing.newer),
        ("next", browsing.following),
        ("previous", browsing.preceding),
        ("favourite", browsing.favourite),
        ("delete", browsing.delete),
        ("undo", browsing.undo),
    ):
        fields[f"history_{name}"].click(edge(handler), place, everything, **_NEWEST)
    _wire_ways_out(browsing, page_fields, drawer)


def _wire_ways_out(browsing: Browsing, fields: Fields, drawer: Fields) -> None:
    """What leads back to the workbench; the history closes only once it went well."""
    place = [fields["owner"], drawer["history_place"]]
    ways = [
        drawer["history_bring_back"].click(edge(browsing.bring_back), place, restorable(fields), **_QUIET),
        drawer["history_more"].click(edge(browsing.more_like), place, fields["job"], **_QUIET),
        drawer["history_prompts"].click(
            edge(browsing.use_prompt), drawer["history_recent"], fields["prompt"], **_QUIET
        ),
    ]
    for way in ways:
        way.success(None, js=_CLOSE, **_QUIET)
