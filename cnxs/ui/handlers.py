"""What happens when something on the page is used: values in by name, updates out by component."""

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

import gradio as gr

from cnxs.errors import InputError
from cnxs.protocol import Backend, Preview, Result
from cnxs.request import GenerationRequest
from cnxs.ui import form, prints, view, words
from cnxs.ui.asking import Asking
from cnxs.ui.binding import Binding, Updates, Values
from cnxs.ui.comparing import Comparing
from cnxs.ui.files import PictureFiles
from cnxs.ui.fine_control import FineControl
from cnxs.ui.further_cards import PLACES
from cnxs.ui.further_controls import FurtherControl
from cnxs.ui.inputs import SOURCES, Fields
from cnxs.ui.loras import Loras
from cnxs.ui.menus import Menus
from cnxs.ui.owners import owner_of
from cnxs.ui.restoring import Restoring
from cnxs.ui.sources import Sources
from cnxs.ui.start_picture import StartPicture

START_POLL_SECONDS = 0.3
FRAME_SECONDS = 0.1  # between two updates of a running job: a browser that is asked for more falls behind


class Handlers(Binding):
    """The page's behaviour. All work is in the backend; a handler asks for it, or reads what came of it."""

    def __init__(self, backend: Backend, fields: Fields, files: PictureFiles) -> None:
        super().__init__(backend, fields, files)
        self.sources = Sources(self)
        self.start_picture = StartPicture(self, self.sources)
        self.loras = Loras(self)
        self.fine_control = FineControl(self, self.sources)
        self.further = [FurtherControl(self, self.sources, place) for place in PLACES]
        panels = [self.fine_control, *self.further, self.start_picture, self.loras]
        self.asking = Asking(self.sources, panels)
        self.menus = Menus(self)
        self.restoring = Restoring(self, self.menus, self.asking)
        self.comparing = Comparing(self, self.sources)
        self.frame_seconds = FRAME_SECONDS

    # --- work ----------------------------------------------------------------------------------------------------

    def generate(self, data: Mapping[Any, Any], request: gr.Request) -> Iterator[Updates]:
        """Submit what the page describes: one image, or several that differ in their seed."""
        yield from self._until_started(request)
        values = self._with_seed(self.named(data))
        seed, count = form.read(values, {"seed": int, "count": int}).values()
        asked = self.asking.request(values, axes=form.seed_axis(seed, count))
        yield self._submit(values, asked, request)

    def compare(self, data: Mapping[Any, Any], request: gr.Request) -> Iterator[Updates]:
        """Submit one image per strength, from one seed, "no control" first; a row of them for each further value."""
        yield from self._until_started(request)
        values = self._with_seed(self.named(data))
        asked = self.asking.request(values, axes=self.comparing.axes(values), followed=True)
        yield self._submit(values, asked, request)

    def _until_started(self, request: gr.Request) -> Iterator[Updates]:
        # Which control network to ask for is only known once the models have started, so the click waits for that.
        while form.is_starting(self.backend.models()):
            yield self.updates(status=view.waiting_html("note.starting", words.language(request)))
            time.sleep(START_POLL_SECONDS)

    def _with_seed(self, values: dict[str, Any]) -> dict[str, Any]:
        return values | {"seed": form.draw_seed()} if values["random_seed"] else values

    def _submit(self, values: Values, asked: GenerationRequest, request: gr.Request) -> Updates:
        owner = owner_of(request, values["owner"])
        job_id = self.backend.submit(asked, owner)
        return self.updates(job=job_id, owner=owner, seed=asked.seed)

    def cancel(self, job: str, owner: str) -> None:
        """Stop the job that the page shows."""
        if job:
            self.backend.cancel(job, owner)

    def follow(
        self, job: str, owner: str, pace: dict[str, float] | None, request: gr.Request, previews: bool = True
    ) -> Iterator[Updates]:
        """Read a job's events and show them. Only reads: when this stream closes, the work goes on."""
        language = words.language(request)
        info = next((info for info in self.backend.jobs(owner) if info.job_id == job), None) if job else None
        if info is None:
            yield self.updates(status=gr.update())  # of a stream that says nothing, Gradio makes one that empties all
            return
        shown = view.JobView(job_id=job, request=info.request)
        for digest in dict.fromkeys(cell.request.controls[0].map_id for cell in shown.cells if cell.request.controls):
            shown.maps[digest] = view.data_url(self.backend.get_image(digest))
        shown.map_thumbnail = next(iter(shown.maps.values()), "")
        yield self._running(shown, language)
        due, changed = 0.0, False
        for event in self.backend.events(job):
            if isinstance(event, Preview) and not previews:
                continue
            states = shown.states
            shown.fold(event)
            changed = changed or isinstance(event, (Preview, Result))
            if isinstance(event, Result):
                made = event.request
                key = view.pace_key(made.base, len([use for use in made.controls if use.control_scale]))
                pace = {**(pace or {}), key: event.seconds / (made.width * made.height * made.steps)}
            if states == shown.states and time.monotonic() < due:
                continue  # the next update tells this one as well
            yield self._moved(shown, language, picture=changed, strip=states != shown.states)
            due, changed = time.monotonic() + self.frame_seconds, False
        yield self._settled(shown, language) | self.updates(pace=pace)

    def _running(self, shown: view.JobView, language: str) -> Updates:
        return self.updates(
            status=view.status_html(shown, language),
            strip=prints.strip_html(shown, language),
            facts="",
            view=shown,
            generate=gr.update(visible=False),
            cancel=gr.update(visible=True),
            compare=gr.update(interactive=False),
            actions=gr.update(visible=False),
            export=gr.update(visible=False),
            tab_beside=gr.update(visible=False),
            tab_pair=gr.update(visible=False),
            stage_tabs=gr.update(selected="picture"),
        )

    def _moved(self, shown: view.JobView, language: str, *, picture: bool, strip: bool) -> Updates:
        changes: dict[str, Any] = {"status": view.status_html(shown, language)}
        if strip:
            changes["strip"] = prints.strip_html(shown, language)
        stage = None
        if picture:
            stage = self.files.put_image(shown.preview) if shown.preview else self.picture_of(shown)
        if stage is not None:
            changes |= {"stage": stage, "stage_tabs": gr.update(visible=True), "empty": gr.update(visible=False)}
        return self.updates(**changes)

    def _settled(self, shown: view.JobView, language: str) -> Updates:
        return self._selected(shown, language) | self.updates(
            status=view.status_html(shown, language),
            view=shown,
            export=gr.update(visible=shown.is_comparison),
            generate=gr.update(visible=True),
            cancel=gr.update(visible=False),
            compare=gr.update(interactive=True),
        )

    def picture_of(self, shown: view.JobView) -> str | None:
        """Return the file of the selected image, the very bytes that the backend made; None if it is not done."""
        if shown.shown() is None:
            return None
        return self.files.put(self.backend.png(shown.job_id, shown.selected))

    def _selected(self, shown: view.JobView, language: str) -> Updates:
        cell, path = shown.shown(), self.picture_of(shown)
        if cell is None or path is None:
            return self.updates(strip=prints.strip_html(shown, language))
        controls = cell.request.controls
        beside = (self.files.put_image(self.backend.get_image(controls[0].map_id)), path) if controls else None
        return self.updates(
            stage=path,
            stage_tabs=gr.update(visible=True),
            empty=gr.update(visible=False),
            tab_beside=gr.update(visible=beside is not None),
            slider=beside,
            facts=view.facts_html(cell, language),
            actions=gr.update(visible=True),
            finer=gr.update(visible="control_scale" in shown.varies),
            download=gr.update(value=path),
            strip=prints.strip_html(shown, language),
        )

    # --- finished images -----------------------------------------------------------------------------------------

    def select(self, shown: view.JobView | None, event: gr.EventData, request: gr.Request) -> Updates:
        """Show the chosen image of the strip large; in a comparison its strength becomes the current one.

        With a pin ("a" or "b") it goes on that side of the slider instead.
        """
        if shown is None or not 0 <= int(event.cell) < len(shown.cells):
            raise InputError("nothing_to_save")
        if side := getattr(event, "pin", ""):
            return self.comparing.pin(shown, int(event.cell), side, words.language(request))
        shown.selected = int(event.cell)
        changes = self._selected(shown, words.language(request))
        if "control_scale" in shown.varies:
            changes |= self.updates(control_scale=shown.cells[shown.selected].control_scale)
        return changes

    def reuse_seed(self, shown: view.JobView | None) -> Updates:
        """Keep the seed of the shown image for what comes next."""
        return self.updates(seed=_finished(shown).request.seed, random_seed=False)

    def new_seed(self) -> Updates:
        """Draw a new seed, and a new one for every image from now on."""
        return self.updates(seed=form.draw_seed(), random_seed=True)

    def as_source(self, shown: view.JobView | None) -> Updates:
        """Make the shown image the photo to follow."""
        _finished(shown)
        assert shown is not None
        return self.updates(photo=self.picture_of(shown), source="photo", source_tabs=gr.update(selected="photo"))

    # --- coming back ---------------------------------------------------------------------------------------------

    def arrive(self, arrival: str, request: gr.Request) -> Updates:
        """Greet a page that was just loaded: find its job again, and what was typed."""
        language, kept = words.language(request), _object(arrival)
        # From here on the server keeps the owner: what a browser holds may reach a handler late.
        owner = owner_of(request, kept.get("owner"))
        source = next((name for name in SOURCES if name == kept.get("source")), "photo")
        models = self.backend.models()
        changes = self.menus.refreshed(models, models.bases[0].name, source, language) | self.updates(
            owner=owner,
            source=source,
            source_tabs=gr.update(selected=source),
            status=view.waiting_html("page.status_idle", language),
            device=self.menus.device_html(models, language),
            waking=gr.Timer(active=form.is_starting(models)),
            prompt=str(kept.get("prompt") or ""),
            previews=kept.get("previews") is not False,
            notify=kept.get("notify") is True,
            negative_prompt=str(kept.get("negative_prompt") or ""),
        )
        job = self._find_job(owner, kept)
        return (
            changes
            if job is None
            else changes | self.restoring.laid_out(job[1], source, language)[0] | self.updates(job=job[0])
        )

    def _find_job(self, owner: str, kept: Mapping[str, Any]) -> tuple[str, GenerationRequest] | None:
        """Return this tab's own job; a new tab takes over the newest running one if no other tab is open."""
        jobs = self.backend.jobs(owner)
        own = [info for info in jobs if info.job_id == kept.get("job")]
        left = [info for info in jobs if info.state in ("queued", "running") and kept.get("alone") is True]
        found = (own or left)[-1:]
        return (found[0].job_id, found[0].request) if found else None


def _finished(shown: view.JobView | None) -> view.Cell:
    if shown is None or (cell := shown.shown()) is None:
        raise InputError("nothing_to_save")
    return cell


def _object(given: str) -> dict[str, Any]:
    try:
        value = json.loads(given or "{}")
    except json.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}
