"""Live sketching in a headless Chromium, on a backend without a model."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cnxs.ui.live import LIVE_STEPS
from cnxs.ui.page import build_ui, launch_options
from tests.browser import serve
from tests.fake_backend import FakeBackend
from tests.test_page_browser import STAGE, draw, finished, pixels, ready

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def live() -> Iterator[tuple[str, FakeBackend]]:
    backend = FakeBackend()
    with serve(build_ui(backend), **launch_options()) as url:
        yield url, backend


def test_each_stroke_is_painted_at_once_and_finish_paints_it_in_full(
    live: tuple[str, FakeBackend], open_page: Callable[..., Any]
) -> None:
    url, backend = live
    page = open_page(url)
    ready(page)
    page.get_by_role("tab", name="Sketch").click()
    page.get_by_label("Live").check()
    page.locator("#generate", has_text="Finish").wait_for()
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
    backend.requests.clear()
    page = open_page(url)
    ready(page)
    draw(page)
    page.locator("#control-map img").wait_for()
    page.locator("#generate").click()
    finished(page)
    assert [request.live for request in backend.requests] == [False]
