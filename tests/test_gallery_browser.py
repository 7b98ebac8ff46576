"""The history, exports, settings files and links in a headless Chromium, on a backend without a model."""

import base64
import io
import json
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cnxs import images, pnginfo, settings
from cnxs.history import History
from cnxs.records import Search
from cnxs.request import ControlUse, defaults
from cnxs.ui.browsing import PAGE
from cnxs.ui.page import build_ui, launch_options
from tests.browser import PHONE, greeted, holds, serve
from tests.fake_backend import FakeBackend

pytestmark = pytest.mark.browser

OWNER = "{:0>48}"
PRINTS = ".prints .print"
TITLED = ".prints .print[title='{}']"


class Studio:
    """The page under test. Each visitor has an owner's token of their own, so that tests share nothing."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.backend = FakeBackend(step_seconds=0.001, kept=history)
        self.url = ""

    def fill(self, owner: str, count: int) -> list[str]:
        """Keep `count` pictures, numbered in their prompts; every third is without control. Return their ids."""
        ids = []
        for number in range(count):
            picture = Image.new("RGB", (64, 48), (number * 3 % 256, 120, 200))
            use = ControlUse(network="miniature-canny", kind="canny", map_id=self.history.images.put(picture))
            request = replace(defaults(), prompt=f"picture {number}", seed=number, controls=(use,) * bool(number % 3))
            ids.append(self.history.add(picture, request, owner=owner))
        return ids


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    history = History(tmp_path_factory.mktemp("outputs"))
    studio = Studio(history)
    with serve(build_ui(studio.backend), **launch_options()) as studio.url:
        yield studio
    history.close()


@pytest.fixture
def visit(studio: Studio, open_page: Callable[..., Any]) -> Callable[..., Any]:
    """Return `visit(owner, link="", **context options) -> page`, with the page greeted and ready."""

    def visit(owner: str, link: str = "", **options: Any) -> Any:
        kept = [{"name": "cnxs.owner", "value": OWNER.format(owner)}]
        state = {"cookies": [], "origins": [{"origin": studio.url.rstrip("/"), "localStorage": kept}]}
        page = open_page(studio.url + link, storage_state=state, **options)
        greeted(page)
        return page

    return visit


def open_history(page: Any) -> None:
    page.locator("#history-open").click()
    page.locator("#history-count .note").wait_for()


def counted(page: Any, number: int) -> None:
    page.locator("#history-count", has_text=f"{number} pictures").wait_for()
    page.wait_for_function("n => document.querySelectorAll('.prints .print').length === n", arg=min(number, PAGE))


def chosen(page: Any, prompt: str) -> None:
    page.locator(".history-prompt").get_by_text(prompt, exact=True).wait_for()


def upload(page: Any, photo: Image.Image) -> None:
    file = {"name": "photo.png", "mimeType": "image/png", "buffer": images.encode_png(photo)}
    page.locator("#photo input[type=file]").set_input_files(file)
    page.locator("#control-map img").wait_for()


def enter(page: Any, selector: str, value: str) -> None:
    field = page.locator(selector)
    field.fill(value)
    field.press("Tab")


def downloaded(page: Any, selector: str) -> tuple[str, bytes]:
    with page.expect_download() as download:
        page.locator(selector).click()
    return download.value.suggested_filename, download.value.path().read_bytes()


def finished(page: Any) -> None:
    page.locator("#status", has_text="Done.").wait_for()
    page.locator("#download").wait_for()


def test_pages_search_and_keys(studio: Studio, visit: Callable[..., Any]) -> None:
    studio.fill(OWNER.format("keys"), PAGE + 3)
    page = visit("keys")
    open_history(page)
    counted(page, PAGE + 3)
    page.wait_for_function(f"document.querySelector('{PRINTS} img').naturalWidth === 64")
    page.locator("#history-older").click()
    page.locator(TITLED.format("picture 2")).wait_for()
    assert page.locator(PRINTS).count() == 3
    page.locator("#history-newer").click()
    page.locator(TITLED.format(f"picture {PAGE + 2}")).wait_for()

    page.locator(PRINTS).nth(PAGE - 1).click()
    chosen(page, "picture 3")
    page.locator("#history-picture img").wait_for()
    page.keyboard.press("ArrowRight")  # over the end of the page
    chosen(page, "picture 2")
    page.keyboard.press("ArrowLeft")
    chosen(page, "picture 3")
    page.keyboard.press("Escape")
    page.locator("#history-large").wait_for(state="hidden")

    page.locator("#history-search textarea").fill("PICTURE 3")
    page.locator("#history-count", has_text="14 pictures").wait_for()  # 3, 13, 23, 30 to 39, 43
    page.keyboard.press("Escape")
    page.locator("#history").wait_for(state="hidden")
    page.locator("#generate").wait_for()


def test_everything_comes_back_and_gives_the_same_pixels(
    studio: Studio, visit: Callable[..., Any], photo: Image.Image
) -> None:
    page = visit("back")
    upload(page, photo)
    page.locator("#prompt textarea").fill("a red fox")
    enter(page, "#control-scale input[type=number]", "0.7")
    page.get_by_text("Advanced").first.click()
    page.locator("#random-seed input").uncheck()
    enter(page, "#seed input", "11")
    enter(page, "#width input", "192")
    enter(page, "#height input", "160")
    page.locator("#generate").click()
    finished(page)

    page.reload()
    greeted(page)
    page.locator("#prompt textarea").fill("something else")
    open_history(page)
    page.locator(PRINTS).first.click()
    chosen(page, "a red fox")
    page.locator("#history-bring-back").click()
    page.locator("#history").wait_for(state="hidden")
    page.locator("#status", has_text="Everything is as it was").wait_for()
    page.locator("#control-map img").wait_for()
    page.locator("#generate").click()
    finished(page)
    gallery = studio.history.of(OWNER.format("back"))
    again, first = gallery.search(Search())
    assert again.request == first.request
    assert first.request.controls[0].control_scale == 0.7
    np.testing.assert_array_equal(*(np.asarray(images.load(gallery.png(one.record_id))) for one in (again, first)))


def test_favourites_filters_and_delete_with_undo(studio: Studio, visit: Callable[..., Any]) -> None:
    studio.fill(OWNER.format("keep"), 4)
    page = visit("keep")
    open_history(page)
    counted(page, 4)
    page.locator(PRINTS).first.click()
    chosen(page, "picture 3")
    page.locator("#history-favourite", has_text="☆").click()
    page.locator("#history-favourite", has_text="★").wait_for()
    page.locator("#history-delete").click()
    chosen(page, "picture 2")
    page.keyboard.press("Escape")
    counted(page, 3)
    page.locator("#history-undo").click()
    counted(page, 4)
    page.locator("#history-favourites input").check()
    counted(page, 1)
    page.locator(TITLED.format("picture 3")).wait_for()
    page.locator("#history-favourites input").uncheck()
    counted(page, 4)
    page.locator("#history-condition input").click()
    page.get_by_role("option", name="no control").click()
    counted(page, 2)


def test_more_like_this_and_new_pictures_appear_by_themselves(
    studio: Studio, visit: Callable[..., Any], photo: Image.Image
) -> None:
    page = visit("more")
    open_history(page)
    page.locator(".prints-empty", has_text="Finished pictures gather here").wait_for()
    owner = OWNER.format("more")
    studio.fill(owner, 2)
    counted(page, 2)
    page.locator(PRINTS).first.click()
    chosen(page, "picture 1")
    page.locator("#history-more").click()
    page.locator("#history").wait_for(state="hidden")
    finished(page)
    assert [cell.seed for cell in studio.backend.jobs(owner)[-1].request.cells()] == [2, 3, 4, 5]
    open_history(page)
    counted(page, 6)


def test_a_recent_prompt_is_one_click_away(studio: Studio, visit: Callable[..., Any]) -> None:
    studio.fill(OWNER.format("words"), 3)
    page = visit("words")
    open_history(page)
    page.locator("#history-prompts button", has_text="picture 1").click()
    page.locator("#history").wait_for(state="hidden")
    holds(page, "#prompt textarea", "picture 1")


def test_a_comparison_leaves_as_a_sheet_and_as_pictures(visit: Callable[..., Any], photo: Image.Image) -> None:
    page = visit("export")
    upload(page, photo)
    page.locator("#prompt textarea").fill("a red fox")
    page.locator("#compare-settings button").first.click()
    enter(page, "#strengths textarea", "0.5 1")
    page.locator("#compare").click()
    finished(page)
    name, data = downloaded(page, "#export-sheet")
    assert name == "comparison-a-red-fox.png"
    assert images.load(data).width > 4 * 300  # the map and three strengths, 320 pixels wide
    name, data = downloaded(page, "#export-pictures")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.namelist() == [
            "00-control-map.png", "01-no-control.png", "02-strength-0.5.png", "03-strength-1.png",
        ]  # fmt: skip
        restored = pnginfo.read(archive.read("02-strength-0.5.png")).request
    assert restored is not None
    assert restored.controls[0].control_scale == 0.5


def test_settings_are_saved_and_come_back(visit: Callable[..., Any], photo: Image.Image) -> None:
    page = visit("file")
    upload(page, photo)
    page.locator("#prompt textarea").fill("a red fox")
    page.get_by_text("Advanced").first.click()
    page.locator("#random-seed input").uncheck()
    enter(page, "#seed input", "23")
    name, data = downloaded(page, "#save-settings")
    assert name == "settings-a-red-fox.json"
    assert settings.from_json(data.decode()).seed == 23
    page.locator("#prompt textarea").fill("something else")
    restore = page.locator("input[type=file]:has(+ #restore)")
    restore.set_input_files({"name": name, "mimeType": "application/json", "buffer": data})
    page.locator("#status", has_text="Everything is as it was").wait_for()
    holds(page, "#prompt textarea", "a red fox")
    other = json.dumps({"some": "other file"}).encode()
    restore.set_input_files({"name": "x.json", "mimeType": "application/json", "buffer": other})
    page.get_by_text("These settings cannot be read").wait_for()


def test_a_picture_that_is_dropped_on_the_page_brings_everything_back(
    visit: Callable[..., Any], photo: Image.Image
) -> None:
    page = visit("drop")
    upload(page, photo)
    page.locator("#prompt textarea").fill("a red fox")
    enter(page, "#control-scale input[type=number]", "0.7")
    page.locator("#generate").click()
    finished(page)
    _, data = downloaded(page, "#download")
    page.reload()
    greeted(page)
    page.locator("#prompt textarea").fill("something else")
    page.locator("#photo button[aria-label^=Remove]").click()
    page.locator("#control-map").wait_for(state="hidden")
    page.evaluate(
        """(text) => {
            const files = new DataTransfer();
            const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
            files.items.add(new File([bytes], "made.png", { type: "image/png" }));
            const drop = new DragEvent("drop", { bubbles: true, cancelable: true, dataTransfer: files });
            document.querySelector("#column-result").dispatchEvent(drop);
        }""",
        base64.b64encode(data).decode(),
    )
    page.locator("#status", has_text="Everything is as it was").wait_for()
    page.locator("#control-map img").wait_for()
    holds(page, "#prompt textarea", "a red fox")
    holds(page, "#control-scale input[type=number]", "0.7")


def test_a_link_carries_the_settings_to_another_browser(visit: Callable[..., Any], photo: Image.Image) -> None:
    page = visit("giver", permissions=["clipboard-read", "clipboard-write"])
    upload(page, photo)
    page.locator("#prompt textarea").fill("a red fox")
    enter(page, "#control-scale input[type=number]", "0.4")
    page.locator("#copy-link").click()
    page.locator("#status", has_text="The link is copied").wait_for()
    page.wait_for_function("async () => (await navigator.clipboard.readText()).includes('#s=')")
    link = page.evaluate("navigator.clipboard.readText()")

    other = visit("taker", "#" + link.split("#")[1])
    other.locator("#status", has_text="the picture to follow").wait_for()
    holds(other, "#prompt textarea", "a red fox")
    holds(other, "#control-scale input[type=number]", "0.4")
    assert "#" not in other.url
    damaged = visit("taker", "#s=damaged")
    damaged.locator("#status [role=alert]", has_text="cannot be read").wait_for()


def test_the_history_fits_a_phone_in_german(studio: Studio, visit: Callable[..., Any]) -> None:
    studio.fill(OWNER.format("phone"), 5)
    page = visit("phone", viewport=PHONE, locale="de-DE")
    open_history(page)
    page.locator("#history-count", has_text="5 Bilder").wait_for()
    assert page.evaluate("document.querySelector('#history').scrollWidth") <= PHONE["width"]
    page.locator(PRINTS).first.click()
    chosen(page, "picture 4")
    assert page.evaluate("document.querySelector('#history-large').scrollWidth") <= PHONE["width"]
