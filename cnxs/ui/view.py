"""A job as the page shows it: events are folded into a `JobView`, and a view is told as status line and strip."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from cnxs import text
from cnxs.protocol import LAST_EVENTS, Cancelled, Event, Failed, Finished, Loading, Preview, Progress, Queued, Result
from cnxs.request import GenerationRequest
from cnxs.ui.prints import number

if TYPE_CHECKING:
    from PIL.Image import Image

THUMBNAIL = 320  # pixels, longest side
SMALL_THUMBNAIL = 200  # of comparisons with many images, all of which travel again whenever one is added
MANY = 12


@dataclass
class Cell:
    """One image of a job."""

    request: GenerationRequest  # axis-free
    state: Literal["waiting", "working", "done"] = "waiting"
    step: int = 0
    thumbnail: str = ""  # data URL
    seconds: float = 0.0
    agreement: float | None = None

    @property
    def control_scale(self) -> float:
        """Return the strength of the first control; 0 where there is none."""
        return self.request.controls[0].control_scale if self.request.controls else 0.0


@dataclass
class JobView:
    """What is known of a job so far."""

    job_id: str
    request: GenerationRequest
    cells: list[Cell] = field(default_factory=list)
    map_thumbnail: str = ""
    maps: dict[str, str] = field(default_factory=dict)  # thumbnails of every map, by digest
    pair: dict[str, int] = field(default_factory=dict)  # images on the sides "a" and "b" of the slider
    selected: int = 0
    running: bool = True
    message: tuple[str, Mapping[str, object]] = ("page.status_next", {})
    seconds_left: float | None = None
    preview: "Image | None" = None
    notes: tuple[tuple[str, Mapping[str, object]], ...] = ()

    def __post_init__(self) -> None:
        self.cells = [Cell(request=cell) for cell in self.request.cells()]

    @property
    def varies(self) -> tuple[str, ...]:
        """Return the names of the axes."""
        return tuple(axis.name for axis in self.request.axes)

    @property
    def fraction(self) -> float:
        """Return how much of the job is done, 0 to 1."""
        done = sum(1.0 if cell.state == "done" else cell.step / cell.request.steps for cell in self.cells)
        return done / len(self.cells)

    @property
    def is_comparison(self) -> bool:
        """Say whether there are several finished images to lay side by side."""
        return self.states.count("done") > 1

    @property
    def states(self) -> tuple[str, ...]:
        """Return the states of the images."""
        return tuple(cell.state for cell in self.cells)

    def fold(self, event: Event) -> None:
        """Take one event into the view. `Preview` sets the picture on the stage; a `Result` clears it."""
        match event:
            case Queued(position=position):
                self.message = ("page.status_queued", {"position": position}) if position else ("page.status_next", {})
            case Loading(model=model):
                self.message = ("page.status_loading", {"model": model})
            case Progress():
                self._progress(event)
            case Preview(cell=cell, image=image):
                self.selected, self.preview = cell, image
            case Result():
                self._result(event)
            case Failed(error=error):
                self.message = (f"error.{error.key}", error.fields)
            case Cancelled():
                self.message = ("page.status_cancelled", {})
            case Finished():
                self.message = ("page.status_finished", {})
        if isinstance(event, LAST_EVENTS):
            self._over()

    def _progress(self, event: Progress) -> None:
        cell = self.cells[event.cell]
        if cell.state != "done":
            cell.state, cell.step = "working", event.step
        self.seconds_left = event.seconds_left
        fields = {"cell": event.cell + 1, "cells": event.cells, "step": event.step, "steps": event.steps}
        self.message = ("page.status_cell" if event.cells > 1 else "page.status_step", fields)

    def _result(self, event: Result) -> None:
        cell = self.cells[event.cell]
        cell.state, cell.request, cell.seconds = "done", event.request, event.seconds
        side = THUMBNAIL if len(self.cells) <= MANY else SMALL_THUMBNAIL
        cell.agreement, cell.thumbnail = event.edge_agreement, data_url(event.image, side)
        self.selected, self.preview, self.notes = event.cell, None, event.notes

    def _over(self) -> None:
        self.running, self.seconds_left, self.preview = False, None, None
        finished = [i for i, cell in enumerate(self.cells) if cell.state == "done"]
        wanted = self.request.controls[0].control_scale if self.request.controls else 0.0
        if "control_scale" in self.varies and finished:
            self.selected = min(finished, key=lambda i: abs(self.cells[i].control_scale - wanted))
        elif finished:
            self.selected = finished[0]
        for cell in self.cells:
            if cell.state == "working":
                cell.state = "waiting"

    def shown(self) -> Cell | None:
        """Return the selected cell if it is finished."""
        cell = self.cells[self.selected]
        return cell if cell.state == "done" else None


def data_url(image: "Image", side: int = THUMBNAIL) -> str:
    """Return a thumbnail of `image` as a JPEG data URL, its longest side at most `side` pixels."""
    small = image.convert("RGB")
    small.thumbnail((side, side))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def pace_key(base: str, controls: int) -> str:
    """Return the name under which the pace of a base with that many controls is kept."""
    return f"{base} {controls}"


def duration(seconds: float, language: str) -> str:
    """Return a length of time in words that promise no more than is known."""
    if seconds < 90:
        step = 1 if seconds < 10 else 5
        return text.get("page.about_seconds", language, seconds=max(1, round(seconds / step) * step))
    return text.get("page.about_minutes", language, minutes=round(seconds / 60))


def waiting_html(key: str, language: str, fields: Mapping[str, object] = MappingProxyType({})) -> str:
    """Return the status line of a page that shows no job."""
    return f'<div class="status" role="status">{escape(text.get(key, language, **fields))}</div>'


def alert_html(sentence: str) -> str:
    """Return the status line that tells what went wrong."""
    return f'<div class="status failed"><span role="alert">{escape(sentence)}</span></div>'


def restored_html(left_out: Sequence[str], language: str) -> str:
    """Return the status line after settings came back, with what could not be."""
    if not left_out:
        return waiting_html("page.restored", language)
    sentence = text.get("page.restored_partly", language, left_out="; ".join(left_out))
    return f'<div class="status" role="status">{escape(sentence)}</div>'


def status_html(view: JobView, language: str) -> str:
    """Return the status line: what happens, how far it is, and how long it will take."""
    key, fields = view.message
    sentence = text.get(key, language, **fields)
    if view.running and view.seconds_left is not None and view.seconds_left >= 1:
        sentence = text.get("page.status_left", language, status=sentence, time=duration(view.seconds_left, language))
    percent = round(100 * view.fraction)
    state = "running" if view.running else "failed" if key.startswith("error.") else "over"
    bar = (
        f'<div class="bar" role="progressbar" aria-valuenow="{percent}" aria-valuemin="0" aria-valuemax="100"'
        f' aria-label="{escape(sentence)}"><i style="width:{percent}%"></i></div>'
        if view.running
        else ""
    )
    shown = percent if view.running else ""
    role = "alert" if state == "failed" else "status"
    working = [(i, cell) for i, cell in enumerate(view.cells) if cell.state == "working"]
    cells = " ".join(f"{i}:{round(100 * cell.step / cell.request.steps)}" for i, cell in working)
    notes = "".join(f'<p class="note">{escape(text.get(key, language, **dict(f)))}</p>' for key, f in view.notes)
    return (
        f'<div class="status {state}" data-job="{escape(view.job_id)}" data-percent="{shown}" data-cells="{cells}">'
        f'{bar}<span role="{role}">{escape(sentence)}</span>{notes}</div>'
    )


def facts(cell: Cell, language: str) -> str:
    """Return the line below a finished image: what made it."""
    uses = [use for use in cell.request.controls if use.control_scale]
    key = "page.facts_plain" if not uses else "page.facts" if len(cell.request.controls) == 1 else "page.facts_several"
    named = [f"{text.get(f'kind.{use.kind}', language)} {number(use.control_scale, language)}" for use in uses]
    return text.get(
        key,
        language,
        seed=cell.request.seed,
        controls=" + ".join(named),
        strength=number(cell.control_scale, language),
        steps=cell.request.steps,
        seconds=number(round(cell.seconds, 1), language),
    )


def facts_html(cell: Cell, language: str) -> str:
    """Return `facts` as the page shows them."""
    return f'<p class="facts">{escape(facts(cell, language))}</p>'


def kinds_away_html(kinds: Sequence[str], language: str) -> str:
    """Return the kinds whose weights are missing, with the way to the panel where they are had; empty for none."""
    if not kinds:
        return ""
    names = ", ".join(text.get(f"kind.{kind}", language) for kind in kinds)
    told = escape(text.get("page.kinds_away", language, kinds=names))
    link = escape(text.get("page.kinds_away_link", language))
    return f'<p class="note">{told} <a href="#models">{link}</a></p>'


def note_html(sentence: str) -> str:
    """Return a sentence as small print; empty for none."""
    return f'<p class="note">{escape(sentence)}</p>' if sentence else ""
