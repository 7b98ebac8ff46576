"""Bringing settings back: from a finished PNG, a settings file, a link, a record of the history, or a running job."""

from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any

import gradio as gr

from cnxs import settings, text
from cnxs.errors import InputError
from cnxs.request import ControlUse, GenerationRequest
from cnxs.ui import form, view, words
from cnxs.ui.asking import Asking
from cnxs.ui.binding import Binding, Updates
from cnxs.ui.further_cards import PLACES
from cnxs.ui.menus import Menus

_PNG = b"\x89PNG"
# What a request has beside the page's fields: no setting that a user could miss, or told of by its own panel.
_NOT_SETTINGS = {"controls", "axes", "threads", "live", "init_id", "mask_id", "loras"}
_RESTORED_WITH_CONTROL = {"network", "kind", "map_id", "source_id", "params", "control_scale", "start", "end"}
_RESTORED_WITH_CONTROL |= {"gains", "region_id", "prompt_half_only"}


class Restoring:
    """Lays a request out on the page, and lists what of it the page cannot show."""

    def __init__(self, binding: Binding, menus: Menus, asking: Asking) -> None:
        self.backend, self.files, self.fields = binding.backend, binding.files, binding.fields
        self.updates, self.menus, self.panels = binding.updates, menus, asking.panels

    def file(self, path: str, request: gr.Request) -> Updates:
        """Bring back what a PNG, or a settings file, says of its making.

        Raises:
            InputError: if it is damaged, or says nothing.
        """
        data = Path(path).read_bytes()
        if data.startswith(_PNG) or not path.casefold().endswith(".json"):
            restored = self.backend.restore(data)
            if restored.request is None:
                raise InputError("nothing_to_restore")
            return self.bring_back(restored.request, words.language(request), left_out=restored.unmapped)
        return self.bring_back(settings.from_json(data.decode("utf-8", "replace")), words.language(request))

    def link(self, link: str, request: gr.Request) -> Updates:
        """Bring back what a link says; a damaged one is told in the status line, and the page stays as it is."""
        language = words.language(request)
        if not link:
            return self.updates(link="")
        try:
            changes = self.bring_back(settings.from_link(link), language)
        except InputError as error:
            changes = self.updates(status=view.alert_html(error.sentence(language)))
        return changes | self.updates(link="")

    def bring_back(self, asked: GenerationRequest, language: str, *, left_out: tuple[str, ...] = ()) -> Updates:
        """Return the updates that lay out a request, its seed kept, and tell what could not be restored."""
        source = "map" if asked.controls and asked.controls[0].kind == "as_is" else "photo"
        changes, missing = self.laid_out(asked, source, language)
        return changes | self.updates(
            source=source,
            source_tabs=gr.update(selected=source),
            random_seed=False,
            status=view.restored_html((*left_out, *missing), language),
        )

    def laid_out(self, asked: GenerationRequest, source: str, language: str) -> tuple[Updates, tuple[str, ...]]:
        """Return the updates for a request on a source tab, and what could not be restored."""
        missing: list[str] = []
        models = self.backend.models()
        if asked.base not in (base.name for base in models.bases):
            missing.append(f"{text.get('page.base', language)}: {asked.base}")
            asked = replace(asked, base=models.bases[0].name)
        use = asked.controls[0] if asked.controls else None
        kind, network = (use.kind, use.network) if use else (None, "")
        changes = self.menus.refreshed(models, asked.base, source, language, kind=kind, network=network)
        if use:
            missing += self._unfollowed(use, asked.base, language)
        changes |= self._values(asked, missing, language)
        for panel in self.panels:
            changes |= panel.laid_out(asked, missing, language)
        return changes | self._picture(asked, source, missing, language), tuple(missing)

    def _unfollowed(self, use: ControlUse, base: str, language: str) -> list[str]:
        choices = {choice.kind.name: choice for choice in form.kind_choices(self.backend.models(), base)}
        if use.kind not in choices:
            return [f"{text.get('page.kind', language)}: {use.kind}"]
        if use.network not in (network.name for network in choices[use.kind].networks):
            return [f"{text.get('page.network', language)}: {use.network}"]
        return []

    def _values(self, asked: GenerationRequest, missing: list[str], language: str) -> Updates:
        changes = {name: getattr(asked, name) for name in form.REQUEST_FIELDS if name != "base"}
        samplers = [value for _, value in self.fields["sampler"].choices]
        if asked.sampler not in samplers:
            missing.append(f"{text.get('page.sampler', language)}: {changes.pop('sampler')}")
        missing += _changed(asked, {*changes, *self.fields, *_NOT_SETTINGS})
        if not asked.controls:
            return self.updates(**changes, control_scale=0.0)  # words alone
        use = asked.controls[0]
        missing += _changed(use, {*_RESTORED_WITH_CONTROL, *self.fields})
        missing += [
            f"{text.get('page.network', language)} {i}: {other.network}"
            for i, other in enumerate(asked.controls[1 + len(PLACES) :], start=2 + len(PLACES))
        ]
        changes |= {name: getattr(use, name) for name in ("control_scale", "start", "end")}
        for name, value in use.params:
            if f"param.{use.kind}.{name}" in self.fields:
                changes[f"param.{use.kind}.{name}"] = value
            else:
                missing.append(f"{name}: {value}")
        return self.updates(**changes)

    def _picture(self, asked: GenerationRequest, source: str, missing: list[str], language: str) -> Updates:
        if not asked.controls:
            return {}
        if not (digest := asked.controls[0].source_id):
            missing.append(text.get("page.left_picture", language))
            return {}
        try:
            picture = self.backend.get_image(digest)
        except InputError:
            missing.append(text.get("page.left_picture", language))
            return {}
        # With its size known as fitted, the picture keeps the restored width and height.
        changes: dict[str, Any] = {"fitted": (asked.base, *picture.size)}
        if source != "sketch":  # the browser keeps its own drawing
            changes[source] = self.files.put_image(picture)
        return self.updates(**changes)


def _changed(value: GenerationRequest | ControlUse, known: set[str]) -> list[str]:
    """Return the fields that are not known to the page and differ from their defaults, as "name: value"."""
    told = []
    for field in fields(value):
        given = getattr(value, field.name)
        if field.name not in known and field.default is not MISSING and given != field.default:
            told.append(field.name if field.name.endswith("_id") else f"{field.name}: {given}")
    return told
