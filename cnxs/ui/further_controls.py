"""Further controls beside the first: each its own picture or the same, another kind, its own strength and window."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import gradio as gr

from cnxs import text
from cnxs.errors import InputError, UserError
from cnxs.request import ControlUse, GenerationRequest
from cnxs.specs import ControlKind
from cnxs.ui import form, gains, masks, view, words
from cnxs.ui.all_maps import KINDS
from cnxs.ui.binding import Binding, Updates, Values
from cnxs.ui.edge import edge
from cnxs.ui.further_cards import PLACES, SLIDERS, SLOTS, slot_updates, slots
from cnxs.ui.sources import Sources

_QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": None}
_NEWEST: dict[str, Any] = {**_QUIET, "trigger_mode": "always_last"}

_FIRST_CHOICES = ("colour_grid", "scribble", "canny")  # what goes well with lines, then other lines
_MENUS = ("kind", "network", "shown_for", "settings", *SLOTS)


class FurtherControl:
    """Handlers of one card, and what it adds to a request."""

    def __init__(self, binding: Binding, sources: Sources, place: str) -> None:
        self.backend, self.files, self.sources = binding.backend, binding.files, sources
        self.named, self.place = binding.named, place
        self._binding = binding

    def updates(self, **changes: Any) -> Updates:
        """Return changes of the card's components, named without their place."""
        return self._binding.updates(**{f"{self.place}_{name}": change for name, change in changes.items()})

    def add_to(self, asked: GenerationRequest, values: Values) -> GenerationRequest:
        """Return the request with this control after those before it.

        Raises:
            InputError: `further_without_first`; `further_no_network`; or why its map cannot be drawn.
        """
        if not values[f"{self.place}_on"]:
            return asked
        if not asked.controls:
            raise InputError("further_without_first")
        own = self._own(values)
        if not self.sources.is_followed(own):
            raise InputError("further_no_network")
        if asked.controls[0].map_id:
            use = self.sources.control(own, needed=True)
            assert use is not None
        else:  # the settings alone are wanted
            params = form.kind_params(self.backend.models(), own["kind"], own)
            source_id = self.sources.source_id(own) or ""
            use = form.build_control(own, map_id="", source_id=source_id, params=params)
        use = replace(use, **gains.read(values, f"{self.place}_"), region_id=self._region(asked, values))
        return replace(asked, controls=(*asked.controls, use))

    def _region(self, asked: GenerationRequest, values: Values) -> str:
        painted, where = asked.controls[0].region_id, values[f"{self.place}_where"]
        if where == "everywhere" or not painted:
            return ""
        return painted if where == "painted" else masks.rest(self.backend, painted)

    def _own(self, values: Values) -> dict[str, Any]:
        """Return the page's values as if this control were the first."""
        own = {name: value for name, value in values.items() if not name.startswith("param.")}
        kind, shown_for = values[f"{self.place}_kind"], values[f"{self.place}_shown_for"]
        own |= {name: values[f"{self.place}_{name}"] for name in ("kind", "network", *SLIDERS)}
        own["network_for"] = shown_for
        if values[f"{self.place}_picture"]:
            own |= {"source": "photo", "photo": values[f"{self.place}_picture"]}
        known = self._kinds().get(kind)
        if known is not None and shown_for == kind:
            given = {param.name: values[f"{self.place}_{slot}"] for slot, param in slots(known).items()}
            own |= {f"param.{kind}.{name}": value for name, value in given.items() if value is not None}
        return own

    def _kinds(self) -> dict[str, ControlKind]:
        return {kind.name: kind for kind in self.backend.models().kinds}

    def preview(self, data: Mapping[Any, Any], request: gr.Request) -> Updates:
        """Show the map that this control follows; say so if nothing here can follow it."""
        values, language = self.named(data), words.language(request)
        hidden = gr.update(value=None, visible=False)
        if not values[f"{self.place}_on"]:
            return self.updates(map=hidden, note="")
        own = self._own(values)
        try:
            drawn = self.sources.drawn_anyway(own)
        except UserError as error:
            return self.updates(map=hidden, note=view.note_html(error.sentence(language)))
        shown = gr.update(value=self.files.put_image(drawn.map), visible=True)
        return self.updates(map=shown, note=view.note_html(self._told(own, language)))

    def _told(self, own: Values, language: str) -> str:
        if not self.sources.is_followed(own):
            return text.get("error.further_no_network", language)
        return self.sources.near_note(own, language)

    def offer(self, data: Mapping[Any, Any], request: gr.Request) -> Updates:
        """Offer the kinds that draw without weights or that the base can follow, and the networks of the chosen one."""
        values, language = self.named(data), words.language(request)
        chosen, network = values[f"{self.place}_kind"], ""
        if values[f"{self.place}_shown_for"] == chosen:
            network = values[f"{self.place}_network"]
        updates = self._menus(values["base"], chosen, network, language, beside=self._beside(values))
        return self._kept(updates) if network else updates

    def _kept(self, updates: Updates) -> Updates:
        # The kind is the one that was shown: its settings stay as they were set.
        mine = {self._binding.fields[f"{self.place}_{name}"] for name in ("settings", *SLOTS)}
        return {component: change for component, change in updates.items() if component not in mine}

    def switch(self, data: Mapping[Any, Any], request: gr.Request) -> Updates:
        """Offer another kind than another control's if both would follow the same picture in the same way."""
        values, beside = self.named(data), self._beside(self.named(data))
        kind = values[f"{self.place}_kind"]
        doubled = kind in beside and not values[f"{self.place}_picture"]
        if not doubled and kind == values[f"{self.place}_shown_for"]:
            return self.offer(data, request)
        return self._menus(values["base"], None if doubled else kind, "", words.language(request), beside=beside)

    def _beside(self, values: Values) -> set[str]:
        others = [place for place in PLACES if place != self.place and values[f"{place}_on"]]
        return {values["kind"], *(values[f"{place}_kind"] for place in others)}

    def _menus(
        self,
        base: str,
        kind: str | None,
        network: str,
        language: str,
        *,
        beside: Collection[str] = (),
        params: Mapping[str, Any] | None = None,
    ) -> Updates:
        choices = {choice.kind.name: choice for choice in form.kind_choices(self.backend.models(), base)}
        kinds = [*choices, *(name for name in KINDS if name not in choices)]
        others = [name for name in (*_FIRST_CHOICES, *choices) if name in choices and name not in beside]
        chosen = kind if kind in kinds else next(iter(others), kinds[0])
        networks = [(n.label, n.name) for n in choices[chosen].networks] if chosen in choices else []
        names = [name for _, name in networks]
        shown = network if network in names else next(iter(names), "")
        offered = [(text.get(f"kind.{name}", language), name) for name in kinds]
        return self.updates(
            kind=gr.update(choices=offered, value=chosen),
            network=gr.update(choices=networks, value=shown, visible=len(networks) > 1),
            shown_for=chosen,
            **slot_updates(self._kinds()[chosen], params or {}, language),
        )

    def laid_out(self, asked: GenerationRequest, missing: list[str], language: str) -> Updates:
        """Return the updates that bring this control back; what is not here is added to `missing`."""
        number = 1 + PLACES.index(self.place)
        if len(asked.controls) <= number:
            return self.updates(on=False)
        use, models = asked.controls[number], self.backend.models()
        base = asked.base if asked.base in (info.name for info in models.bases) else models.bases[0].name
        choices = {choice.kind.name: choice for choice in form.kind_choices(models, base)}
        networks = [network.name for network in choices[use.kind].networks] if use.kind in choices else []
        if use.kind not in choices or use.network not in networks:
            missing.append(f"{self._name(language)}: {use.kind}, {use.network}")
            return self.updates(on=False)
        return (
            self._menus(base, use.kind, use.network, language, params=dict(use.params))
            | self._picture(asked, use, missing, language)
            | self.updates(on=True, panel=gr.update(open=True), **{name: getattr(use, name) for name in SLIDERS})
            | self.updates(**gains.laid_out(use), gains=gr.update(open=not gains.are_usual(use)))
            | self._where(asked.controls[0], use, missing, language)
        )

    def _where(self, first: ControlUse, use: ControlUse, missing: list[str], language: str) -> Updates:
        if not use.region_id:
            return self.updates(where="everywhere")
        try:
            regions = {masks.rest(self.backend, first.region_id): "unpainted"} if first.region_id else {}
        except InputError:
            regions = {}  # the first control says that its region is not here
        where = ({first.region_id: "painted"} | regions).get(use.region_id)
        if where is None:
            missing.append(f"{self._name(language)}: {text.get('page.left_region', language)}")
        return self.updates(where=where or "everywhere")

    def _name(self, language: str) -> str:
        return text.get(f"page.{self.place}_panel", language)

    def _picture(self, asked: GenerationRequest, use: ControlUse, missing: list[str], language: str) -> Updates:
        first = asked.controls[0]
        # A drawing that is a map as it is comes back on another tab than a photo: there the pictures are told apart.
        if use.source_id == first.source_id and (first.kind == "as_is") == (use.kind == "as_is"):
            return self.updates(picture=None)
        try:
            return self.updates(picture=self.files.put_image(self.backend.get_image(use.source_id)))
        except InputError:
            missing.append(f"{self._name(language)}: {text.get('page.left_further_picture', language)}")
            return self.updates(picture=None)


def wire(page: gr.Blocks, handlers: Any) -> None:
    """Connect the cards."""
    for further in handlers.further:
        _wire_card(page, handlers.fields, further)


def _wire_card(page: gr.Blocks, fields: dict[str, Any], further: FurtherControl) -> None:
    own = {name: fields[f"{further.place}_{name}"] for name in (*_MENUS, *SLIDERS, "on", "picture", "map", "note")}
    panel, menus = fields[f"{further.place}_panel"], [own[name] for name in _MENUS]
    beside = {fields[f"{place}_{name}"] for place in PLACES for name in ("on", "kind")}
    choosing = {fields["base"], fields["kind"], own["network"], own["shown_for"], own["picture"], *beside}
    gr.on(
        [page.load, fields["base"].change, own["kind"].input, panel.expand],
        edge(further.offer),
        choosing,
        menus,
        **_NEWEST,
    )
    own["on"].input(edge(further.switch), choosing, menus, **_NEWEST)
    followed = ("source", "photo", "sketch", "map", "base", "width", "height", "placement", "laid")
    drawn = [own[name] for name in ("on", "kind", "network", "picture", *SLOTS)]
    gr.on(
        [fields["laid"].change, *(component.change for component in drawn)],
        edge(further.preview),
        {fields[name] for name in followed} | {*drawn, own["shown_for"], *(own[name] for name in SLIDERS)},
        [own["map"], own["note"]],
        **_NEWEST,
    )
