"""Help for new users in a headless Chromium: styles and surprises at the prompt, pictures at sliders, first steps."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cnxs.ui import hints
from cnxs.ui.page import build_ui, launch_options
from tests.browser import DESKTOP, PHONE, greeted, holds, serve
from tests.fake_backend import FakeBackend

pytestmark = pytest.mark.browser

PROMPT = "#prompt textarea"
# Whether two parts of the page overlap, by more than a hair.
OVERLAP = """([one, other]) => {
  const [a, b] = [one, other].map((part) => document.querySelector(part).getBoundingClientRect());
  return a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1;
}"""
INSIDE = """(part) => {
  const { left, top, right, bottom } = document.querySelector(part).getBoundingClientRect();
  return left >= 0 && top >= 0 && right <= innerWidth && bottom <= innerHeight;
}"""


@pytest.fixture(scope="module")
def served() -> Iterator[str]:
    with serve(build_ui(FakeBackend()), **launch_options()) as url:
        yield url


@pytest.fixture
def visit(served: str, open_page: Callable[..., Any]) -> Callable[..., Any]:
    def visit(**options: Any) -> Any:
        page = open_page(served, **options)
        greeted(page)
        return page

    return visit


def test_a_style_goes_into_the_prompt_and_is_found_there(visit: Callable[..., Any]) -> None:
    page = visit()
    styles = page.locator("#style")
    page.locator(PROMPT).fill("a fox, blue background")
    styles.locator("label", has_text="Flat").click()
    holds(page, PROMPT, "a fox, blue background, flat illustration")
    styles.locator("label", has_text="Sticker").click()
    holds(page, PROMPT, "a fox, blue background, sticker")
    page.reload()
    page.wait_for_function("document.querySelector('#style label.selected')?.textContent.trim() === 'Sticker'")
    styles.locator("label", has_text="none").click()
    holds(page, PROMPT, "a fox, blue background")


def test_a_prompt_by_chance_replaces_only_its_own(visit: Callable[..., Any]) -> None:
    page = visit(locale="de-DE")
    surprise = page.get_by_role("button", name="Überrasch mich")
    surprise.click()
    page.wait_for_function("document.querySelector('#prompt textarea').value.endsWith(' background')")
    first = page.locator(PROMPT).input_value()
    surprise.click()
    page.wait_for_function("p => document.querySelector('#prompt textarea').value !== p", arg=first)
    page.locator(PROMPT).fill("ein Fuchs")
    surprise.wait_for(state="hidden")
    page.locator(PROMPT).fill("")
    surprise.wait_for()


def test_a_slider_shows_its_picture_on_hover_focus_and_touch(visit: Callable[..., Any]) -> None:
    page = visit()
    picture = page.locator("#hint-control-scale")
    page.locator("#control-scale .hint-mark").hover()
    picture.locator("img").wait_for()
    assert page.evaluate(INSIDE, "#hint-control-scale")
    page.locator("#prompt").hover()
    picture.wait_for(state="hidden")
    page.locator("#control-scale input[type=number]").focus()
    page.keyboard.press("Shift+Tab")
    picture.wait_for()
    page.keyboard.press("Escape")
    picture.wait_for(state="hidden")
    page.locator("#advanced button").first.click()
    for name in hints.rows():
        page.locator(f"#{name.replace('_', '-')} .hint-mark").wait_for()

    phone = visit(viewport=PHONE, has_touch=True, locale="de-DE")
    phone.locator("#control-scale .hint-mark").tap()
    phone.locator("#hint-control-scale", has_text="Eine Zeichnung, ein Startwert").wait_for()
    assert phone.evaluate(INSIDE, "#hint-control-scale")
    phone.locator("#control-scale .hint-mark").tap()
    phone.locator("#hint-control-scale").wait_for(state="hidden")


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_the_first_steps_are_shown_once_and_cover_nothing_they_explain(
    visit: Callable[..., Any], size: dict[str, int]
) -> None:
    page = visit(tour=True, viewport=size)
    for step, explained in (("lines", "#source-tabs"), ("words", "#prompt"), ("strengths", "#compare")):
        page.locator(f"#tour-{step}").wait_for()
        assert page.evaluate("document.activeElement.id") == "tour"
        assert not page.evaluate(OVERLAP, ["#tour", explained]), step
        assert page.evaluate(INSIDE, "#tour"), step
        if step != "strengths":
            page.keyboard.press("Tab")
            page.keyboard.press("Enter")
    page.keyboard.press("Escape")
    page.locator("#tour").wait_for(state="hidden")
    assert page.evaluate("document.activeElement.id") == "compare"
    page.reload()
    greeted(page)
    page.wait_for_function("localStorage.getItem('cnxs.tour') === 'seen'")
    assert not page.locator("#tour").is_visible()


def test_doing_what_a_first_step_says_brings_the_next(visit: Callable[..., Any]) -> None:
    page = visit(tour=True)
    page.locator("#tour-lines").wait_for()
    page.locator("#examples button").first.click()
    page.locator("#tour-words").wait_for()
    page.locator("#prompt textarea").click()
    assert page.locator("#tour-words").is_visible()  # still to be read
    page.keyboard.type("a")
    page.locator("#tour-strengths").wait_for()
    assert page.evaluate("document.activeElement.tagName") == "TEXTAREA"
    page.locator("#generate").click()
    page.locator("#tour").wait_for(state="hidden")
    assert page.evaluate("localStorage.getItem('cnxs.tour')") == "seen"
