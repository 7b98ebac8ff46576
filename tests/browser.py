"""Playwright fixtures: a headless Chromium for the tests marked `browser`, and a server for the page under test."""

import contextlib
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

# Read by gradio when it is imported, so set before any test imports it.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
CHROMIUM_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
DESKTOP = {"width": 1440, "height": 900}
PHONE = {"width": 390, "height": 844}


@contextlib.contextmanager
def serve(demo: Any, **launch_options: Any) -> Iterator[str]:
    """Serve a `gr.Blocks` on a free port of this machine and yield its address."""
    # Left to itself, gradio tries ports from 7860 on and leaks a socket for each one in use.
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    place = {"server_name": "127.0.0.1", "server_port": port}
    _, url, _ = demo.launch(prevent_thread_lock=True, quiet=True, **place, **launch_options)
    try:
        yield url
    finally:
        demo.close(verbose=False)


def greeted(page: Any) -> None:
    """Wait until the server has greeted the page, and the page has remembered itself: that overwrites what is typed."""
    page.locator("#device .note").wait_for()
    page.wait_for_function("!document.documentElement.classList.contains('arriving')")


def holds(page: Any, selector: str, value: str) -> None:
    """Wait until a field holds a value."""
    page.wait_for_function("([s, value]) => document.querySelector(s)?.value === value", arg=[selector, value])


def reachable(paper: Any) -> Any:
    """Wait until a canvas is in view, at rest and uncovered; return its box."""
    paper.click(trial=True)
    return paper.bounding_box()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """Yield a headless Chromium; skip where Playwright or a browser is missing.

    One per module: while Playwright runs, this thread has an event loop, which other modules' `asyncio.run` refuses.
    """
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    executable = next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)
    if executable is None:
        pytest.skip(f"no Chromium on the path (looked for {', '.join(CHROMIUM_NAMES)})")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=executable, args=list(CHROMIUM_FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium: Any) -> Iterator[Callable[..., Any]]:
    """Yield `open_page(url, tour=False, **context_options) -> Page`: a new, empty profile per call.

    The hints for new users lie over what other tests press: they are shown only where a test asks for the `tour`.
    Requests that leave this machine are blocked. At the end of the test, an uncaught script error on any of the
    pages fails it, and so does anything that the content security policy stopped.
    """
    contexts, script_errors = [], []

    def is_outside(url: str) -> bool:
        return not url.startswith(("http://127.0.0.1", "http://localhost", "data:", "blob:"))

    def blocked(message: str) -> list[str]:
        return [message] if "Content Security Policy" in message else []

    def open_page(url: str, *, tour: bool = False, **options: Any) -> Any:
        context = chromium.new_context(**{"viewport": DESKTOP, "locale": "en-GB", **options})
        contexts.append(context)
        if not tour:
            context.add_init_script("localStorage.setItem('cnxs.tour', 'seen')")
        context.route(is_outside, lambda route: route.abort())
        context.set_default_timeout(60_000)  # a busy machine is slow, not broken
        page = context.new_page()
        page.on("pageerror", lambda error: script_errors.append(str(error)))
        page.on("console", lambda message: script_errors.extend(blocked(message.text)))
        page.goto(url)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not script_errors, script_errors
