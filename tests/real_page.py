"""The page on the bundled model, in this process: `real_page(...)` serves it for tests that need true pictures."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cnxs import images
from cnxs.backend import Engine
from cnxs.history import History
from cnxs.jobs import Studio
from cnxs.records import Search
from cnxs.request import GenerationRequest
from cnxs.store import ImageStore
from cnxs.ui.page import build_ui, launch_options
from cnxs.weights import Library
from tests.browser import greeted, reachable, serve


@contextlib.contextmanager
def real_page(outputs: Path, *, models: Path | None = None) -> Iterator[tuple[Studio, str]]:
    """Serve the page; yield its backend and its address."""
    engine = Engine(torch.device("cpu"), Library(models), threads=1)
    history = History(outputs)
    with (
        contextlib.closing(history),
        Studio([engine], images=ImageStore(None), history=history, catalogue=engine.models, shared=True) as studio,
    ):
        studio.start()
        with serve(build_ui(studio), **launch_options()) as url:
            yield studio, url


def ready(page: Any) -> None:
    """Wait until the page is greeted, and its models have started."""
    greeted(page)
    page.wait_for_function("document.querySelectorAll('#kind label').length > 1")


def set_steps(page: Any, steps: int) -> None:
    """Unfold the settings, set the number of steps, and keep the seed."""
    page.locator("#advanced > button").click()
    page.locator("#random-seed input").uncheck()
    page.wait_for_timeout(1000)  # a number typed in the very moment of unfolding is lost
    field = page.locator("#steps input[type=number]")
    field.fill(str(steps))
    field.press("Tab")


def generate(page: Any) -> None:
    """Press the button and wait for the finished picture."""
    with one_job(page):
        page.locator("#generate").click()


@contextlib.contextmanager
def one_job(page: Any) -> Iterator[None]:
    """Wait, at the end, until a job that was started meanwhile has ended well."""
    shown = "document.querySelector('#status [data-job]')"
    before = page.evaluate(f"{shown}?.dataset.job ?? ''")
    yield
    page.wait_for_function(f"before => ({shown}?.dataset.job ?? before) !== before", arg=before)
    page.locator("#status [data-job]", has_text="Done.").wait_for()
    page.locator("#download").wait_for()


def paint(page: Any, canvas: str, *, height: float) -> None:
    """Draw a line from left to right over the picture that lies below a canvas (`mask` or `region`)."""
    paper = page.locator(f"#{canvas} canvas")
    page.wait_for_function(f"window.cnxsSketches?.get('cnxs.{canvas}')?.sketch.ground")
    box = reachable(paper)
    y = box["y"] + height * box["height"]
    page.mouse.move(box["x"] + 0.1 * box["width"], y)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.9 * box["width"], y, steps=10)
    page.mouse.up()
    page.locator(f'#{canvas} [data-strokes="1"]').wait_for()


def restore(page: Any, png: bytes) -> None:
    """Give the page a file to restore from, and wait until it is laid out."""
    file = {"name": "made.png", "mimeType": "image/png", "buffer": png}
    page.locator("input[type=file]:has(+ #restore)").set_input_files(file)
    page.locator("#status", has_text="Everything is as it was").wait_for()


def newest(studio: Studio) -> tuple[GenerationRequest, np.ndarray, bytes]:
    """Return request, pixels and file of the image that was made last."""
    gallery = studio.history("")
    record = gallery.search(Search(), limit=1)[0]
    data = gallery.png(record.record_id)
    return record.request, np.asarray(images.load(data), np.int16), data
