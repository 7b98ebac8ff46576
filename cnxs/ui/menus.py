"""What can be chosen, and what a choice brings with it."""

from collections.abc import Callable, Mapping
from typing import Any

import gradio as gr

from cnxs import text
from cnxs.errors import UserError
from cnxs.protocol import BaseInfo, Models
from cnxs.registry import CONTROL_KINDS
from cnxs.ui import axes, examples, form, view, words
from cnxs.ui.binding import Binding, Updates
from cnxs.ui.further_cards import switched_on
from cnxs.ui.inputs import default_kind

BASE_FIELDS = ("steps", "guidance_scale", "width", "height")  # that each base has its own way with


class Menus:
    """Handlers of menus, tabs, examples and of the small print beside them."""

    def __init__(self, binding: Binding) -> None:
        self.backend, self.files = binding.backend, binding.files
        self.named, self.updates = binding.named, binding.updates

    def choose_source(self, source: str) -> Callable[..., Updates]:
        """Return the handler of one source tab."""

        def chosen(base: str, before: str) -> Updates:
            if before == source:  # the program opened the tab, and chose the kind with it
                return self.updates(source=source)
            kinds = [choice.kind.name for choice in form.kind_choices(self.backend.models(), base)]
            return self.updates(source=source, kind=default_kind(source, kinds))

        return chosen

    def use_base(self, base: str | None, source: str, request: gr.Request) -> Updates:
        """Offer the kinds that the base can follow, and set its own defaults; nothing changes if none was chosen."""
        if base is None:
            return self.updates(steps=gr.skip())
        models = self.backend.models()
        return self.refreshed(models, base, source, words.language(request)) | self.defaults(models, base)

    def defaults(self, models: Models, base: str) -> Updates:
        """Return updates of BASE_FIELDS: what a base model is usually run with."""
        info = form.base_info(models, base)
        multiple = gr.update(step=info.size_multiple)
        return self.updates(
            steps=info.default_steps,
            guidance_scale=info.default_guidance_scale,
            width=multiple,
            height=multiple,
        )

    def use_kind(self, base: str, kind: str | None, network: str, network_for: str | None) -> Updates:
        """Show the kind's own sliders and the networks for it, the best first; one chosen for this very kind stays."""
        return self._kind(self.backend.models(), base, kind, network if network_for == kind else "")

    def wake(self, base: str, source: str, kind: str | None, request: gr.Request) -> Updates:
        """Look again what can be chosen until the models have started."""
        models, language = self.backend.models(), words.language(request)
        if form.is_starting(models):
            return self.updates(device=self.device_html(models, language))
        changes = self.refreshed(models, base, source, language, kind=kind)
        return changes | self.updates(waking=gr.Timer(active=False), device=self.device_html(models, language))

    def refreshed(
        self, models: Models, base: str, source: str, language: str, *, kind: str | None = None, network: str = ""
    ) -> Updates:
        choices = form.kind_choices(models, base)
        names = [choice.kind.name for choice in choices]
        labels = [
            text.get("page.kind_near", language, kind=title) if choice.near else title
            for choice in choices
            for title in [text.get(f"kind.{choice.kind.name}", language)]
        ]
        chosen = kind if kind in names else default_kind(source, names)
        bases = [(self._base_label(info, language), info.name) for info in models.bases]
        return self._kind(models, base, chosen, network) | self.updates(
            kind=gr.update(choices=list(zip(labels, names, strict=True)), value=chosen),
            base=gr.update(choices=bases, value=base),
            kinds_away=view.kinds_away_html(form.kinds_away(models, base), language),
        )

    def _base_label(self, info: BaseInfo, language: str) -> str:
        return info.label if info.state == "here" else text.get("page.base_away", language, base=info.label)

    def _kind(self, models: Models, base: str, kind: str | None, network: str = "") -> Updates:
        choices = {choice.kind.name: choice for choice in form.kind_choices(models, base)}
        networks = [(n.label, n.name) for n in choices[kind].networks] if kind in choices else []
        kept = [name for _, name in networks if name == network]
        groups = {f"group.{name}": gr.update(visible=name == kind) for name in CONTROL_KINDS}
        has_sliders = any(known.name == kind and known.params for known in models.kinds)
        return self.updates(
            network=gr.update(choices=networks, value=next(iter([*kept, *(name for _, name in networks)]), "")),
            network_for=kind,
            kind_settings=gr.update(visible=has_sliders),
            **groups,
        )

    def device_html(self, models: Models, language: str) -> str:
        notes = [text.get(key, language, **dict(fields)) for key, fields in models.notes]
        if models.device:
            notes.insert(0, text.get("page.device", language, device=models.device))
        return view.note_html(" · ".join(notes))

    def count_tokens(self, base: str, prompt: str, request: gr.Request) -> str:
        """Say how long the prompt is for the model that reads it."""
        if not prompt.strip():
            return ""
        try:
            used, chunk = self.backend.count_tokens(base, prompt)
        except UserError:  # the model that reads prompts is not loaded yet: there is nothing to say
            return ""
        key, parts = ("page.tokens", 1) if used <= chunk else ("page.tokens_long", -(-used // chunk))
        return view.note_html(text.get(key, words.language(request), used=used, chunk=chunk, parts=parts))

    def cost(self, data: Mapping[Any, Any], request: gr.Request) -> str:
        """Say how many images a comparison makes and, once an image was measured, how long it takes."""
        language, values = words.language(request), self.named(data)
        try:
            count = len(form.strengths(values["strengths"])) * axes.row_count(values)
            sizes = form.read(values, {"width": int, "height": int, "steps": int})
        except UserError as error:
            return view.note_html(error.sentence(language))
        pace = _pace(values["pace"] or {}, values["base"], 1 + switched_on(values))
        if pace is None:
            return view.note_html(text.get("page.cost_unknown", language, images=count))
        time = view.duration(pace * sizes["width"] * sizes["height"] * sizes["steps"] * count, language)
        return view.note_html(text.get("page.cost", language, images=count, time=time))

    def example(self, base: str, event: gr.EventData) -> Updates:
        """Lay out an example: its picture, its kind and its words."""
        chosen = examples.read()[int(event.cell)]
        kinds = [choice.kind.name for choice in form.kind_choices(self.backend.models(), base)]
        return self.updates(
            photo=self.files.put(chosen.png),
            source="photo",
            source_tabs=gr.update(selected="photo"),
            kind=chosen.kind if chosen.kind in kinds else default_kind("photo", kinds),
            prompt=chosen.prompt,
        )


def _pace(known: Mapping[str, float], base: str, controls: int) -> float | None:
    """Return the pace of a base with that many controls; before it was measured, that with fewer or more."""
    tried = (controls, *(other for other in (1, 2, 3, 0) if other != controls))
    return next((known[key] for key in (view.pace_key(base, count) for count in tried) if key in known), None)
