"""What leaves the page as a file: a comparison as a contact sheet or with all its pictures, and settings."""

import json
import re
import unicodedata
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gradio as gr

from cnxs import contact_sheet, images, settings, text
from cnxs.errors import InputError
from cnxs.request import ControlUse, GenerationRequest
from cnxs.ui import form, prints, view, words
from cnxs.ui.asking import Asking
from cnxs.ui.binding import Binding, Updates
from cnxs.ui.edge import edge
from cnxs.ui.inputs import Fields
from cnxs.ui.words import label

_QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": None}
_FETCH = "(file) => { window.cnxsFiles.fetch(file); }"


class Exporting:
    """Handlers of the buttons that save."""

    def __init__(self, binding: Binding, asking: Asking) -> None:
        self.backend, self.files, self.asking = binding.backend, binding.files, asking
        self.named, self.updates = binding.named, binding.updates

    def sheet(self, shown: view.JobView | None, request: gr.Request) -> str:
        """Return the file of a contact sheet: the map, then each finished image with its caption."""
        language, job = words.language(request), _comparison(shown)
        tiles = [
            contact_sheet.Tile(images.load(self.backend.png(job.job_id, index)), _lines(job, index, language))
            for index in _finished(job)
        ]
        columns = len(job.request.axes[-1].values) if len(job.request.axes) > 1 else 0
        if job.request.controls and not columns and "control" not in job.varies:
            picture = self.backend.get_image(job.request.controls[0].map_id)
            tiles.insert(0, contact_sheet.Tile(picture, (text.get("page.caption_map", language),)))
        title = job.request.prompt or text.get("page.history_no_prompt", language)
        sheet = contact_sheet.draw(tiles, title=title, about=_about(job.request, language), columns=columns)
        return self.files.parcel(f"comparison-{_slug(title)}.png", lambda path: sheet.save(path))

    def pictures(self, shown: view.JobView | None, request: gr.Request) -> str:
        """Return a zip file with every finished image as its PNG, its settings inside, and the control map."""
        language, job = words.language(request), _comparison(shown)
        controls = job.request.controls
        control_map = images.encode_png(self.backend.get_image(controls[0].map_id)) if controls else None

        def write(path: Path) -> None:
            with zipfile.ZipFile(path, "w") as archive:  # PNGs are packed already
                if control_map is not None:
                    archive.writestr(f"00-{_slug(text.get('page.caption_map', language))}.png", control_map)
                for index in _finished(job):
                    name = f"{index + 1:02d}-{_slug(prints.caption(job, index, language))}.png"
                    archive.writestr(name, self.backend.png(job.job_id, index))

        return self.files.parcel(f"comparison-{_slug(job.request.prompt)}.zip", write)

    def settings_file(self, data: Mapping[Any, Any]) -> str:
        """Return a JSON file with all settings of the page."""
        asked = self._asked(self.named(data))
        written = json.dumps(json.loads(settings.to_json(asked)), indent=2)
        return self.files.parcel(f"settings-{_slug(asked.prompt)}.json", lambda path: path.write_text(written, "ascii"))

    def link(self, data: Mapping[Any, Any], request: gr.Request) -> Updates:
        """Hand the page's script a link that brings all settings back, without the picture."""
        told = view.waiting_html("page.link_copied", words.language(request))
        return self.updates(link=settings.to_link(self._asked(self.named(data))), status=told)

    def _asked(self, values: dict[str, Any]) -> GenerationRequest:
        control: ControlUse | None = None
        if values["kind"] is not None:
            params = form.kind_params(self.backend.models(), values["kind"], values)
            source_id = self.asking.sources.source_id(values) or ""
            control = form.build_control(values, map_id="", source_id=source_id, params=params)
        return self.asking.complete(values, control)


def _comparison(shown: view.JobView | None) -> view.JobView:
    if shown is None or not _finished(shown):
        raise InputError("nothing_to_save")
    return shown


def _finished(job: view.JobView) -> list[int]:
    return [index for index, cell in enumerate(job.cells) if cell.state == "done"]


def _lines(job: view.JobView, index: int, language: str) -> tuple[str, ...]:
    agreement = job.cells[index].agreement
    told = () if agreement is None else (text.get("page.agreement", language, percent=round(100 * agreement)),)
    return (prints.caption(job, index, language), *told)


def _about(asked: GenerationRequest, language: str) -> str:
    return text.get(
        "page.sheet_about",
        language,
        base=asked.base,
        seed=asked.seed,
        steps=asked.steps,
        guidance=prints.number(asked.guidance_scale, language),
    )


def _slug(words_: str) -> str:
    """Return words as a part of a file name that every system takes."""
    plain = unicodedata.normalize("NFKD", words_.casefold()).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9.]+", "-", plain)[:40].strip("-.") or "untitled"


def export_row(fields: Fields) -> None:
    """Add the buttons under the strip, hidden until a comparison is finished."""
    with gr.Row(visible=False, elem_id="export", elem_classes="keep-row actions") as fields["export"]:
        for name in ("export_sheet", "export_pictures"):
            fields[name] = gr.Button(label(f"page.{name}"), size="sm", elem_id=name.replace("_", "-"), min_width=100)


def settings_row(fields: Fields) -> None:
    """Add the buttons that save all settings."""
    with gr.Row(elem_classes="keep-row", elem_id="settings-row"):
        for name in ("save_settings", "copy_link"):
            fields[name] = gr.Button(label(f"page.{name}"), size="sm", elem_id=name.replace("_", "-"), min_width=100)


def wire(exporting: Exporting, fields: Fields, everything: set[Any]) -> None:
    """Tie the buttons to their handlers. A file is made when it is asked for; the page's script then fetches it."""
    parcel = gr.File(visible="hidden", elem_id="parcel")
    for name, handler, given in (
        ("export_sheet", exporting.sheet, fields["view"]),
        ("export_pictures", exporting.pictures, fields["view"]),
        ("save_settings", exporting.settings_file, everything),
    ):
        made = fields[name].click(edge(handler), given, parcel, **_QUIET)
        made.success(None, parcel, None, js=_FETCH, **_QUIET)
    shown = fields["copy_link"].click(edge(exporting.link), everything, [fields["link"], fields["status"]], **_QUIET)
    shown.success(None, fields["link"], None, js="(link) => { window.cnxsFiles.copyLink(link); }", **_QUIET)
