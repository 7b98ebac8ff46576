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
from cnxs.ui.binding import Binding, Updates, Values
from cnxs.ui.edge import edge
from cnxs.ui.parts import Strip
from cnxs.ui.sources import Sources
from cnxs.ui.words import label

# Kinds that draw without weights, in the order of the row. A map that is followed as it is needs no drawing.
KINDS = tuple(kind.name for kind in CONTROL_KINDS.values() if not kind.weights and kind.name != "as_is")

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
        source_id = self.sources.source_id(values)
        if source_id is None:
            raise InputError("empty_sketch" if values["source"] == "sketch" else "no_source")
        known = {choice.kind.name for choice in form.kind_choices(self.backend.models(), values["base"])}
        maps = [(kind, self._drawn(values, source_id, kind, followed=kind in known), kind in known) for kind in KINDS]
        prints = [
            _print(index, kind, drawn, values["kind"] == kind, followed, language)
            for index, (kind, drawn, followed) in enumerate(maps)
        ]
        name = escape(text.get("page.all_maps", language))
        return self.updates(maps_strip=f'<div class="strip" role="group" aria-label="{name}">{"".join(prints)}</div>')

    def _drawn(self, values: Values, source_id: str, kind: str, *, followed: bool) -> ControlMap:
        if followed:
            return self.sources.drawn({**values, "kind": kind})
        return self.backend.control_map(
            source_id,
            kind=kind,
            params=form.kind_params(self.backend.models(), kind, values),
            **form.read(values, {"width": int, "height": int, "placement": str}),
        )

    def use(self, base: str, event: gr.EventData) -> Updates:
        """Follow the chosen map."""
        kind = KINDS[int(event.cell)]
        if kind not in (choice.kind.name for choice in form.kind_choices(self.backend.models(), base)):
            raise InputError("no_network", base=form.base_info(self.backend.models(), base).label)
        return self.updates(kind=kind, maps_strip="")


def _print(index: int, kind: str, drawn: ControlMap, chosen: bool, followed: bool, language: str) -> str:
    name = escape(text.get(f"kind.{kind}", language))
    below = "" if followed else escape(text.get("page.all_maps_away", language))
    state = "" if followed else " disabled"
    return (
        f'<button type="button" class="print" data-cell="{index}" aria-pressed="{str(chosen).lower()}"{state}>'
        f'<img src="{view.data_url(drawn.map)}" alt=""><span class="caption">{name}</span>'
        f'<span class="below">{below}</span></button>'
    )


def wire(handlers: Any, everything: set[Any]) -> None:
    """Connect button and row; another picture empties the row."""
    fields, maps = handlers.fields, AllMaps(handlers, handlers.sources)
    fields["all_maps"].click(edge(maps.show), everything, fields["maps_strip"], **_QUIET)
    fields["maps_strip"].click(edge(maps.use), [fields["base"]], [fields["kind"], fields["maps_strip"]], **_QUIET)
    fields["placed"].change(None, None, fields["maps_strip"], js="() => ''", **_QUIET)
