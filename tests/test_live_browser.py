"""Live sketching in a headless Chromium, on a backend without a model."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cnxs.ui.live import LIVE_STEPS
from cnxs.ui.page import build_ui, launch_options
from tests.browser import reachable, serve
from tests.fake_backend import FakeBackend
from tests.test_page_browser import PAPER, STAGE, draw, finished, pixels, ready

pytestmark = pytest.mark.browser


# Looks at every frame of the browser whether a picture hangs on the stage, and whether the paper is still the same.
WATCH = """() => {
    const paper = document.querySelector('.cnxs-canvas canvas');
    const faults = (window.faults = []);
    const look = () => {
        const image = document.querySelector('#stage img');
        if (!image) faults.push('no picture');
        // While the next picture loads, the browser goes on to show the last one, at its size.
        else if (image.getBoundingClientRect().height < 100) faults.push('an empty picture');
        if (document.querySelector('.cnxs-canvas canvas') !== paper) faults.push('new paper');
        requestAnimationFrame(look);
    };
    look();
}"""


class Bench:
    """The page under test with its backend, whose jobs are held while `gate` is clear."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.backend = FakeBackend(gate=lambda: self.gate.wait(60))
        self.url = ""


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    bench = Bench()
    with serve(build_ui(bench.backend), **launch_options()) as bench.url:
        yield bench
        bench.gate.set()


@pytest.fixture
def live(bench: Bench) -> tuple[str, FakeBackend]:
    bench.gate.set()
    bench.backend.requests.clear()
    return bench.url, bench.backend


def stroke(page: Any, height: float) -> None:
    """Draw a level line across the paper, at `height` from 0 to 1, and wait until a frame was asked for."""
    box = reachable(page.locator(PAPER))
    y = box["y"] + height * box["height"]
    page.mouse.move(box["x"] + 0.2 * box["width"], y)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.8 * box["width"], y, steps=6)
    with page.expect_request(lambda request: "/run/" in request.url):
        page.mouse.up()


def start_live(page: Any) -> None:
    ready(page)
    page.get_by_role("tab", name="Sketch").click()
    page.get_by_label("Live").check()
    page.locator("#generate", has_text="Finish").wait_for()


def test_each_stroke_is_painted_at_once_and_finish_paints_it_in_full(
    live: tuple[str, FakeBackend], open_page: Callable[..., Any]
) -> None:
    url, backend = live
    page = open_page(url)
    start_live(page)
    draw(page)
    page.locator("#facts", has_text=f"{LIVE_STEPS} steps").wait_for()
    page.locator(STAGE).wait_for()
    lines = pixels(page, "#control-map img").min(axis=2) > 128
    frame = pixels(page, STAGE).mean(axis=2)
    assert frame[lines].mean() < 0.7 * frame[~lines].mean()
    assert page.locator("#download").is_hidden()

    page.locator("#generate").click()
    finished(page)
    frames, whole = backend.requests[:-1], backend.requests[-1]
    assert frames
    assert all((frame.live, frame.steps, frame.seed) == (True, LIVE_STEPS, whole.seed) for frame in frames)
    assert (whole.live, whole.steps) == (False, 20)


def test_without_live_a_stroke_paints_nothing(live: tuple[str, FakeBackend], open_page: Callable[..., Any]) -> None:
    url, backend = live
    page = open_page(url)
    ready(page)
    draw(page)
    page.locator("#control-map img").wait_for()
    page.locator("#generate").click()
    finished(page)
    assert [request.live for request in backend.requests] == [False]


def test_the_picture_stays_until_the_next_is_there_and_the_paper_is_never_touched(
    live: tuple[str, FakeBackend], open_page: Callable[..., Any]
) -> None:
    page = open_page(live[0])
    start_live(page)
    stroke(page, 0.2)
    page.wait_for_function("document.querySelector('#stage img')?.naturalWidth > 0")
    page.evaluate(WATCH)
    for height in (0.4, 0.6, 0.8):
        before = page.locator(STAGE).get_attribute("src")
        stroke(page, height)
        page.wait_for_function("before => document.querySelector('#stage img')?.src !== before", arg=before)
    assert page.evaluate("window.faults") == []


def test_a_new_stroke_replaces_the_frame_in_the_making(bench: Bench, open_page: Callable[..., Any]) -> None:
    bench.gate.set()
    bench.backend.requests.clear()
    page = open_page(bench.url)
    start_live(page)
    bench.gate.clear()
    for height in (0.3, 0.6):
        stroke(page, height)
        page.locator("#control-map img").wait_for()
    bench.backend.wait_for_requests(2)
    bench.gate.set()
    bench.backend.wait_for_states("cancelled", "finished")
    page.locator("#facts", has_text=f"{LIVE_STEPS} steps").wait_for()
    lines = pixels(page, "#control-map img").min(axis=2) > 128
    frame = pixels(page, STAGE).mean(axis=2)
    assert frame[lines].mean() < 0.7 * frame[~lines].mean()


def test_finish_is_called_generate_on_the_other_tabs(
    live: tuple[str, FakeBackend], open_page: Callable[..., Any]
) -> None:
    page = open_page(live[0])
    start_live(page)
    page.get_by_role("tab", name="Photo").click()
    page.locator("#generate", has_text="Generate").wait_for()
    page.get_by_role("tab", name="Sketch").click()
    page.locator("#generate", has_text="Finish").wait_for()
