"""The named endpoints for programs: through `gradio_client`, plain HTTP, and as tools for assistants (MCP).

The docstrings of the endpoints are what clients are shown, so they are written for them.
"""

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import gradio as gr
from gradio_client.utils import is_file_obj_with_meta

from cnxs import images, text
from cnxs.errors import InputError, UnavailableError
from cnxs.protocol import Backend, Cancelled, Failed, Progress, Result
from cnxs.records import Search
from cnxs.request import Axis
from cnxs.ui import words
from cnxs.ui.api_requests import Asked, Source, strengths_from
from cnxs.ui.edge import edge
from cnxs.ui.files import PictureFiles
from cnxs.ui.form import is_starting
from cnxs.ui.owners import owner_of

NO_IMAGE: Any = None  # Gradio's tools know uploads by the type alone, which an optional one would hide
START_POLL_SECONDS = 0.3
HISTORY_LIMIT = 50
DEFAULT_STRENGTHS = (0.25, 0.5, 0.75, 1.0, 1.5)
_Facts = dict[str, Any]


class Endpoints:
    """What programs may ask. Each method becomes an endpoint of its own name."""

    def __init__(self, backend: Backend, files: PictureFiles) -> None:
        self._backend = backend
        self._files = files

    def generate(
        self,
        request: gr.Request,
        prompt: str = "",
        image: gr.FileData = NO_IMAGE,
        condition: str = "canny",
        control_scale: float = 1.0,
        seed: int | None = None,
        negative_prompt: str = "",
        steps: int | None = None,
        guidance_scale: float | None = None,
        width: int | None = None,
        height: int | None = None,
        base: str = "",
        network: str = "",
        settings: dict[str, Any] | None = None,
    ) -> tuple[gr.FileData, dict[str, Any]]:
        """Generate one picture from a prompt, following the structure of an image.

        Args:
            prompt: what the picture shows.
            image: the photo, sketch or control map to follow; leave it out to follow words alone.
            condition: what is kept of the image, by the name that `models` lists: canny, scribble, as_is, ...
            control_scale: how closely the image is followed: 0 not at all, 1 as trained, at most 2.
            seed: the same seed and settings give the same pixels again; left out, a random one.
            negative_prompt: what the picture should not show.
            steps: sampling steps, 1 to 150; left out, the base model's usual number.
            guidance_scale: how much the prompt counts, 1 to 30; left out, the base model's usual number.
            width: in pixels; left out, it follows the image, or the base model's own size.
            height: in pixels; left out, it follows the image, or the base model's own size.
            base: a base model by its name; left out, the first one.
            network: a control network by its name; left out, the best one for the condition.
            settings: less often needed: sampler, guidance_rescale, placement (crop, fit or stretch), start, end,
                clip_skip, prediction, and the condition's own parameters by the names that `models` lists.

        Returns:
            The picture as PNG with its settings inside.
            Facts: seed, edge_agreement with the map (0 to 1) or null, seconds, record_id in the history, notes.
        """
        given = {
            "prompt": prompt,
            "image": image,
            "condition": condition,
            "control_scale": control_scale,
            "seed": seed,
            "negative_prompt": negative_prompt,
            "steps": steps,
            "guidance_scale": guidance_scale,
            "width": width,
            "height": height,
            "base": base,
            "network": network,
            "settings": settings,
        }
        asked = self._asked(given)
        made = self._run(asked, (), request)
        return _file(made[0][0]), made[0][1]

    def compare(
        self,
        request: gr.Request,
        image: gr.FileData,
        prompt: str = "",
        strengths: list[float] | None = None,
        condition: str = "canny",
        seed: int | None = None,
        negative_prompt: str = "",
        steps: int | None = None,
        guidance_scale: float | None = None,
        width: int | None = None,
        height: int | None = None,
        base: str = "",
        network: str = "",
        settings: dict[str, Any] | None = None,
    ) -> tuple[gr.FileData, list[dict[str, Any]]]:
        """Generate the same picture at several control strengths from one seed, "no control" first.

        Args:
            image: the photo, sketch or control map to follow.
            prompt: what the pictures show.
            strengths: from 0 (not at all) to 2, 0 always among them; left out, 0.25, 0.5, 0.75, 1 and 1.5.
            condition: what is kept of the image, by the name that `models` lists: canny, scribble, as_is, ...
            seed: of all pictures; left out, a random one.
            negative_prompt: what the pictures should not show.
            steps: sampling steps, 1 to 150; left out, the base model's usual number.
            guidance_scale: how much the prompt counts, 1 to 30; left out, the base model's usual number.
            width: in pixels; left out, it follows the image.
            height: in pixels; left out, it follows the image.
            base: a base model by its name; left out, the first one.
            network: a control network by its name; left out, the best one for the condition.
            settings: as for `generate`.

        Returns:
            All pictures in a row, weakest control first, as one PNG.
            One entry for each: image, control_scale, and the facts that `generate` tells.
        """
        given = {
            "prompt": prompt,
            "image": image,
            "condition": condition,
            "seed": seed,
            "negative_prompt": negative_prompt,
            "steps": steps,
            "guidance_scale": guidance_scale,
            "width": width,
            "height": height,
            "base": base,
            "network": network,
            "settings": settings,
        }
        asked = self._asked(given)
        axis = Axis(name="control_scale", values=strengths_from(DEFAULT_STRENGTHS if strengths is None else strengths))
        made = self._run(asked, (axis,), request)
        row = images.row([images.load(Path(path).read_bytes()) for path, _ in made])
        return _file(self._files.put_image(row)), [{"image": _file(path), **facts} for path, facts in made]

    def control_map(
        self,
        request: gr.Request,
        image: gr.FileData,
        condition: str = "canny",
        width: int | None = None,
        height: int | None = None,
        base: str = "",
        network: str = "",
        settings: dict[str, Any] | None = None,
    ) -> tuple[gr.FileData, dict[str, Any]]:
        """Draw the control map of an image: exactly what `generate` would follow.

        Args:
            image: a photo, a sketch, or a finished map for the condition as_is.
            condition: what is kept of the image, by the name that `models` lists: canny, scribble, as_is, ...
            width: in pixels; left out, it follows the image.
            height: in pixels; left out, it follows the image.
            base: the base model that the map is for; left out, the first one.
            network: the control network that the map is for; left out, the best one for the condition.
            settings: placement (crop, fit or stretch), and the condition's own parameters.

        Returns:
            The map as PNG.
            Facts: width, height, network, notes.
        """
        given = {
            "image": image,
            "condition": condition,
            "width": width,
            "height": height,
            "base": base,
            "network": network,
            "settings": settings,
        }
        asked = self._asked(given)
        drawn, chosen = asked.drawn()
        facts = {
            "width": drawn.map.width,
            "height": drawn.map.height,
            "network": chosen,
            "notes": _notes(drawn.notes, words.language(request)),
        }
        return _file(self._files.put_image(drawn.map)), facts

    def models(self, request: gr.Request) -> dict[str, Any]:
        """List the base models, control networks and conditions that there are, with their limits and defaults.

        Returns:
            bases, networks, conditions (each with its parameters), device, and notes.
        """
        language, models = words.language(request), self._backend.models()
        conditions = [
            {
                "name": kind.name,
                "label": text.get(f"kind.{kind.name}", language),
                "settings": [asdict(param) for param in kind.params],
            }
            for kind in models.kinds
        ]
        return {
            "bases": [_plain(info, language) for info in models.bases],
            "networks": [_plain(info, language) for info in models.networks],
            "conditions": conditions,
            "device": models.device,
            "notes": _notes(models.notes, language),
        }

    def history(
        self,
        request: gr.Request,
        search: str = "",
        base: str | None = None,
        condition: str | None = None,
        favourites: bool = False,
        before: str | None = None,
        limit: int = 20,
    ) -> list[dict[str, Any]]:
        """List finished pictures, newest first.

        Args:
            search: words that must all be in the prompt.
            base: only pictures of this base model.
            condition: only pictures that followed this condition; "" for pictures that followed none.
            favourites: only pictures that were marked as favourites.
            before: the last record_id of the page before, to page on.
            limit: how many, at most 50.

        Returns:
            For each picture: record_id, image (the PNG with its settings inside), created, prompt, seed, base,
            control_scale, edge_agreement, seconds, favourite.
        """
        if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= HISTORY_LIMIT:
            raise InputError("out_of_range", name="limit", given=str(limit)[:40], minimum=1, maximum=HISTORY_LIMIT)
        gallery = self._backend.history(_owner(request))
        looked_for = Search(text=str(search), base=base, condition=condition, favourites=favourites is True)
        return [
            {
                "record_id": record.record_id,
                "image": _file(self._files.put(gallery.png(record.record_id))),
                "created": record.created.isoformat(),
                "prompt": record.request.prompt,
                "seed": record.request.seed,
                "base": record.request.base,
                "control_scale": record.request.controls[0].control_scale if record.request.controls else 0.0,
                "edge_agreement": record.edge_agreement,
                "seconds": record.seconds,
                "favourite": record.favourite,
            }
            for record in gallery.search(looked_for, before=before, limit=limit)
        ]

    def cancel(self, request: gr.Request) -> int:
        """Stop everything that this client has asked for and that is not finished yet.

        Returns:
            How many jobs were stopped.
        """
        owner = _owner(request)
        waiting = [info for info in self._backend.jobs(owner) if info.state in ("queued", "running")]
        for info in waiting:
            self._backend.cancel(info.job_id, owner)
        return len(waiting)

    def _asked(self, given: Mapping[str, Any]) -> Asked:
        while is_starting(self._backend.models()):  # which control networks there are is only known then
            time.sleep(START_POLL_SECONDS)
        upload = given.get("image")
        source = None
        if upload is not None:
            # Gradio has made sure that what looks like an upload is one; of anything else the path is anybody's.
            if not is_file_obj_with_meta(upload):
                raise InputError("not_an_upload")
            try:
                data = Path(upload["path"]).read_bytes()
            except OSError:  # uploads are tidied away after a day
                raise InputError("not_an_upload") from None
            source_id = self._backend.put_image(data)
            source = Source(source_id, self._backend.get_image(source_id).size)
        return Asked(self._backend, {name: value for name, value in given.items() if name != "image"}, source)

    def _run(self, asked: Asked, axes: Sequence[Axis], request: gr.Request) -> list[tuple[str, _Facts]]:
        """Run a job to its end; return the file of each image with its facts."""
        job_id = self._backend.submit(asked.request(axes), _owner(request))
        made, progress = [], gr.Progress()
        for event in self._backend.events(job_id):
            match event:
                case Progress():
                    progress((event.cell * event.steps + event.step, event.cells * event.steps))
                case Result():
                    facts = _result_facts(event, words.language(request))
                    made.append((self._files.put(self._backend.png(job_id, event.cell)), facts))
                case Failed():
                    raise event.error
                case Cancelled():
                    raise UnavailableError("job_cancelled", finished=len(made))
        return made


def wire(backend: Backend, files: PictureFiles) -> None:
    """Add the endpoints to the page that is being built. Nothing of them shows on it."""
    endpoints = Endpoints(backend, files)
    handlers: tuple[Callable[..., Any], ...] = (
        endpoints.generate,
        endpoints.compare,
        endpoints.control_map,
        endpoints.models,
        endpoints.history,
        endpoints.cancel,
    )
    for handler in handlers:
        gr.api(edge(handler, for_page=False), api_name=handler.__name__, concurrency_limit=None)


def _owner(request: gr.Request) -> str:
    # A program names itself by its session, which its client library draws at random.
    session = request.session_hash
    return owner_of(request, f"program {hashlib.sha256(session.encode()).hexdigest()[:40]}" if session else None)


def _file(path: str) -> Any:
    # As Gradio sends it; told as a type of its own, clients know it for a file.
    return gr.FileData(path=path, mime_type="image/png").model_dump()


def _result_facts(result: Result, language: str) -> _Facts:
    controls = result.request.controls
    return {
        "seed": result.request.seed,
        "control_scale": controls[0].control_scale if controls else 0.0,
        "edge_agreement": result.edge_agreement,
        "seconds": result.seconds,
        "record_id": result.record_id,
        "notes": _notes(result.notes, language),
    }


def _notes(notes: Sequence[tuple[str, Mapping[str, object]]], language: str) -> list[str]:
    return [text.get(key, language, **dict(fields)) for key, fields in notes]


def _plain(info: Any, language: str) -> dict[str, Any]:
    return asdict(info) | {"notes": _notes(info.notes, language)}
