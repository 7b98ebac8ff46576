"""Comparing: what varies, a finer look around one strength, and any two images under one slider."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import gradio as gr

from cnxs import text
from cnxs.errors import InputError
from cnxs.request import Axis, ControlUse
from cnxs.ui import axes, form, prints, view, words
from cnxs.ui.binding import Binding, Updates, Values
from cnxs.ui.edge import edge
from cnxs.ui.parts import on_choice
from cnxs.ui.sources import Sources

KINDS_OFFERED = 3  # of the ways to follow a picture, to begin with

_QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": None}


class Comparing:
    """Handlers of everything that sets images side by side."""

    def __init__(self, binding: Binding, sources: Sources) -> None:
        self.backend, self.files, self.sources = binding.backend, binding.files, sources
        self.named, self.updates = binding.named, binding.updates

    def axes(self, values: Values) -> tuple[Axis, ...]:
        """Return what the page's comparison varies: the strengths and, where wanted, something in rows first."""
        columns = axes.column_axis(values)
        match values["rows"]:
            case "kind":
                uses = [self._use(values, kind) for kind in axes.choices(values)]
                return (axes.chosen_rows(values, of=uses), columns)
            case "network":
                return (axes.chosen_rows(values, of=axes.choices(values)), columns)
            case "none":
                return (columns,)
        return (axes.typed_rows(values), columns)

    def _use(self, values: Values, kind: str) -> ControlUse:
        use = self.sources.control({**values, "kind": kind}, needed=True)
        assert use is not None
        return use

    def offer(self, data: Mapping[Any, Any], request: gr.Request) -> Updates:
        """Show the box or the choices for what shall vary in rows, with something in it to begin with.

        Nothing changes where nothing was chosen.
        """
        values, language = self.named(data), words.language(request)
        name = values["rows"]
        if name is None:
            return self.updates(row_values=gr.skip())
        hidden = gr.update(visible=False)
        if name in axes.TYPED:
            lines = 3 if name == "prompt" else 1
            info = text.get(f"hint.rows_{name}", language)
            box = gr.update(visible=True, value=axes.opening(name, values), lines=lines, info=info)
            return self.updates(row_values=box, row_choices=hidden)
        if name in axes.CHOSEN:
            choices, chosen = self._choices(name, values, language)
            return self.updates(row_values=hidden, row_choices=gr.update(visible=True, choices=choices, value=chosen))
        return self.updates(row_values=hidden, row_choices=hidden)

    def _choices(self, name: str, values: Values, language: str) -> tuple[list[tuple[str, str]], list[str]]:
        known = form.kind_choices(self.backend.models(), values["base"])
        if name == "kind":
            kinds = [choice.kind.name for choice in known if choice.kind.name != "as_is"]
            first = list(dict.fromkeys(kind for kind in (values["kind"], *kinds) if kind in kinds))[:KINDS_OFFERED]
            return [(text.get(f"kind.{kind}", language), kind) for kind in kinds], first
        networks = next((choice.networks for choice in known if choice.kind.name == values["kind"]), ())
        return [(network.label, network.name) for network in networks], [network.name for network in networks]

    def finer(self, shown: view.JobView | None, owner: str) -> Updates:
        """Submit a second strip, from the same seed, between the neighbours of the chosen strength."""
        cell = None if shown is None else shown.shown()
        if shown is None or cell is None or "control_scale" not in shown.varies:
            raise InputError("nothing_to_save")
        known = next(axis.values for axis in shown.request.axes if axis.name == "control_scale")
        around = axes.between([float(v) for v in known if isinstance(v, (int, float))], cell.control_scale)
        asked = replace(cell.request, axes=(Axis(name="control_scale", values=around),))
        return self.updates(job=self.backend.submit(asked, owner))

    def pin(self, shown: view.JobView, cell: int, side: str, language: str) -> Updates:
        """Put an image on a side of the slider; the other side has the shown image until one is chosen for it."""
        other = "b" if side == "a" else "a"
        shown.pair[side] = cell
        if shown.pair.get(other, cell) == cell:
            shown.pair[other] = shown.selected
        strip = prints.strip_html(shown, language)
        if shown.pair[other] == cell:  # one image on both sides shows nothing
            del shown.pair[other]
            return self.updates(
                strip=strip, tab_pair=gr.update(visible=False), stage_tabs=gr.update(selected="picture")
            )
        paths = tuple(self.files.put(self.backend.png(shown.job_id, shown.pair[name])) for name in prints.PINS)
        told = [prints.caption(shown, shown.pair[name], language) for name in prints.PINS]
        return self.updates(
            strip=strip,
            tab_pair=gr.update(visible=True),
            pair=paths,
            pair_facts=view.note_html(text.get("page.pair_facts", language, a=told[0], b=told[1])),
            stage_tabs=gr.update(visible=True, selected="pair"),
        )


def wire(handlers: Any, comparing: Comparing, everything: set[Any]) -> None:
    """Connect the rows of a comparison, and the button for a finer one."""
    fields = handlers.fields
    shown = [fields["row_values"], fields["row_choices"]]
    on_choice(fields["rows"], edge(comparing.offer), everything, shown, **_QUIET)
    fields["finer"].click(edge(comparing.finer), [fields["view"], fields["owner"]], fields["job"], **_QUIET)
