"""The whole page in a headless Chromium, on a backend without a model: what an artist does, from first to last."""

import io
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cnxs import images
from cnxs.ui.page import build_ui, launch_options
from tests.browser import PHONE, greeted, holds, reachable, serve
from tests.fake_backend import FakeBackend
from tests.real_page import one_job

pytestmark = pytest.mark.browser

PAPER = ".cnxs-canvas canvas"
STAGE = "#stage img"
LINE = [(0.2, 0.35), (0.8, 0.35), (0.5, 0.8)]


class Studio:
    """The page under test with its backend, whose jobs are held while `gate` is clear."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self._steps = threading.Semaphore(0)
        self.backend = FakeBackend(step_seconds=0.002, gate=self._held)
        self.url = ""

    def let(self, *, steps: int) -> None:
        """Let the work go on by so many steps, then hold it again."""
        self._steps = threading.Semaphore(steps)
        self.gate.clear()

    def _held(self) -> None:
        while not (self.gate.is_set() or self._steps.acquire(timeout=0.05)):
            pass


@pytest.fixture(scope="module")
def studio() -> Iterator[Studio]:
    studio = Studio()
    with serve(build_ui(studio.backend), **launch_options()) as studio.url:
        yield studio
        studio.gate.set()


@pytest.fixture
def visit(studio: Studio, open_page: Callable[..., Any]) -> Callable[..., Any]:
    """Return `visit(**context options) -> page`, with the page greeted and ready."""

    def visit(**options: Any) -> Any:
        studio.gate.set()
        page = open_page(studio.url, **options)
        ready(page)
        return page

    return visit


def ready(page: Any) -> None:
    greeted(page)


def upload(page: Any, photo: Image.Image) -> None:
    file = {"name": "photo.png", "mimeType": "image/png", "buffer": images.encode_png(photo)}
    page.locator("#photo input[type=file]").set_input_files(file)
    page.locator("#control-map img").wait_for()


def draw(page: Any) -> None:
    page.get_by_role("tab", name="Sketch").click()
    box = reachable(page.locator(PAPER))
    points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in LINE]
    page.mouse.move(*points[0])
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*point, steps=10)
    page.mouse.up()


def finished(page: Any) -> None:
    page.locator("#status", has_text="Done.").wait_for()
    page.locator("#download").wait_for()


def pixels(page: Any, selector: str) -> np.ndarray:
    data = page.request.get(page.locator(selector).get_attribute("src")).body()
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), np.float64)


def test_a_sketch_becomes_a_picture_that_follows_its_lines(visit: Callable[..., Any]) -> None:
    page = visit()
    draw(page)
    page.locator("#control-map img").wait_for()
    page.locator("#prompt textarea").fill("a red fox")
    page.keyboard.press("Control+Enter")
    finished(page)
    lines = pixels(page, "#control-map img").min(axis=2) > 128
    with_control = pixels(page, STAGE).mean(axis=2)
    assert 0 < lines.mean() < 0.2
    assert with_control[lines].mean() < 0.5 * with_control[~lines].mean()

    page.locator("#control-scale input[type=number]").fill("0")
    page.locator("#control-scale input[type=number]").press("Tab")
    with one_job(page):
        page.locator("#generate").click()
    page.locator("#facts", has_text="no control").wait_for()
    without = pixels(page, STAGE).mean(axis=2)
    assert without[lines].mean() > 0.8 * without[~lines].mean()


def test_strengths_are_compared_and_one_is_kept(visit: Callable[..., Any], photo: Image.Image) -> None:
    page = visit()
    upload(page, photo)
    page.locator("#cost", has_text="6 images").wait_for()
    page.locator("#compare").click()
    finished(page)
    page.locator("#strip", has_text="of the lines").wait_for()
    captions = page.locator("#strip").inner_text()
    for caption in ("control map", "no control", "strength 0.25", "strength 1.5", "of the lines"):
        assert caption in captions
    page.locator("#strip button", has_text="strength 0.5").click()
    page.locator("#facts", has_text="strength 0.5").wait_for()
    holds(page, "#control-scale input[type=number]", "0.5")
    with page.expect_download() as download:
        page.locator("#download").click()
    assert download.value.suggested_filename.endswith(".png")
    page.get_by_role("tab", name="Against the map").click()
    page.locator("#slider img").first.wait_for()


def test_a_reloaded_page_finds_its_running_job_and_its_words(
    studio: Studio, visit: Callable[..., Any], photo: Image.Image
) -> None:
    page = visit()
    upload(page, photo)
    page.locator("#prompt textarea").fill("a lighthouse")
    studio.gate.clear()
    page.locator("#generate").click()
    page.locator("#cancel").wait_for()
    page.locator("#status [data-job]").wait_for(state="attached")
    page.reload()
    page.locator("#cancel").wait_for()
    holds(page, "#prompt textarea", "a lighthouse")
    studio.gate.set()
    finished(page)
    page.locator(STAGE).wait_for()
    page.locator("#control-map img").wait_for()


def test_cancel_stops_the_job_and_gives_the_page_back(
    studio: Studio, visit: Callable[..., Any], photo: Image.Image
) -> None:
    page = visit()
    upload(page, photo)
    studio.gate.clear()
    page.locator("#generate").click()
    page.locator("#cancel").click()
    studio.backend.wait_for_cancel()
    studio.gate.set()
    page.locator("#status", has_text="Cancelled").wait_for()
    page.locator("#generate").wait_for()


def test_the_stream_of_answers_is_never_closed(visit: Callable[..., Any], photo: Image.Image) -> None:
    """Gradio loses what it answers between closing the stream and opening it again; see `hold_line`."""
    page = visit()
    streams: list[str] = []
    page.on("request", lambda request: "/queue/data" in request.url and streams.append(request.url))
    for _ in range(2):
        page.reload()
        ready(page)
        streams.clear()
        upload(page, photo)
        with one_job(page):
            page.locator("#generate").click()
        assert not streams


def test_five_tabs_work_and_a_sixth_waits_for_its_turn(
    studio: Studio, visit: Callable[..., Any], photo: Image.Image
) -> None:
    """A browser has six connections to one server for all its tabs, and each open one holds one for its answers."""
    tabs = [visit()]
    for _ in range(4):
        tabs.append(tabs[0].context.new_page())
        tabs[-1].goto(studio.url)
        greeted(tabs[-1])
    sixth = tabs[0].context.new_page()
    sixth.goto(studio.url)
    sixth.get_by_role("alert").get_by_text("Five tabs of the studio are open").wait_for()
    for page in tabs:
        upload(page, photo)
        with one_job(page):
            page.locator("#generate").click()
    tabs[2].close()
    greeted(sixth)
    sixth.locator("#crowded").wait_for(state="hidden")
    upload(sixth, photo)


def test_every_mishap_is_a_sentence_and_the_page_goes_on(visit: Callable[..., Any], photo: Image.Image) -> None:
    page = visit()
    page.locator("#generate").click()
    page.get_by_text("There is no picture to follow yet").wait_for()
    broken = {"name": "photo.png", "mimeType": "image/png", "buffer": b"\x89PNG\r\n\x1a\n broken"}
    page.locator("#photo input[type=file]").set_input_files(broken)
    page.locator("#map-note", has_text="picture").wait_for()
    page.locator("#photo").get_by_label("Remove Image").click()
    upload(page, photo)
    page.locator("#prompt textarea").fill("crash")
    page.locator("#generate").click()
    page.get_by_text("Something unexpected went wrong here").wait_for()
    assert "Traceback" not in page.locator("body").inner_text()
    page.locator("#prompt textarea").fill("fail")
    page.locator("#generate").click()
    page.locator("#status [role=alert]", has_text="cannot be read").wait_for()
    page.locator("#prompt textarea").fill("a fox")
    page.locator("#generate").click()
    finished(page)


def test_an_example_needs_one_click(visit: Callable[..., Any]) -> None:
    page = visit()
    page.locator("#examples button").first.click()
    page.locator("#control-map img").wait_for()
    assert page.locator("#prompt textarea").input_value()


def test_a_sketch_as_example_is_followed_by_the_sketch_network(visit: Callable[..., Any]) -> None:
    page = visit()
    page.locator("#advanced button").first.click()
    page.locator("#examples button").nth(3).click()
    page.wait_for_function("document.querySelector('#network input').value.toLowerCase().includes('scribble')")


def test_a_menu_that_is_merely_left_resets_nothing(visit: Callable[..., Any]) -> None:
    page = visit()
    page.locator("#advanced button").first.click()
    steps = page.locator("#steps input[type=number]")
    steps.fill("33")
    steps.press("Tab")
    page.locator("#base input").focus()
    with page.expect_request("**/queue/join*"):
        page.keyboard.press("Tab")
    page.locator("#examples button").first.click()  # answered after what leaving the menu asked for
    page.locator("#control-map img").wait_for()
    assert steps.input_value() == "33"
    page.locator("#base input").click()
    page.get_by_role("option", name="Stable Diffusion 1.5").click()
    holds(page, "#steps input[type=number]", "25")
    page.locator("#base input").click()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    holds(page, "#steps input[type=number]", "20")


def test_a_phone_shows_one_column_in_german(visit: Callable[..., Any]) -> None:
    page = visit(viewport=PHONE, locale="de-DE")
    assert page.locator("#generate").inner_text() == "Erzeugen"
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    places = [page.locator(selector).bounding_box()["y"] for selector in ("#photo", "#prompt", "#empty-stage")]
    assert places == sorted(places)
