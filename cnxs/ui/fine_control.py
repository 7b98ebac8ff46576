"""Finer settings of the first control: where the picture follows it, and how strongly each part of the network does."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import gradio as gr

from cnxs import text
from cnxs.errors import InputError
from cnxs.request import GenerationRequest
from cnxs.ui import gains, masks
from cnxs.ui.binding import Binding, Updates, Values
from cnxs.ui.canvas import SketchCanvas
from cnxs.ui.edge import edge
from cnxs.ui.sources import Sources
from cnxs.ui.words import label

_NEWEST: dict[str, Any] = {
    "show_progress": "hidden",
    "api_visibility": "private",
    "concurrency_limit": None,
    "trigger_mode": "always_last",
}


def fine_panel(fields: dict[str, Any]) -> None:
    """Add the painted region, the three strengths and the switch for the words' side, folded away."""
    fields["region_ground"] = gr.State(None)
    fields["region_kept"] = gr.State("")  # digest of what was painted last, for pictures that are made while drawing
    with gr.Accordion(label("page.fine_panel"), open=False, elem_id="fine-panel") as fields["fine_panel"]:
        fields["region_on"] = gr.Checkbox(
            False, label=label("page.region_on"), info=label("hint.region_on"), elem_id="region-on"
        )
        with gr.Column(visible=False, elem_id="region-panel") as fields["region_panel"]:
            fields["region"] = SketchCanvas(mask=True, storage_key="cnxs.region", elem_id="region")
        gains.gain_fields(fields)


class FineControl:
    """Handlers of the panel, and what it adds to a request."""

    def __init__(self, binding: Binding, sources: Sources) -> None:
        self.backend, self.sources = binding.backend, sources
        self.named, self.updates = binding.named, binding.updates

    def add_to(self, asked: GenerationRequest, values: Values) -> GenerationRequest:
        """Return the request with the first control's gains, halves and region."""
        if not asked.controls:
            return asked
        first = replace(asked.controls[0], **gains.read(values), region_id=self._region(values))
        return replace(asked, controls=(first, *asked.controls[1:]))

    def _region(self, values: Values) -> str:
        ground, placed = values["region_ground"], masks.placed_of(values)
        if not values["region_on"] or ground is None:
            return ""
        if ground.placed != placed:  # the canvas follows a moment later
            ground = replace(ground, placed=placed, mask_id="")
        if "region" in values:
            return masks.painted(self.backend, values["region"], ground)
        kept = values["region_kept"]
        return kept if kept and self.backend.get_image(kept).size == placed[:2] else ground.mask_id

    def keep(self, data: Mapping[Any, Any]) -> str:
        """Store what is painted by now, so that a stroke of the sketch need not bring it along."""
        values = self.named(data)
        return self._region(values)

    def show(self, data: Mapping[Any, Any]) -> Updates:
        """Lay the picture that is followed below the region."""
        values = self.named(data)
        source_id = self.sources.source_id(values) if values["region_on"] else None
        if source_id is None:
            return self.updates(region_panel=gr.update(visible=False))
        before, placed = values["region_ground"], masks.placed_of(values)
        name = _known_as(values["source"], source_id)
        if before is not None and before.picture == source_id:
            before = replace(before, picture=name)  # what came back says which picture, not where it was drawn
        if before is not None and (before.picture, before.placed) == (name, placed) and values["source"] != "sketch":
            return self.updates(region_panel=gr.update(visible=True))
        # What came back of a region stays to the pixel while its size does.
        kept = before.mask_id if before is not None and (before.picture, before.placed) == (name, placed) else ""
        ground, region = masks.lay(self.backend, source_id, known_as=name, placed=placed, before=before)
        ground = replace(ground, mask_id=kept)
        return self.updates(region_ground=ground, region=region, region_panel=gr.update(visible=True))

    def laid_out(self, asked: GenerationRequest, missing: list[str], language: str) -> Updates:
        """Return the updates that bring the finer settings back."""
        if not asked.controls:
            return self.updates(region_on=False, region_panel=gr.update(visible=False))
        use = asked.controls[0]
        changes = gains.laid_out(use) | {"region_on": bool(use.region_id)}
        changes["region_panel"] = gr.update(visible=bool(use.region_id))
        changes |= self._region_back(asked, missing, language) if use.region_id else {"region_ground": None}
        if use.region_id or not gains.are_usual(use):
            changes["fine_panel"] = gr.update(open=True)
        return self.updates(**changes, region_kept="")

    def _region_back(self, asked: GenerationRequest, missing: list[str], language: str) -> dict[str, Any]:
        use = asked.controls[0]
        placed: masks.Placed = (asked.width, asked.height, asked.placement)
        try:
            ground, region = masks.lay(self.backend, use.source_id, placed=placed, mask_id=use.region_id)
        except InputError:
            missing.append(text.get("page.left_region", language))
            return {"region_ground": None, "region_on": False, "region_panel": gr.update(visible=False)}
        return {"region_ground": ground, "region": region}


def _known_as(source: str, source_id: str) -> str:
    # Each stroke of a sketch makes another picture; what is painted over it stays.
    return source if source == "sketch" else source_id


def wire(handlers: Any) -> None:
    """Connect the panel."""
    fields, fine = handlers.fields, handlers.fine_control
    painted = ("region_on", "region_ground", "width", "height", "placement")
    gr.on(
        [fields["region_on"].change, fields["laid"].change],
        edge(fine.show),
        {fields[name] for name in ("source", "photo", "sketch", "map", *painted)},
        [fields[name] for name in ("region_ground", "region", "region_panel")],
        **_NEWEST,
    )
    inputs = {fields[name] for name in ("region", *painted)}
    fields["region"].change(edge(fine.keep), inputs, fields["region_kept"], **_NEWEST)
