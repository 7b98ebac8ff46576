"""The picture to follow and its control map."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gradio as gr

from cnxs import images, text
from cnxs.errors import InputError, UserError
from cnxs.protocol import ControlMap, Models
from cnxs.request import ControlUse
from cnxs.ui import form, view, words
from cnxs.ui.binding import Binding, Updates, Values
from cnxs.ui.canvas import SketchCanvas
from cnxs.ui.further_cards import switched_on


class Sources:
    """Handlers of the left column's pictures."""

    def __init__(self, binding: Binding) -> None:
        self.backend, self.files = binding.backend, binding.files
        self.named, self.updates = binding.named, binding.updates
        self.digest_of = functools.lru_cache(maxsize=256)(self._digest_of)

    def _digest_of(self, path: str) -> str:
        return self.backend.put_image(Path(path).read_bytes())

    def source_id(self, values: Values) -> str | None:
        """Return the digest of the picture on the chosen tab, None where there is none.

        Raises:
            InputError: if it cannot be read.
        """
        source = values["source"]
        if source == "sketch":
            data = SketchCanvas.decode(values["sketch"])
            return self.backend.put_image(data) if data else None
        return self.digest_of(values[source]) if values[source] else None

    def preview(self, data: Mapping[Any, Any], request: gr.Request) -> Updates:
        """Show the placed source and its map; a new picture's shape decides the size first."""
        language, values = words.language(request), self.named(data)
        try:
            source_id = self.source_id(values)
            if source_id is None:
                return self._no_map(text.get("page.map_waiting", language))
            if values["kind"] is None:
                return self._no_map(self._why_no_kind(values, language))
            changes = self._fitted(values, source_id)
            values |= {name: changes[name] for name in ("width", "height") if name in changes}
            drawn = self.drawn(values)
        except UserError as error:
            return self._no_map(error.sentence(language))
        told = [text.get(key, language, **dict(fields)) for key, fields in drawn.notes]
        note = " ".join(part for part in (self.near_note(values, language), *told) if part)
        return self.updates(
            placed=gr.update(value=self.files.put_image(drawn.placed), visible=True),
            control_map=gr.update(value=self.files.put_image(drawn.map), visible=True),
            copy_map=gr.update(visible=True),
            edit_map=gr.update(visible=form.is_editable(values)),
            map_note=view.note_html(note),
            laid=_laid(values, source_id),
            **changes,
        )

    def _no_map(self, sentence: str) -> Updates:
        hidden = gr.update(value=None, visible=False)
        away = gr.update(visible=False)
        return self.updates(
            placed=hidden,
            control_map=hidden,
            copy_map=away,
            edit_map=away,
            map_note=view.note_html(sentence),
            laid=None,
        )

    def _why_no_kind(self, values: Values, language: str) -> str:
        models = self.backend.models()
        if form.is_starting(models):
            return text.get("note.starting", language)
        label = form.base_info(models, values["base"]).label
        return text.get("error.no_network", language, base=label)

    def _fitted(self, values: Values, source_id: str) -> dict[str, Any]:
        base = form.base_info(self.backend.models(), values["base"])
        shape = self.backend.get_image(source_id).size
        fitted = (base.name, *shape)
        if values["fitted"] == fitted:
            return {}
        width, height = images.default_size(shape, native_size=base.native_size, multiple=base.size_multiple)
        return {"fitted": fitted, "width": width, "height": height}

    def drawn(self, values: Values) -> ControlMap:
        """Return the map of the chosen picture, as the network that follows it takes it.

        Raises:
            InputError: `no_source` or `empty_sketch`; or why the picture cannot be drawn.
        """
        source_id = self._needed(values)
        return self._map(values, source_id, network=self._network(values))

    def drawn_anyway(self, values: Values) -> ControlMap:
        """Return the map of the chosen picture, whether or not a network here follows its kind.

        Raises:
            InputError: as `drawn` does.
        """
        source_id = self._needed(values)
        return self._map(values, source_id, network=self._network(values) if self.is_followed(values) else "")

    def is_followed(self, values: Values) -> bool:
        """Say whether the chosen base has a network here for the chosen kind."""
        choices = form.kind_choices(self.backend.models(), values["base"])
        return values["kind"] in (choice.kind.name for choice in choices)

    def _needed(self, values: Values) -> str:
        source_id = self.source_id(values)
        if source_id is None:
            raise InputError("empty_sketch" if values["source"] == "sketch" else "no_source")
        return source_id

    def _map(self, values: Values, source_id: str, *, network: str) -> ControlMap:
        return self.backend.control_map(
            source_id,
            kind=values["kind"],
            params=form.kind_params(self.backend.models(), values["kind"], values),
            network=network,
            **form.read(values, {"width": int, "height": int, "placement": str}),
        )

    def near_note(self, values: Values, language: str) -> str:
        """Return a sentence if the chosen kind is followed by a network made for a similar one; else nothing."""
        choice = self._choice(self.backend.models(), values)
        return text.get("page.near_note", language, network=choice.networks[0].label) if choice.near else ""

    def _network(self, values: Values) -> str:
        # The menu of networks follows the kind a moment later: a click in between must not pair them wrongly.
        names = [network.name for network in self._choice(self.backend.models(), values).networks]
        chosen = values["network_for"] == values["kind"] and values["network"] in names
        return values["network"] if chosen else names[0]

    def _choice(self, models: Models, values: Values) -> form.KindChoice:
        for choice in form.kind_choices(models, values["base"]):
            if choice.kind.name == values["kind"]:
                return choice
        raise InputError("no_network", base=form.base_info(models, values["base"]).label)

    def control(self, values: Values, *, needed: bool = False) -> ControlUse | None:
        """Return the control that the page describes; None for words alone, unless one is `needed`."""
        if not needed and not values["control_scale"] and self.source_id(values) is None:
            return None  # words alone
        drawn = self.drawn(values)
        return form.build_control(
            {**values, "network": self._network(values)},
            map_id=drawn.map_id,
            source_id=self.source_id(values) or "",
            params=form.kind_params(self.backend.models(), values["kind"], values),
        )


def _laid(values: Values, source_id: str) -> tuple[Any, ...] | None:
    """Return what a panel that shows the followed picture again must know has changed; None if none is in use."""
    if not (values["region_on"] or switched_on(values)):
        return None  # so that a stroke of the pen starts nothing more
    return (source_id, values["width"], values["height"], values["placement"])
