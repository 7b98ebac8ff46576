"""Comparing in a headless Chromium: sets of strengths, finer strips, two images under one slider, tables, waiting."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cnxs.ui.page import build_ui, launch_options
from tests.browser import PHONE, serve
from tests.real_page import one_job
from tests.test_page_browser import STAGE, Studio, finished, pixels, ready, upload

pytestmark = pytest.mark.browser

# The browser gives leave, nobody looks at the page, and what it calls is kept.
ABSENT = """
    window.called = [];
    window.Notification = class {
        constructor(title, options) { window.called.push([title, options.body]); }
        static requestPermission() { return Promise.resolve(window.leave ?? 'granted'); }
    };
    document.hasFocus = () => false;
"""


# Keeps the address of every picture that was ever on the stage.
STAGE_WATCH = """() => {
    const look = () => document.querySelectorAll('#stage img').forEach((image) => window.shown.add(image.src));
    window.shown = new Set();
    new MutationObserver(look).observe(document.body, { subtree: true, childList: true, attributes: true });
}"""


@pytest.fixture(scope="module")
def studio() -> Iterator[Studio]:
    studio = Studio()
    with serve(build_ui(studio.backend), **launch_options()) as studio.url:
        yield studio
        studio.gate.set()


@pytest.fixture
def visit(studio: Studio, open_page: Callable[..., Any], photo: Image.Image) -> Callable[..., Any]:
    """Return `visit() -> page`: greeted, with a photo and the panel of the comparison open."""

    def visit() -> Any:
        studio.gate.set()
        studio.backend.requests.clear()
        page = open_page(studio.url)
        ready(page)
        upload(page, photo)
        page.get_by_role("button", name="What to compare").click()
        page.locator("#strengths textarea").wait_for()
        return page

    return visit


def captions(page: Any) -> list[str]:
    return page.locator("#strip .print .caption").all_text_contents()


def choose_rows(page: Any, name: str) -> None:
    page.locator("#rows input").click()
    page.get_by_role("option", name=name, exact=True).click()


def compared(page: Any) -> None:
    with one_job(page):
        page.locator("#compare").click()


def test_a_set_of_strengths_is_one_click_and_a_finer_strip_goes_around_one(
    studio: Studio, visit: Callable[..., Any]
) -> None:
    page = visit()
    page.locator("#strengths-fine").click()
    page.locator("#cost", has_text="8 images").wait_for()
    page.locator("#strengths-coarse").click()
    page.locator("#cost", has_text="4 images").wait_for()
    compared(page)
    assert captions(page) == ["no control", "strength 0.5", "strength 1", "strength 1.5"]
    seed = studio.backend.requests[-1].seed
    page.locator("#strip .print", has_text="strength 0.5").click()
    page.locator("#facts", has_text="strength 0.5").wait_for()
    with one_job(page):
        page.locator("#finer").click()
    page.locator("#strip", has_text="strength 0.25").wait_for()
    assert captions(page) == ["no control", "strength 0.25", "strength 0.5", "strength 0.75", "strength 1"]
    assert studio.backend.requests[-1].seed == seed


def test_any_two_images_go_under_one_slider(visit: Callable[..., Any]) -> None:
    page = visit()
    page.locator("#strengths-coarse").click()
    page.locator("#cost", has_text="4 images").wait_for()
    compared(page)
    page.locator('#strip .pin[data-cell="0"][data-pin="a"]').click()
    page.locator("#pair-facts", has_text="A: no control, B: strength 1").wait_for()
    page.locator('#strip .pin[data-cell="3"][data-pin="b"]').click()
    page.locator("#pair-facts", has_text="A: no control, B: strength 1.5").wait_for()
    page.wait_for_function("[...document.querySelectorAll('#pair img')].filter((i) => i.naturalWidth).length >= 2")
    shown = [pixels(page, f"#pair img >> nth={index}") for index in range(2)]
    assert np.abs(shown[0] - shown[1]).max() > 20
    assert page.locator('#strip .pin[aria-pressed="true"]').count() == 2


def test_arrow_keys_step_through_the_images(visit: Callable[..., Any]) -> None:
    page = visit()
    page.locator("#strengths-coarse").click()
    page.locator("#cost", has_text="4 images").wait_for()
    compared(page)
    page.locator("#facts", has_text="strength 1 ").wait_for()
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("ArrowRight")
    page.locator("#facts", has_text="strength 1.5").wait_for()
    page.keyboard.press("ArrowLeft")
    page.locator("#facts", has_text="strength 1 ").wait_for()
    page.locator("#prompt textarea").focus()
    page.keyboard.press("ArrowLeft")  # belongs to the text
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("ArrowLeft")
    page.locator("#facts", has_text="strength 0.5").wait_for()


def test_a_table_fills_as_it_is_made_and_a_reloaded_page_finds_it(studio: Studio, visit: Callable[..., Any]) -> None:
    page = visit()
    page.locator("#strengths textarea").fill("1")
    choose_rows(page, "guidance")
    page.locator("#row-values textarea").fill("2 6")
    page.locator("#row-values textarea").blur()
    page.locator("#cost", has_text="4 images").wait_for()
    page.locator("#rows input").focus()
    with page.expect_response("**/queue/join*"):
        page.keyboard.press("Tab")  # leaving the menu is no choice, and what was typed stays
    studio.let(steps=30)  # the first image and half of the second
    page.locator("#compare").click()
    page.wait_for_function(
        "getComputedStyle(document.querySelector('#strip [data-cell=\"1\"] .making') ?? document.body)"
        ".getPropertyValue('--done').endsWith('%')"
    )
    assert page.locator("#strip .print.done").count() == 1
    assert page.locator("#strip tbody th").all_text_contents() == ["guidance 2", "guidance 6"]
    page.reload()
    page.locator("#strip .print.done").wait_for()
    assert page.locator("#strip button.print").count() == 4
    page.locator("#cancel").click()
    studio.backend.wait_for_cancel()
    studio.gate.set()
    page.locator("#status", has_text="Cancelled").wait_for()
    page.locator("#generate").wait_for()
    assert page.locator("#strip .print.done").count() == 1
    # On a phone a wide table scrolls in itself, and cuts nothing else off.
    page.evaluate("document.querySelectorAll('.grid td').forEach((cell) => (cell.style.minWidth = '300px'))")
    page.set_viewport_size(PHONE)
    page.wait_for_function("document.querySelector('#column-result').getBoundingClientRect().right <= innerWidth")
    frame = "document.querySelector('.grid-frame')"
    assert page.evaluate(f"{frame}.getBoundingClientRect().right <= innerWidth && {frame}.scrollWidth > innerWidth")


def test_rows_may_follow_the_photo_in_different_ways(studio: Studio, visit: Callable[..., Any]) -> None:
    page = visit()
    page.locator("#strengths textarea").fill("1")
    choose_rows(page, "what to follow")
    page.locator("#row-choices").get_by_label("Sketch", exact=True).uncheck()
    page.locator("#cost", has_text="4 images").wait_for()
    compared(page)
    assert page.locator("#strip tbody th").all_text_contents() == ["Edges (Canny)", "Soft edges"]
    assert page.locator("#strip tbody th img").count() == 2
    cells = studio.backend.requests[-1].cells()
    assert [(cell.controls[0].kind, cell.controls[0].control_scale) for cell in cells] == [
        ("canny", 0),
        ("canny", 1),
        ("soft_edge", 0),
        ("soft_edge", 1),
    ]
    assert len({cell.controls[0].map_id for cell in cells}) == 2


def test_what_cannot_be_read_is_told_beside_the_button(visit: Callable[..., Any]) -> None:
    page = visit()
    choose_rows(page, "seeds")
    page.locator("#row-values textarea").fill("1 two")
    page.locator("#row-values textarea").blur()
    page.locator("#cost", has_text="“two” cannot be a value").wait_for()
    page.locator("#compare").click()
    page.get_by_text("“two” cannot be a value").nth(1).wait_for()


def test_the_place_in_the_queue_is_told_and_previews_can_be_switched_off(
    studio: Studio, visit: Callable[..., Any]
) -> None:
    page = visit()
    page.get_by_role("button", name="Advanced").click()
    page.get_by_label("Show the picture as it forms").uncheck()
    studio.gate.clear()
    studio.backend.ahead = 2
    page.locator("#generate").click()
    page.locator("#status", has_text="place 2 in the queue").wait_for()
    page.evaluate(STAGE_WATCH)
    studio.backend.step_seconds = 0.03  # slow enough for several previews, were they shown
    studio.backend.ahead = 0
    studio.gate.set()
    finished(page)
    page.locator(STAGE).wait_for()
    studio.backend.step_seconds = 0.002
    assert page.evaluate("[...window.shown].length") == 1
    page.reload()
    ready(page)
    page.get_by_role("button", name="Advanced").click()
    page.locator("#previews input:not(:checked)").wait_for()


def test_the_browser_calls_when_a_job_ends_unseen(visit: Callable[..., Any]) -> None:
    page = visit()
    page.evaluate(ABSENT)
    page.get_by_role("button", name="Advanced").click()
    page.get_by_label("Call me when it is done").check()
    page.locator("#generate").click()
    page.wait_for_function("window.called.length > 0")
    assert page.evaluate("window.called") == [["ControlNet-XS Studio", "Done."]]


def test_a_browser_that_does_not_call_is_told(visit: Callable[..., Any]) -> None:
    page = visit()
    page.evaluate(f"window.leave = 'denied'; {ABSENT}")
    page.get_by_role("button", name="Advanced").click()
    page.get_by_label("Call me when it is done").click()
    page.locator("#notify-refused .note").wait_for()
    page.wait_for_function("!document.querySelector('#notify input').checked")
