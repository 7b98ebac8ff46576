"""The page for everybody: no violation of WCAG 2 A and AA that axe-core finds, and a keyboard that sees where it is."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from PIL import Image

from cnxs import images
from cnxs.history import History
from cnxs.ui.page import build_ui, launch_options
from tests.browser import DESKTOP, PHONE, greeted, serve
from tests.fake_backend import FakeBackend

pytestmark = pytest.mark.browser

OWNER = "{:0>48}".format("access")
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]
# The columns from left to right, and what lies above and below them: the order of the eye.
PLACES = ("masthead", "column-source", "column-prompt", "column-result", "models")
ROW = 80  # pixels: what is beside something may end above it by less

# What has the keyboard, where it stands, and whether it, or what it stands in, looks other than without it.
FOCUSED = """(places) => {
  const it = document.activeElement;
  if (!it || it === document.body) return null;
  const looks = () => {
    const told = [];
    for (let part = it, up = 0; part && up < 5; part = part.parentElement, up++) {
      const style = getComputedStyle(part);
      if (up === 0 && style.opacity === "0") continue;
      told.push(style.outlineStyle !== "none" && style.outline, style.boxShadow, style.borderTopColor);
    }
    return told.join();
  };
  const focused = looks();
  it.blur();
  const resting = looks();
  it.focus();
  const place = places.findIndex((id) => it.closest("#" + id));
  const name = it.id || it.getAttribute("aria-label") || it.textContent.trim();
  const { top, bottom } = it.getBoundingClientRect();
  return { name, place, top: top + scrollY, bottom: bottom + scrollY, visible: focused !== resting };
}"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    history = History(tmp_path_factory.mktemp("outputs"))
    with serve(build_ui(FakeBackend(step_seconds=0.001, kept=history)), **launch_options()) as url:
        yield url
    history.close()


@pytest.fixture
def visit(served: str, open_page: Callable[..., Any]) -> Callable[..., Any]:
    def visit(**options: Any) -> Any:
        page = open_page(served, reduced_motion="reduce", **options)
        greeted(page)
        return page

    return visit


def violations(page: Any) -> list[str]:
    """Return what axe-core finds in the page as it stands: wide and narrow, light and dark."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    found = []
    for size in (DESKTOP, PHONE):
        page.set_viewport_size(size)
        for dark in (False, True):
            page.evaluate("dark => document.body.classList.toggle('dark', dark)", dark)
            rules = ["color-contrast"] if dark else RULES  # nothing else depends on colours
            told = axe.run(page, options={"runOnly": rules, "resultTypes": ["violations"]}).response["violations"]
            found += [
                f"{size['width']}{' dark' * dark}, {rule['id']}: {node['html'][:150]} {node['failureSummary']}"
                for rule in told
                for node in rule["nodes"]
            ]
    page.set_viewport_size(DESKTOP)
    return found


def compared(page: Any, photo: Image.Image) -> None:
    """Finish a comparison."""
    file = {"name": "photo.png", "mimeType": "image/png", "buffer": images.encode_png(photo)}
    page.locator("#photo input[type=file]").set_input_files(file)
    page.locator("#control-map img").wait_for()
    page.locator("#prompt textarea").fill("a red fox")
    page.locator("#compare").click()
    page.locator("#export-sheet").wait_for()


def unfold(page: Any) -> None:
    for panel in ("advanced", "compare-settings", "kind-settings", "models"):
        page.locator(f"#{panel} button").first.click()
    page.locator(".models .model").first.wait_for()


def steer(page: Any) -> None:
    """Show all maps, a second control that nothing here follows, and a region to paint."""
    page.locator("#all-maps-open").click()
    page.locator("#all-maps .print").first.wait_for()
    for panel in ("fine-panel", "second-panel"):
        page.locator(f"#{panel} button").first.click()
    page.locator("#region-on input").check()
    page.locator("#region canvas").wait_for()
    page.locator("#second-on input").check()
    page.locator("#second-kind label", has_text="Silhouette").click()
    page.locator("#second-note .note").wait_for()


def test_no_screen_violates_wcag_a_or_aa(visit: Callable[..., Any], photo: Image.Image) -> None:
    page = visit()
    page.get_by_role("tab", name="Sketch").click()
    page.locator("#sketch canvas").first.wait_for()
    unfold(page)
    assert violations(page) == []
    page.get_by_role("tab", name="Photo").click()
    compared(page, photo)
    steer(page)
    assert violations(page) == []
    page.locator("#history-open").click()
    page.locator(".prints .print").first.wait_for()
    assert violations(page) == []
    page.locator(".prints .print").first.click()
    page.locator("#history-picture img").wait_for()
    assert violations(page) == []


def test_the_tab_key_goes_as_the_eye_does_and_is_seen(visit: Callable[..., Any], photo: Image.Image) -> None:
    page = visit(locale="de-DE")
    assert page.evaluate("document.documentElement.lang") == "de"
    unfold(page)
    compared(page, photo)
    for panel, inside in (("fine-panel", "region-on"), ("second-panel", "second-on")):
        page.locator(f"#{panel} button").first.click()
        page.locator(f"#{inside}").wait_for()
    page.locator("#masthead h1").click()
    steps = []
    while len(steps) < 200:
        page.keyboard.press("Tab")
        focused = page.evaluate(FOCUSED, list(PLACES))
        if focused is None:
            break
        steps.append(focused)
    assert {step["place"] for step in steps} == set(range(len(PLACES)))
    assert [step["name"] for step in steps if not step["visible"]] == []
    for one, other in itertools.pairwise(steps):
        assert other["place"] >= one["place"], (one, other)
        assert other["place"] > one["place"] or other["bottom"] > one["top"] - ROW, (one, other)
