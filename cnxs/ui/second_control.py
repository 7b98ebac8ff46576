"""A second control beside the first: its own picture or the same, another kind, its own strength and window."""

from collections.abc import Mapping
from dataclasses import fields as fields_of
from dataclasses import replace
from typing import Any

import gradio as gr

from cnxs import text
from cnxs.errors import InputError, UserError
from cnxs.request import MAX_CONTROL_SCALE, ControlUse, GenerationRequest
from cnxs.ui import form, view, words
from cnxs.ui.all_maps import KINDS
from cnxs.ui.binding import Binding, Updates, Values
from cnxs.ui.edge import edge
from cnxs.ui.parts import UploadedImage
from cnxs.ui.sources import Sources
from cnxs.ui.words import label

_QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": None}
_NEWEST: dict[str, Any] = {**_QUIET, "trigger_mode": "always_last"}

_SLIDERS = {"control_scale": (MAX_CONTROL_SCALE, 0.7), "start": (1.0, 0.0), "end": (1.0, 1.0)}
_FIRST_CHOICES = ("colour_grid", "scribble", "canny")  # what goes well with lines, then other lines
_OWN = ("kind", "network", "network_for", *_SLIDERS)
_SAID = {"network", "map_id", "kind", "params", "source_id", "control_scale", "start", "end"}


def second_panel(fields: dict[str, Any]) -> None:
    """Add the card of the second control, folded away; the style sheet shows its rest once it is on."""
    fields["second_params"] = gr.State(None)  # (kind, parameters) of a control that came back
    fields["second_network_for"] = gr.State(None)  # the kind for which the network in the menu was chosen
    with gr.Accordion(label("page.second_panel"), open=False, elem_id="second-panel") as fields["second_panel"]:
        fields["second_on"] = gr.Checkbox(
            False, label=label("page.second_on"), info=label("hint.second_on"), elem_id="second-on"
        )
        with gr.Column(elem_id="second-card"):
            fields["second_kind"] = gr.Radio([], label=label("page.kind"), elem_id="second-kind")
            fields["second_note"] = gr.HTML("", elem_id="second-note", apply_default_css=False)
            _pictures(fields)
            _slider(fields, "control_scale")
            with gr.Row():
                _slider(fields, "start")
                _slider(fields, "end")
            fields["second_network"] = gr.Dropdown(
                [], label=label("page.network"), visible=False, elem_id="second-network", allow_custom_value=True
            )


def _slider(fields: dict[str, Any], name: str) -> None:
    maximum, start = _SLIDERS[name]
    fields[f"second_{name}"] = gr.Slider(
        0,
        maximum,
        start,
        step=0.05,
        label=label(f"page.{name}"),
        elem_id=f"second-{name.replace('_', '-')}",
        min_width=150,
        buttons=[],
    )


def _pictures(fields: dict[str, Any]) -> None:
    with gr.Row(elem_id="second-pictures", elem_classes="keep-row"):
        fields["second_picture"] = UploadedImage(
            label=label("page.second_picture"),
            sources=["upload", "clipboard"],
            type="filepath",
            image_mode=None,
            buttons=[],
            height=240,
            min_width=120,
            elem_id="second-picture",
        )
        fields["second_map"] = gr.Image(
            label=label("page.control_map"),
            alt_text=label("page.control_map_alt"),
            interactive=False,
            format="png",
            buttons=["fullscreen"],
            height=200,
            min_width=120,
            visible=False,
            elem_id="second-map",
        )


class SecondControl:
    """Handlers of the card, and what it adds to a request."""

    def __init__(self, binding: Binding, sources: Sources) -> None:
        self.backend, self.files, self.sources = binding.backend, binding.files, sources
        self.named, self.updates = binding.named, binding.updates

    def add_to(self, asked: GenerationRequest, values: Values) -> GenerationRequest:
        """Return the request with the second control after the first.

        Raises:
            InputError: `second_without_first`; `second_no_network`; or why its map cannot be drawn.
        """
        if not values["second_on"]:
            return asked
        if not asked.controls:
            raise InputError("second_without_first")
        own = self._own(values)
        if not self.sources.is_followed(own):
            raise InputError("second_no_network")
        if asked.controls[0].map_id:
            use = self.sources.control(own, needed=True)
            assert use is not None
        else:  # the settings alone are wanted
            params = form.kind_params(self.backend.models(), own["kind"], own)
            source_id = self.sources.source_id(own) or ""
            use = form.build_control(own, map_id="", source_id=source_id, params=params)
        return replace(asked, controls=(*asked.controls, use))

    def _own(self, values: Values) -> dict[str, Any]:
        """Return the page's values as if the second control were the first."""
        own = {name: value for name, value in values.items() if not name.startswith("param.")}
        own |= {name: values[f"second_{name}"] for name in _OWN}
        if values["second_picture"]:
            own |= {"source": "photo", "photo": values["second_picture"]}
        kind, params = values["second_params"] or (None, ())
        if kind == own["kind"]:
            own |= {f"param.{kind}.{name}": value for name, value in params}
        return own

    def preview(self, data: Mapping[Any, Any], request: gr.Request) -> Updates:
        """Show the map that the second control follows; say so if nothing here can follow it."""
        values, language = self.named(data), words.language(request)
        hidden = gr.update(value=None, visible=False)
        if not values["second_on"]:
            return self.updates(second_map=hidden, second_note="")
        own = self._own(values)
        try:
            drawn = self.sources.drawn_anyway(own)
        except UserError as error:
            return self.updates(second_map=hidden, second_note=view.note_html(error.sentence(language)))
        shown = gr.update(value=self.files.put_image(drawn.map), visible=True)
        return self.updates(second_map=shown, second_note=view.note_html(self._told(own, language)))

    def _told(self, own: Values, language: str) -> str:
        if not self.sources.is_followed(own):
            return text.get("error.second_no_network", language)
        return self.sources.near_note(own, language)

    def offer(self, data: Mapping[Any, Any], request: gr.Request) -> Updates:
        """Offer the kinds that draw without weights or that the base can follow, and the networks of the chosen one."""
        values = self.named(data)
        chosen, network_for = values["second_kind"], values["second_network_for"]
        network = values["second_network"] if network_for == chosen else ""
        return self._menus(values["base"], chosen, network, words.language(request), beside=values["kind"])

    def switch(self, data: Mapping[Any, Any], request: gr.Request) -> Updates:
        """Offer another kind than the first control's if both would follow the same picture in the same way."""
        values = self.named(data)
        doubled = values["second_kind"] == values["kind"] and not values["second_picture"]
        chosen = None if doubled else values["second_kind"]
        return self._menus(values["base"], chosen, "", words.language(request), beside=values["kind"])

    def _menus(self, base: str, kind: str | None, network: str, language: str, *, beside: str | None = None) -> Updates:
        choices = {choice.kind.name: choice for choice in form.kind_choices(self.backend.models(), base)}
        kinds = [*choices, *(name for name in KINDS if name not in choices)]
        others = [name for name in (*_FIRST_CHOICES, *choices) if name in choices and name != beside]
        chosen = kind if kind in kinds else next(iter(others), kinds[0])
        networks = [(n.label, n.name) for n in choices[chosen].networks] if chosen in choices else []
        names = [name for _, name in networks]
        shown = network if network in names else next(iter(names), "")
        offered = [(text.get(f"kind.{name}", language), name) for name in kinds]
        return self.updates(
            second_kind=gr.update(choices=offered, value=chosen),
            second_network=gr.update(choices=networks, value=shown, visible=len(networks) > 1),
            second_network_for=chosen,
        )

    def laid_out(self, asked: GenerationRequest, missing: list[str], language: str) -> Updates:
        """Return the updates that bring the second control back; what is not here is added to `missing`."""
        if len(asked.controls) < 2:
            return self.updates(second_on=False)
        use, models = asked.controls[1], self.backend.models()
        base = asked.base if asked.base in (info.name for info in models.bases) else models.bases[0].name
        choices = {choice.kind.name: choice for choice in form.kind_choices(models, base)}
        networks = [network.name for network in choices[use.kind].networks] if use.kind in choices else []
        if use.kind not in choices or use.network not in networks:
            missing.append(f"{text.get('page.second_panel', language)}: {use.kind}, {use.network}")
            return self.updates(second_on=False)
        missing += [
            f"{text.get('page.second_panel', language)}: {field.name}"
            for field in fields_of(ControlUse)
            if field.name not in _SAID and getattr(use, field.name) != field.default
        ]
        return (
            self._menus(base, use.kind, use.network, language)
            | self._picture(asked, missing, language)
            | self.updates(
                second_on=True,
                second_params=(use.kind, use.params),
                second_panel=gr.update(open=True),
                **{f"second_{name}": getattr(use, name) for name in _SLIDERS},
            )
        )

    def _picture(self, asked: GenerationRequest, missing: list[str], language: str) -> Updates:
        first, second = asked.controls[:2]
        # A drawing that is a map as it is comes back on another tab than a photo: there the pictures are told apart.
        if second.source_id == first.source_id and (first.kind == "as_is") == (second.kind == "as_is"):
            return self.updates(second_picture=None)
        try:
            return self.updates(second_picture=self.files.put_image(self.backend.get_image(second.source_id)))
        except InputError:
            missing.append(text.get("page.left_second", language))
            return self.updates(second_picture=None)


def wire(page: gr.Blocks, handlers: Any) -> None:
    """Connect the card."""
    fields, second = handlers.fields, handlers.second_control
    menus = [fields[name] for name in ("second_kind", "second_network", "second_network_for")]
    choosing = {fields["base"], fields["kind"], *menus}
    gr.on(
        [page.load, fields["base"].change, fields["second_kind"].input, fields["second_panel"].expand],
        edge(second.offer),
        choosing,
        menus,
        **_NEWEST,
    )
    fields["second_on"].input(edge(second.switch), {*choosing, fields["second_picture"]}, menus, **_NEWEST)
    followed = ("source", "photo", "sketch", "map", "base", "width", "height", "placement")
    drawn = ("second_on", "second_kind", "second_network", "second_picture", "laid")
    own = ("second_params", *(f"second_{name}" for name in _OWN))
    gr.on(
        [fields[name].change for name in drawn],
        edge(second.preview),
        {fields[name] for name in (*followed, *drawn, *own)},
        [fields["second_map"], fields["second_note"]],
        **_NEWEST,
    )
