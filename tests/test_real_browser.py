"""Real models on the page, in a headless Chromium on a backend without a model: getting them, and what they can do."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cnxs.errors import UnavailableError
from cnxs.ui.page import build_ui, launch_options
from tests.browser import greeted, serve
from tests.fake_models import MEGABYTE, ModelsBackend

pytestmark = pytest.mark.browser

ROW = "#models-list [data-model={}]"


class Studio:
    """The page under test, with a new backend for each test."""

    def __init__(self) -> None:
        self.backend = ModelsBackend()
        self.url = ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.backend, name)


@pytest.fixture(scope="module")
def served() -> Iterator[Studio]:
    studio = Studio()
    with serve(build_ui(studio), **launch_options()) as studio.url:  # pyright: ignore[reportArgumentType]
        yield studio


@pytest.fixture
def backend(served: Studio) -> ModelsBackend:
    served.backend = ModelsBackend()
    return served.backend


@pytest.fixture
def visit(served: Studio, open_page: Callable[..., Any]) -> Callable[..., Any]:
    """Return `visit(**context options) -> page`, greeted by the server."""

    def visit(**options: Any) -> Any:
        page = open_page(served.url, **options)
        greeted(page)
        return page

    return visit


def models(page: Any) -> None:
    """Unfold the panel of models."""
    page.locator("#models > button").click()
    page.locator(ROW.format("miniature")).wait_for()


def test_a_download_is_confirmed_followed_and_offered_without_a_restart(
    backend: ModelsBackend, visit: Callable[..., Any]
) -> None:
    page = visit()
    assert page.locator("#kind").get_by_text("Soft edges (HED)").count() == 0
    page.locator("#kinds-away", has_text="Soft edges (HED)").get_by_role("link").click()
    row = page.locator(ROW.format("hed"))
    row.get_by_role("button", name="Download").click()
    question = row.locator(".question")
    question.wait_for()
    assert "29 MB" in question.inner_text()
    assert "Apache-2.0" in question.inner_text()
    assert backend.fetched == {}
    row.get_by_role("button", name="Yes").click()
    row.locator("[role=progressbar]").wait_for()
    backend.told("hed", 10 * MEGABYTE, 40 * MEGABYTE)
    row.locator("[aria-valuenow='25']").wait_for()
    assert "10 MB of 40 MB" in row.inner_text()
    backend.end("hed")
    page.locator(f"{ROW.format('hed')}.here").wait_for()
    page.locator("#kind").get_by_text("Soft edges (HED)").click()
    page.locator("#kind-settings").wait_for()
    assert page.locator("#kinds-away").inner_text() == ""


def test_a_download_can_be_declined_cancelled_and_gone_on_with(
    backend: ModelsBackend, visit: Callable[..., Any]
) -> None:
    page = visit()
    models(page)
    row = page.locator(ROW.format("sd15-depth-53m"))
    assert "not for Miniature" in row.inner_text()
    row.get_by_role("button", name="Download").click()
    row.get_by_role("button", name="Not now").click()
    row.locator(".question").wait_for(state="detached")
    row.get_by_role("button", name="Download").click()
    row.get_by_role("button", name="Yes").click()
    row.get_by_role("button", name="Cancel").click()
    row.get_by_role("button", name="Go on").wait_for()
    assert backend.fetched["sd15-depth-53m"].state == "cancelled"


def test_a_download_that_fails_says_why_and_a_reloaded_page_still_follows_one(
    backend: ModelsBackend, visit: Callable[..., Any]
) -> None:
    backend.download("sd15")
    page = visit()
    models(page)
    row = page.locator(ROW.format("sd15"))
    row.locator("[role=progressbar]").wait_for()
    page.reload()
    greeted(page)
    models(page)
    row.locator("[role=progressbar]").wait_for()
    backend.end("sd15", UnavailableError("download_disk_full", folder="models", free="1.0", needed="3.1"))
    row.locator("[role=alert]", has_text="3.1 GB are needed").wait_for()
    row.get_by_role("button", name="Go on").wait_for()


def test_offline_each_model_names_its_file_and_folder(backend: ModelsBackend, visit: Callable[..., Any]) -> None:
    backend.offline = True
    page = visit()
    models(page)
    page.locator("#models-note", has_text="offline").wait_for()
    row = page.locator(ROW.format("sd15-depth-53m"))
    assert row.get_by_role("button", name="Download").count() == 0
    row.locator("summary").click()
    told = row.locator("details p").inner_text()
    assert "sd15_encD_depth_53m.ckpt" in told
    assert "models/controls" in told
