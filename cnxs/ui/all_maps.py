"""All control maps of one picture side by side; choosing one follows it."""

from collections.abc import Mapping
from html import escape
from typing import Any

import gradio as gr

from cnxs import text
from cnxs.errors import InputError
from cnxs.protocol import ControlMap
from cnxs.registry import CONTROL_KINDS
from cnxs.ui import form, view, words
from cnxs.ui.binding import Binding, Updates
from cnxs.ui.edge import edge
from cnxs.ui.parts import Strip
from cnxs.ui.sources import Sources
from cnxs.ui.words import label

# Kinds that draw without weights, in the order of the row. A map that is followed as it is needs no drawing.
KINDS = tuple(kind.name for kind in CONTROL_KINDS.values() if not kind.weights and kind.name != "as_is")
CLOSE = -1  # the number of the button that puts the row away

_QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": None}


def all_maps_button(fields: dict[str, Any]) -> None:
    """Add the button; the style sheet shows it beside the buttons of a map that is there."""
    fields["all_maps"] = gr.Button(label("page.all_maps"), size="sm", elem_id="all-maps-open", min_width=100)


def all_maps_row(fields: dict[str, Any]) -> None:
    """Add the row of maps, empty at first."""
    fields["maps_strip"] = Strip(value="", elem_id="all-maps")


class AllMaps:
    """Handlers of the row."""

    def __init__(self, binding: Binding, sources: Sources) -> None:
        self.backend, self.sources = binding.backend, sources
        self.named, self.updates = binding.named, binding.updates

    def show(self, data: Mapping[Any, Any], request: gr.Request) -> Updates:
        """Draw every kind's map of the chosen picture.

        Raises:
            InputError: if there is none.
        """
        values, language = self.named(data), words.language(request)
        prints = []
        for index, kind in enumerate(KINDS):
            own = {**values, "kind": kind}
            state = {"chosen": values["kind"] == kind, "followed": self.sources.is_followed(own)}
            prints.append(_print(index, kind, self.sources.drawn_anyway(own), language, **state))
        return self.updates(maps_strip=_row(prints, language))

    def use(self, base: str, event: gr.EventData) -> Updates:
        """Follow the chosen map, or put the row away."""
        if int(event.cell) == CLOSE:
            return self.updates(maps_strip="")
        kind = KINDS[int(event.cell)]
        if not self.sources.is_followed({"base": base, "kind": kind}):
            raise InputError("no_network", base=form.base_info(self.backend.models(), base).label)
        return self.updates(kind=kind)


def _row(prints: list[str], language: str) -> str:
    name, intro, close = (escape(text.get(f"page.all_maps{part}", language)) for part in ("_label", "_intro", "_close"))
    return (
        f'<div class="row-head"><p class="note">{intro}</p>'
        f'<button type="button" class="quiet" data-cell="{CLOSE}">{close}</button></div>'
        f'<div class="strip" role="group" aria-label="{name}">{"".join(prints)}</div>'
    )


def _print(index: int, kind: str, drawn: ControlMap, language: str, *, chosen: bool, followed: bool) -> str:
    name = escape(text.get(f"kind.{kind}", language))
    below = "" if followed else escape(text.get("page.all_maps_away", language))
    state = "" if followed else " disabled"
    return (
        f'<button type="button" class="print" data-cell="{index}" data-kind="{kind}"'
        f' aria-pressed="{str(chosen).lower()}"{state}>'
        f'<img src="{view.data_url(drawn.map)}" alt=""><span class="caption">{name}</span>'
        f'<span class="below">{below}</span></button>'
    )


def wire(handlers: Any, everything: set[Any]) -> None:
    """Connect button and row; what draws other maps empties the row."""
    fields, maps = handlers.fields, AllMaps(handlers, handlers.sources)
    fields["all_maps"].click(edge(maps.show), everything, fields["maps_strip"], **_QUIET)
    fields["maps_strip"].click(edge(maps.use), [fields["base"]], [fields["kind"], fields["maps_strip"]], **_QUIET)
    fields["kind"].change(None, fields["kind"], None, js="(kind) => window.cnxs.markMap(kind)", **_QUIET)
    # A stroke of the sketch empties the row in page.js: a listener of Gradio's would delay each live frame.
    drawing = [fields[name].change for name in ("photo", "map", "source", "base", "width", "height", "placement")]
    drawing += [fields[name].input for name in fields if name.startswith("param.")]
    gr.on(drawing, None, None, None, js="() => window.cnxs.closeMaps()", **_QUIET)
