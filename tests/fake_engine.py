"""An engine without a model: deterministic pictures, and steps that a test lets happen one by one."""

import contextlib
import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from PIL import Image

from cnxs.errors import InputError
from cnxs.jobs import Studio
from cnxs.protocol import BaseInfo, Event, Loading, Models, NetworkInfo, Preview, Progress, Queued, Result
from cnxs.registry import CONTROL_KINDS
from cnxs.request import Axis, GenerationRequest, defaults
from cnxs.store import ImageStore
from cnxs.weights import Library

PATIENCE = 20.0  # seconds after which a test that waits for something fails

REQUEST = replace(defaults(), prompt="a fox", steps=4, width=64, height=48)
STRIP = replace(REQUEST, axes=(Axis(name="seed", values=(1, 2, 3)),))


class OutOfMemoryError(RuntimeError):
    """Named like torch's."""


class Gate:
    """Lets steps happen: as many as a test allows, or all once it is open."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._allowed = 0
        self._is_open = False
        self._arrived = 0

    def allow(self, steps: int) -> None:
        """Let this many more steps happen."""
        with self._changed:
            self._allowed += steps
            self._changed.notify_all()

    def open(self) -> None:
        """Let all steps happen from now on."""
        with self._changed:
            self._is_open = True
            self._changed.notify_all()

    def wait_for_arrivals(self, count: int) -> None:
        """Wait until `count` steps have come to the gate since it was made."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._arrived >= count, PATIENCE)

    def pass_through(self) -> None:
        """Wait until one more step is allowed."""
        with self._changed:
            self._arrived += 1
            self._changed.notify_all()
            assert self._changed.wait_for(lambda: self._is_open or self._allowed > 0, PATIENCE)
            self._allowed -= 1


def picture(cell: GenerationRequest, images: ImageStore) -> Image.Image:
    """Return the picture that the fake makes of an axis-free request: a colour, with the control map laid over it."""
    scales = [use.control_scale for use in cell.controls]
    key = (cell.seed, cell.prompt, cell.negative_prompt, cell.steps, cell.guidance_scale, cell.guidance_rescale, scales)
    colour = tuple(hashlib.sha256(repr(key).encode()).digest()[:3])
    image = Image.new("RGB", (cell.width, cell.height), colour)
    for use in cell.controls:
        if use.control_scale > 0:
            image = Image.blend(image, images.get(use.map_id), min(use.control_scale, 2.0) / 4)
    return image


class FakeEngine:
    """Meets `cnxs.jobs.Engine`. The prompts "fail", "out of memory" and "refuse" do what they say, after one step.

    Args:
        device: name of the device.
        gate: passed before every step; None lets all happen.
        step_seconds: that every step takes, for pages that should be seen working.
    """

    def __init__(self, device: str = "fake", *, gate: Gate | None = None, step_seconds: float = 0.0) -> None:
        self.device = device
        self.thread_names: set[int] = set()
        self._gate = gate
        self._step_seconds = step_seconds
        self._has_loaded = False

    def models(self) -> Models:
        """Return the registry's bases, and two networks of the miniature."""
        networks = tuple(
            NetworkInfo(
                name=f"miniature-{condition}",
                label=condition.capitalize(),
                family="miniature",
                condition=condition,
                kinds=tuple(kind.name for kind in CONTROL_KINDS.values() if condition in kind.conditions),
                state="here",
            )
            for condition in ("canny", "scribble")
        )
        return replace(Library().models(), networks=networks, device=self.device)

    def base_info(self, name: str) -> BaseInfo:
        """Return one of the registry's bases."""
        for base in self.models().bases:
            if base.name == name:
                return base
        raise InputError("unknown_base", given=name, allowed="miniature")

    def count_tokens(self, base: str, prompt: str) -> tuple[int, int]:
        """Count words."""
        return len(prompt.split()), 75

    def generate(
        self, cells: Sequence[GenerationRequest], store: ImageStore, cancelled: Callable[[], bool]
    ) -> Iterator[Event]:
        """Yield a preview every second step."""
        self.thread_names.add(threading.get_ident())
        if not self._has_loaded:
            yield Loading(model=cells[0].base)
            self._has_loaded = True
        for index, cell in enumerate(cells):
            finished = picture(cell, store)
            for step in range(1, cell.steps + 1):
                if cancelled():
                    return
                if self._gate is not None:
                    self._gate.pass_through()
                time.sleep(self._step_seconds)
                if step == 2 and cell.prompt in _FAILURES:
                    raise _FAILURES[cell.prompt]
                yield Progress(cell=index, cells=len(cells), step=step, steps=cell.steps, seconds_left=0.0)
                if step % 2 == 0:
                    yield Preview(cell=index, image=finished.resize((16, 16)))
            yield Result(cell=index, image=finished, request=replace(cell, threads=1), seconds=0.5, edge_agreement=0.5)


_FAILURES: dict[str, Exception] = {
    "fail": RuntimeError("a bug"),
    "out of memory": OutOfMemoryError("tried to allocate"),
    "refuse": InputError("unknown_sampler", given="x", allowed="y"),
}


# --- studios of fake engines, for the tests of jobs ---------------------------------------------------------------

Make = Callable[..., Studio]


@contextlib.contextmanager
def studios() -> Iterator[Make]:
    """Yield a function that makes studios; they are closed afterwards, with their gates open."""
    made: list[Studio] = []
    gates: list[Gate] = []

    def make(*engines: object, gate: Gate | None = None, **options: object) -> Studio:
        if gate is not None:
            gates.append(gate)
        studio = Studio(
            engines or (FakeEngine(gate=gate),),  # pyright: ignore[reportArgumentType]
            **{"images": ImageStore(None), "history": None, "catalogue": Library().models, **options},  # pyright: ignore[reportArgumentType]
        )
        made.append(studio)
        return studio

    yield make
    for gate in gates:
        gate.open()
    for studio in made:
        studio.close()


def types_of(events: list[Event]) -> list[type[Event]]:
    """Return the events' types."""
    return [type(event) for event in events]


def read_until(stream: Iterator[Event], kind: type[Event]) -> Event:
    """Read to the next event of a type."""
    return next(event for event in stream if isinstance(event, kind))


def positions(stream: Iterator[Event], count: int) -> list[int]:
    """Read that many events; return the places in the queue that they told."""
    return [event.position for event in (next(stream) for _ in range(count)) if isinstance(event, Queued)]
