"""The panel of models: downloads that are confirmed, followed and cancelled, and menus that offer what has arrived."""

from typing import Any

import gradio as gr

from cnxs import text
from cnxs.protocol import Models
from cnxs.ui import form, view, words
from cnxs.ui.binding import Binding, Updates
from cnxs.ui.edge import edge
from cnxs.ui.inputs import Fields
from cnxs.ui.menus import Menus
from cnxs.ui.models_view import models_html, progress_of
from cnxs.ui.parts import STATIC
from cnxs.ui.words import label

LOOK_SECONDS = 0.7  # between two looks at running downloads

_QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": None}
_MENUS = ("base", "kind", "network", "network_for", "kind_settings")


def models_panel(fields: Fields) -> None:
    """Add the folded list of models."""
    fields["models_asking"] = gr.State("")
    fields["models_running"] = gr.State(())
    fields["models_look"] = gr.Timer(LOOK_SECONDS, active=False)
    with gr.Accordion(label("page.models"), open=False, elem_id="models") as fields["models"]:
        fields["models_note"] = gr.HTML("", elem_id="models-note", apply_default_css=False)
        fields["models_list"] = gr.HTML(
            "",
            js_on_load=(STATIC / "models.js").read_text("utf-8"),
            apply_default_css=False,
            elem_id="models-list",
            progress={},
        )
        fields["models_again"] = gr.Button(label("page.models_again"), size="sm", elem_id="models-again")


def wire(page: gr.Blocks, binding: Binding, menus: Menus) -> None:
    """Tie the panel's components to their handlers."""
    fields = binding.fields
    panel = ModelsPanel(binding, menus)
    chosen = [fields[name] for name in ("base", "source", "kind")]
    own = [fields[name] for name in ("models_asking", "models_running")]
    offered = [fields[name] for name in fields if name.startswith("group.") or name in _MENUS]
    shown = [fields[name] for name in fields if name.startswith("models_") and name != "models_again"]
    gr.on([page.load, fields["base"].change], edge(panel.look), [fields["base"]], shown, **_QUIET)
    gr.on(
        [fields["models"].expand, fields["models_again"].click],
        edge(panel.look_again),
        [*chosen, *own],
        [*shown, *offered, fields["kinds_away"]],
        **_QUIET,
    )
    fields["models_list"].click(edge(panel.act), [fields["base"], *own], shown, **_QUIET)
    fields["models_look"].tick(
        edge(panel.tick), [*chosen, *own], [*shown, *offered, fields["kinds_away"]], trigger_mode="once", **_QUIET
    )


class ModelsPanel:
    """Handlers of the list. Its state is the backend's; a page keeps which question is open and what it saw running."""

    def __init__(self, binding: Binding, menus: Menus) -> None:
        self.backend, self.menus, self.updates = binding.backend, menus, binding.updates

    def look(self, base: str, request: gr.Request) -> Updates:
        """Show what is here, and what is on its way."""
        return self._list(self.backend.models(), base, "", words.language(request))

    def look_again(
        self, base: str, source: str, kind: str | None, asking: str, running: tuple[str, ...], request: gr.Request
    ) -> Updates:
        """Scan the models folder again, and offer in the menus what was put there."""
        models, language = self.backend.models(), words.language(request)
        menus = {} if form.is_starting(models) else self.menus.refreshed(models, base, source, language, kind=kind)
        return menus | self._list(models, base, asking, language)

    def act(
        self, base: str, asking: str, running: tuple[str, ...], event: gr.EventData, request: gr.Request
    ) -> Updates:
        """Do what a button of the list says: ask, start, decline or cancel."""
        name, language = str(event.name), words.language(request)
        match str(event.act):
            case "ask":
                asking = name
            case "start":
                self.backend.download(name)
                asking = ""
            case "cancel":
                self.backend.cancel_download(name)
            case _:
                asking = ""
        return self._list(self.backend.models(), base, asking, language)

    def tick(
        self, base: str, source: str, kind: str | None, asking: str, running: tuple[str, ...], request: gr.Request
    ) -> Updates:
        """Move the bars; once a download has ended, show the list anew and offer in the menus what has arrived."""
        downloads, language = self.backend.downloads(), words.language(request)
        if set(running) == {download.name for download in downloads if download.state == "running"}:
            return self.updates(models_list=gr.update(progress=progress_of(downloads, language)))
        return self.look_again(base, source, kind, asking, running, request)

    def _list(self, models: Models, base: str, asking: str, language: str) -> Updates:
        downloads = self.backend.downloads()
        running = tuple(download.name for download in downloads if download.state == "running")
        infos = (*models.bases, *models.networks, *models.detectors)
        # Offline is told once, above; each model then says which file to put where.
        missing = any(info.state == "missing" for info in infos)
        cannot = text.get("page.models_offline", language) if missing else ""
        return self.updates(
            models_asking=asking,
            models_running=running,
            models_look=gr.Timer(active=bool(running)),
            models_note=view.note_html(cannot or text.get("page.models_intro", language)),
            models_list=gr.update(
                value=models_html(models, downloads, base, asking, language), progress=progress_of(downloads, language)
            ),
        )
