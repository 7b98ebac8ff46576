"""What happens when something on the page is used: values in by name, updates out by component."""

import functools
import json
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from cnxs import images, text
from cnxs.errors import InputError, UserError
from cnxs.request import Axis, Backend, BaseInfo, ControlUse, GenerationRequest, Models, Progress, Result
from cnxs.ui import examples, form, view, words
from cnxs.ui.canvas import SketchCanvas
from cnxs.ui.files import PictureFiles
from cnxs.ui.inputs import SOURCES, Fields, default_kind

START_POLL_SECONDS = 0.3

Updates = dict[Any, Any]
Values = Mapping[str, Any]


class Handlers:
    """The page's behaviour. Holds no state of a session: that is in `gr.State`, and all work is in the backend."""

    def __init__(self, backend: Backend, fields: Fields, files: PictureFiles) -> None:
        self.backend = backend
        self.fields = fields
        self.files = files
        self.digest_of = functools.lru_cache(maxsize=256)(self._digest_of)

    def named(self, data: Mapping[Any, Any]) -> dict[str, Any]:
        """Return the values by the names of their components."""
        return {name: data[component] for name, component in self.fields.items() if component in data}

    def updates(self, **changes: Any) -> Updates:
        """Return changes by component."""
        return {self.fields[name]: change for name, change in changes.items()}

    def _digest_of(self, path: str) -> str:
        return self.backend.put_image(Path(path).read_bytes())

    # --- the source and its map ---------------------------------------------------------------------------------

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

    def choose_source(self, source: str) -> Callable[..., Updates]:
        """Return the handler of one source tab."""

        def chosen(base: str, before: str) -> Updates:
            if before == source:  # the program opened the tab, and chose the kind with it
                return self.updates(source=source)
            kinds = [choice.kind.name for choice in form.kind_choices(self.backend.models(), base)]
            return self.updates(source=source, kind=default_kind(source, kinds))

        return chosen

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
            drawn = self._draw(values | {name: changes[name] for name in ("width", "height") if name in changes})
        except UserError as error:
            return self._no_map(error.sentence(language))
        note = " ".join(text.get(key, language, **dict(fields)) for key, fields in drawn.notes)
        return self.updates(
            placed=gr.update(value=self.files.put_image(drawn.placed), visible=True),
            control_map=gr.update(value=self.files.put_image(drawn.map), visible=True),
            copy_map=gr.update(visible=True),
            map_note=view.note_html(note or self._near_note(values, language)),
            **changes,
        )

    def _no_map(self, sentence: str) -> Updates:
        hidden = gr.update(value=None, visible=False)
        return self.updates(
            placed=hidden, control_map=hidden, copy_map=gr.update(visible=False), map_note=view.note_html(sentence)
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

    def _draw(self, values: Values) -> Any:
        source_id = self.source_id(values)
        if source_id is None:
            raise InputError("empty_sketch" if values["source"] == "sketch" else "no_source")
        return self.backend.control_map(
            source_id,
            kind=values["kind"],
            params=form.kind_params(self.backend.models(), values["kind"], values),
            **form.read(values, {"width": int, "height": int, "placement": str}),
        )

    def _near_note(self, values: Values, language: str) -> str:
        choice = self._choice(self.backend.models(), values)
        return text.get("page.near_note", language, network=choice.networks[0].label) if choice.near else ""

    def _choice(self, models: Models, values: Values) -> form.KindChoice:
        for choice in form.kind_choices(models, values["base"]):
            if choice.kind.name == values["kind"]:
                return choice
        raise InputError("no_network", base=form.base_info(models, values["base"]).label)

    # --- menus ---------------------------------------------------------------------------------------------------

    def use_base(self, base: str, source: str, request: gr.Request) -> Updates:
        """Offer the kinds that the base can follow, and set its own defaults."""
        models = self.backend.models()
        info = form.base_info(models, base)
        multiple = gr.update(step=info.size_multiple)
        return self._menus(models, base, source, words.language(request)) | self.updates(
            steps=info.default_steps, guidance_scale=info.default_guidance_scale, width=multiple, height=multiple
        )

    def use_kind(self, base: str, kind: str | None) -> Updates:
        """Show the kind's own sliders and the networks that it can drive."""
        return self._kind(self.backend.models(), base, kind)

    def wake(self, base: str, source: str, kind: str | None, request: gr.Request) -> Updates:
        """Look again what can be chosen until the models have started."""
        models, language = self.backend.models(), words.language(request)
        if form.is_starting(models):
            return self.updates(device=self._device_html(models, language))
        changes = self._menus(models, base, source, language, kind=kind)
        return changes | self.updates(waking=gr.Timer(active=False), device=self._device_html(models, language))

    def _menus(self, models: Models, base: str, source: str, language: str, *, kind: str | None = None) -> Updates:
        choices = form.kind_choices(models, base)
        names = [choice.kind.name for choice in choices]
        labels = [
            text.get("page.kind_near", language, kind=title) if choice.near else title
            for choice in choices
            for title in [text.get(f"kind.{choice.kind.name}", language)]
        ]
        chosen = kind if kind in names else default_kind(source, names)
        bases = [(self._base_label(info, language), info.name) for info in models.bases]
        return self._kind(models, base, chosen) | self.updates(
            kind=gr.update(choices=list(zip(labels, names, strict=True)), value=chosen),
            base=gr.update(choices=bases, value=base),
        )

    def _base_label(self, info: BaseInfo, language: str) -> str:
        return info.label if info.state == "here" else text.get("page.base_away", language, base=info.label)

    def _kind(self, models: Models, base: str, kind: str | None) -> Updates:
        choices = {choice.kind.name: choice for choice in form.kind_choices(models, base)}
        networks = [(n.label, n.name) for n in choices[kind].networks] if kind in choices else []
        groups = {f"group.{known.name}": gr.update(visible=known.name == kind) for known in models.kinds}
        has_sliders = any(known.name == kind and known.params for known in models.kinds)
        return self.updates(
            network=gr.update(choices=networks, value=networks[0][1] if networks else ""),
            kind_settings=gr.update(visible=has_sliders),
            **groups,
        )

    def _device_html(self, models: Models, language: str) -> str:
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
            count = len(form.strengths(values["strengths"]))
            sizes = form.read(values, {"width": int, "height": int, "steps": int})
        except UserError as error:
            return view.note_html(error.sentence(language))
        pace = (values["pace"] or {}).get(values["base"])
        if pace is None:
            return view.note_html(text.get("page.cost_unknown", language, images=count))
        time = view.duration(pace * sizes["width"] * sizes["height"] * sizes["steps"] * count, language)
        return view.note_html(text.get("page.cost", language, images=count, time=time))

    # --- work ----------------------------------------------------------------------------------------------------

    def generate(self, data: Mapping[Any, Any], request: gr.Request) -> Iterator[Updates]:
        """Submit what the page describes: one image, or several that differ in their seed."""
        yield from self._until_started(request)
        values = self._with_seed(self.named(data))
        seed, count = form.read(values, {"seed": int, "count": int}).values()
        yield self._submit(values, self._control(values), form.seed_axis(seed, count))

    def compare(self, data: Mapping[Any, Any], request: gr.Request) -> Iterator[Updates]:
        """Submit one image per strength, from one seed, "no control" first."""
        yield from self._until_started(request)
        values = self._with_seed(self.named(data))
        axis = Axis(name="control_scale", values=form.strengths(values["strengths"]))
        yield self._submit(values, self._control(values, needed=True), (axis,))

    def _until_started(self, request: gr.Request) -> Iterator[Updates]:
        # Which control network to ask for is only known once the models have started, so the click waits for that.
        while form.is_starting(self.backend.models()):
            yield self.updates(status=view.waiting_html("note.starting", words.language(request)))
            time.sleep(START_POLL_SECONDS)

    def _with_seed(self, values: dict[str, Any]) -> dict[str, Any]:
        return values | {"seed": form.draw_seed()} if values["random_seed"] else values

    def _control(self, values: Values, *, needed: bool = False) -> ControlUse | None:
        if not needed and not values["control_scale"] and self.source_id(values) is None:
            return None  # words alone
        choice = self._choice(self.backend.models(), values)
        drawn = self._draw(values)
        # The menu of networks follows the kind a moment later: a click in between must not pair them wrongly.
        names = [network.name for network in choice.networks]
        network = values["network"] if values["network"] in names else names[0]
        return form.build_control(
            {**values, "network": network},
            map_id=drawn.map_id,
            source_id=self.source_id(values) or "",
            params=form.kind_params(self.backend.models(), values["kind"], values),
        )

    def _submit(self, values: Values, control: ControlUse | None, axes: Sequence[Axis]) -> Updates:
        request = form.build_request(values, control=control, axes=axes)
        owner = values["owner"] or new_owner()
        job_id = self.backend.submit(request, owner)
        return self.updates(job=job_id, owner=owner, seed=request.seed)

    def cancel(self, job: str, owner: str) -> None:
        """Stop the job that the page shows."""
        if job:
            self.backend.cancel(job, owner)

    def follow(self, job: str, owner: str, pace: dict[str, float] | None, request: gr.Request) -> Iterator[Updates]:
        """Read a job's events and show them. Only reads: when this stream closes, the work goes on."""
        language = words.language(request)
        info = next((info for info in self.backend.jobs(owner) if info.job_id == job), None) if job else None
        if info is None:
            return
        shown = view.JobView(job_id=job, request=info.request)
        if info.request.controls:
            shown.map_thumbnail = view.data_url(self.backend.get_image(info.request.controls[0].map_id))
        yield self._running(shown, language)
        for event in self.backend.events(job):
            shown.fold(event)
            if isinstance(event, Result):
                pixels = event.request.width * event.request.height * event.request.steps
                pace = {**(pace or {}), event.request.base: event.seconds / pixels}
            yield self._moved(shown, language, progress_only=isinstance(event, Progress))
        yield self._settled(shown, language) | self.updates(pace=pace)

    def _running(self, shown: view.JobView, language: str) -> Updates:
        return self.updates(
            status=view.status_html(shown, language),
            strip=view.strip_html(shown, language),
            facts="",
            view=shown,
            generate=gr.update(visible=False),
            cancel=gr.update(visible=True),
            compare=gr.update(interactive=False),
            actions=gr.update(visible=False),
            tab_beside=gr.update(visible=False),
            stage_tabs=gr.update(selected="picture"),
        )

    def _moved(self, shown: view.JobView, language: str, *, progress_only: bool) -> Updates:
        changes: dict[str, Any] = {"status": view.status_html(shown, language)}
        if not progress_only or len(shown.cells) > 1:
            changes["strip"] = view.strip_html(shown, language)
        picture = None
        if not progress_only:
            picture = self.files.put_image(shown.preview) if shown.preview else self._picture(shown)
        if picture is not None:
            changes |= {"stage": picture, "stage_tabs": gr.update(visible=True), "empty": gr.update(visible=False)}
        return self.updates(**changes)

    def _settled(self, shown: view.JobView, language: str) -> Updates:
        return self._selected(shown, language) | self.updates(
            status=view.status_html(shown, language),
            view=shown,
            generate=gr.update(visible=True),
            cancel=gr.update(visible=False),
            compare=gr.update(interactive=True),
        )

    def _picture(self, shown: view.JobView) -> str | None:
        """Return the file of the selected image, the very bytes that the backend made; None if it is not done."""
        if shown.shown() is None:
            return None
        return self.files.put(self.backend.png(shown.job_id, shown.selected))

    def _selected(self, shown: view.JobView, language: str) -> Updates:
        cell, path = shown.shown(), self._picture(shown)
        if cell is None or path is None:
            return self.updates(strip=view.strip_html(shown, language))
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
            download=gr.update(value=path),
            strip=view.strip_html(shown, language),
        )

    # --- finished images -----------------------------------------------------------------------------------------

    def select(self, shown: view.JobView | None, event: gr.EventData, request: gr.Request) -> Updates:
        """Show the chosen image of the strip large; in a comparison its strength becomes the current one."""
        if shown is None or not 0 <= int(event.cell) < len(shown.cells):
            raise InputError("nothing_to_save")
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
        return self.updates(photo=self._picture(shown), source="photo", source_tabs=gr.update(selected="photo"))

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

    # --- coming back ---------------------------------------------------------------------------------------------

    def arrive(self, owner: str | None, arrival: str, request: gr.Request) -> Updates:
        """Greet a page that was just loaded: find its job again, and what was typed."""
        language, kept = words.language(request), _object(arrival)
        owner = owner if isinstance(owner, str) and owner else new_owner()
        source = next((name for name in SOURCES if name == kept.get("source")), "photo")
        models = self.backend.models()
        changes = self._menus(models, models.bases[0].name, source, language) | self.updates(
            owner=owner,
            source=source,
            source_tabs=gr.update(selected=source),
            status=view.waiting_html("page.status_idle", language),
            device=self._device_html(models, language),
            waking=gr.Timer(active=form.is_starting(models)),
            prompt=str(kept.get("prompt") or ""),
            negative_prompt=str(kept.get("negative_prompt") or ""),
        )
        job = self._find_job(owner, kept)
        return changes if job is None else changes | self._restored(job[1], source) | self.updates(job=job[0])

    def _find_job(self, owner: str, kept: Mapping[str, Any]) -> tuple[str, GenerationRequest] | None:
        """Return this tab's own job; a new tab takes over the newest running one if no other tab is open."""
        jobs = self.backend.jobs(owner)
        own = [info for info in jobs if info.job_id == kept.get("job")]
        left = [info for info in jobs if info.state in ("queued", "running") and kept.get("alone") is True]
        found = (own or left)[-1:]
        return (found[0].job_id, found[0].request) if found else None

    def _restored(self, request: GenerationRequest, source: str) -> Updates:
        changes: dict[str, Any] = {name: getattr(request, name) for name in form.REQUEST_FIELDS}
        if request.controls:
            control = request.controls[0]
            names = ("kind", "control_scale", "start", "end")
            changes |= {name: getattr(control, name) for name in names}
            changes |= {f"param.{control.kind}.{name}": value for name, value in control.params}
            if source != "sketch" and control.source_id:
                changes[source] = self.files.put_image(self.backend.get_image(control.source_id))
        return self.updates(**{name: change for name, change in changes.items() if name in self.fields})


def new_owner() -> str:
    """Return a token that nobody can guess."""
    return secrets.token_urlsafe(24)


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
