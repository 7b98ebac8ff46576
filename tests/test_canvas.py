"""The sketch canvas in a real browser: what is drawn arrives, what was drawn stays."""

import base64
import io
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from cnxs.errors import InputError
from cnxs.ui.canvas import MAX_PNG_MEGABYTES, SketchCanvas
from tests.browser import reachable, serve

browser_test = pytest.mark.browser

SIZE = 768
PAPER = ".cnxs-canvas canvas"
Points = Sequence[tuple[float, float]]
LINE: Points = [(0.2, 0.3), (0.8, 0.3)]
OTHER: Points = [(0.2, 0.6), (0.7, 0.8)]


def png_file(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return file.getvalue()


def value_of(data: bytes, *, empty: bool = False) -> dict[str, Any]:
    return {"png": "data:image/png;base64," + base64.b64encode(data).decode(), "empty": empty}


RED = png_file(np.full((64, 64, 3), (200, 30, 30), np.uint8))
TRACED = png_file(np.repeat(np.where(np.arange(64) // 4 == 8, 0, 255).astype(np.uint8)[None], 64, 0))


class Session:
    """One open page with its canvas, and what Python received from it."""

    def __init__(self, page: Any, received: list[Any]) -> None:
        self.page, self.received = page, received
        reachable(page.locator(PAPER))  # Gradio's veil lies over a page that is still loading

    def at(self, x: float, y: float) -> tuple[float, float]:
        box = self.page.locator(PAPER).bounding_box()
        return box["x"] + x * box["width"], box["y"] + y * box["height"]

    def draw(self, points: Points, *, lift: bool = True) -> None:
        self.page.evaluate("window.scrollTo(0, 0)")
        reachable(self.page.locator(PAPER))
        self.page.mouse.move(*self.at(*points[0]))
        self.page.mouse.down()
        for point in points[1:]:
            self.page.mouse.move(*self.at(*point), steps=12)
        if lift:
            self.page.mouse.up()

    def pointer(self, kind: str, points: Points, *, pressure: float = 0.5, pointer_id: int = 7) -> None:
        """Dispatch pointer events of a pen or a finger, as a tablet's driver would."""
        self.page.evaluate(
            """([kind, points, pressure, pointerId, selector]) => {
                const paper = document.querySelector(selector);
                const box = paper.getBoundingClientRect();
                const send = (type, [x, y]) => paper.dispatchEvent(new PointerEvent(type, {
                    pointerId, pressure, pointerType: kind, bubbles: true, isPrimary: true, button: 0, buttons: 1,
                    clientX: box.left + x * box.width, clientY: box.top + y * box.height}));
                paper.setPointerCapture = () => {};
                send("pointerdown", points[0]);
                points.slice(1).forEach((point) => send("pointermove", point));
                send("pointerup", points.at(-1));
            }""",
            [kind, list(map(list, points)), pressure, pointer_id, PAPER],
        )

    def tool(self, name: str) -> Any:
        return self.page.locator(f"[data-tool={name}]")

    def value(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait for a value from the canvas that is as wanted, and return it."""
        for _ in range(1200):
            if self.received and wanted(self.received[-1]):
                return self.received[-1]
            self.page.wait_for_timeout(50)
        raise AssertionError([{**value, "png": len(value["png"])} for value in self.received])

    def pixels(self, wanted: Callable[[dict[str, Any]], bool]) -> np.ndarray:
        value = self.value(wanted)
        data = base64.b64decode(value["png"].split(",")[1])
        pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
        assert pixels.shape[:2] == (value["height"], value["width"])
        return pixels

    def strokes(self, count: int) -> np.ndarray:
        """Wait for `count` strokes; return where the drawing is dark, as a mask."""
        return self.pixels(lambda value: value["strokes"] == count)[..., 1] < 128


def distance_to(points: Points, *, width: int = SIZE, height: int = SIZE) -> np.ndarray:
    """Return every pixel's distance to a line given in fractions of the paper, in pixels."""
    y, x = np.mgrid[:height, :width] + 0.5
    distances = []
    for (ax, ay), (bx, by) in itertools.pairwise(points):
        ax, bx, ay, by = ax * width, bx * width, ay * height, by * height
        along = ((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / math.hypot(bx - ax, by - ay) ** 2
        along = along.clip(0, 1)
        distances.append(np.hypot(x - ax - along * (bx - ax), y - ay - along * (by - ay)))
    return np.min(distances, axis=0)


def assert_ink(mask: np.ndarray, *lines: Points) -> None:
    distance = np.min([distance_to(line) for line in lines], axis=0)
    assert mask[distance < 2].all()
    assert not mask[distance > 8].any()


@pytest.fixture(scope="module")
def app() -> Iterator[tuple[str, list[Any]]]:
    """Serve a page with a canvas in the first of two tabs; yield its address and what the canvas sent."""
    received: list[Any] = []
    with gr.Blocks() as demo:
        with gr.Tab("Sketch"):
            canvas = SketchCanvas(document_size=(SIZE, SIZE))
        with gr.Tab("Other"):
            gr.Markdown("nothing here")
        gr.Textbox(label="Prompt")
        updates = {
            "picture": lambda: SketchCanvas.set_picture(RED, opacity=0.5),
            "guide": lambda: SketchCanvas.set_picture(RED, guide=True),
            "plain": SketchCanvas.remove_picture,
            "trace": lambda: SketchCanvas.set_trace(TRACED),
            "wide": lambda: SketchCanvas.set_paper(1024, 512),
            "square": lambda: SketchCanvas.set_paper(SIZE, SIZE),
            "absent": lambda: gr.update(visible=False),
            "present": lambda: gr.update(visible=True),
        }
        for name, update in updates.items():
            gr.Button(f"set {name}").click(update, None, canvas)
        gr.HTML("<div style='height: 3000px'></div>")
        canvas.change(received.append, canvas)
    with serve(demo) as url:
        yield url, received


@pytest.fixture
def session(app: tuple[str, list[Any]], open_page: Callable[..., Any]) -> Session:
    url, received = app
    received.clear()
    return Session(open_page(url), received)


@browser_test
def test_a_line_arrives_as_ink_where_it_was_drawn_and_nowhere_else(session: Session) -> None:
    session.draw(LINE)
    assert_ink(session.strokes(1), LINE)
    session.draw(OTHER)
    assert_ink(session.strokes(2), LINE, OTHER)
    value = session.received[-1]
    assert (value["width"], value["height"], value["empty"]) == (SIZE, SIZE, False)
    assert SketchCanvas.decode(value) == base64.b64decode(value["png"].split(",")[1])


@browser_test
def test_undo_redo_and_clear_by_button_and_key(session: Session) -> None:
    session.draw(LINE)
    session.draw(OTHER)
    session.strokes(2)
    session.page.keyboard.press("Control+z")
    assert_ink(session.strokes(1), LINE)
    session.page.keyboard.press("Control+Shift+z")
    assert_ink(session.strokes(2), LINE, OTHER)
    session.tool("clear").click()
    assert not session.strokes(0).any()
    assert SketchCanvas.decode(session.received[-1]) is None
    session.tool("undo").click()
    assert_ink(session.strokes(2), LINE, OTHER)
    session.tool("undo").click()
    session.strokes(1)
    session.page.keyboard.press("Control+y")
    assert_ink(session.strokes(2), LINE, OTHER)


@browser_test
def test_keys_belong_to_a_text_field_while_one_has_the_focus(session: Session) -> None:
    session.draw(LINE)
    session.strokes(1)
    session.page.get_by_label("Prompt").fill("a")
    session.page.get_by_label("Prompt").press("e")
    session.page.get_by_label("Prompt").press("Control+z")
    assert session.tool("brush").get_attribute("aria-pressed") == "true"
    assert session.tool("undo").is_enabled()
    session.page.get_by_label("Prompt").blur()
    session.page.keyboard.press("e")
    assert session.tool("eraser").get_attribute("aria-pressed") == "true"
    before = session.page.locator("[aria-label^='Line width']").input_value()
    session.page.keyboard.press("]")
    assert float(session.page.locator("[aria-label^='Line width']").input_value()) > float(before)


@browser_test
def test_the_eraser_brings_the_paper_back(session: Session) -> None:
    session.draw([(0.2, 0.5), (0.8, 0.5)])
    session.strokes(1)
    session.tool("eraser").click()
    for _ in range(8):
        session.page.keyboard.press("]")
    session.draw([(0.5, 0.3), (0.5, 0.7)])
    mask = session.strokes(2)
    assert not mask[:, SIZE // 2 - 12 : SIZE // 2 + 12].any()
    assert mask[SIZE // 2, int(0.25 * SIZE)]
    assert mask[SIZE // 2, int(0.75 * SIZE)]


@browser_test
def test_a_reload_restores_the_strokes_and_sends_them(session: Session) -> None:
    session.draw(LINE)
    before = session.strokes(1)
    session.draw(OTHER)
    session.strokes(2)
    session.tool("undo").click()
    session.strokes(1)
    session.received.clear()
    session.page.reload()
    np.testing.assert_array_equal(session.strokes(1), before)
    session.tool("redo").click()
    assert_ink(session.strokes(2), LINE, OTHER)


@browser_test
def test_hidden_and_rebuilt_canvas_keeps_its_strokes(session: Session) -> None:
    session.draw(LINE)
    session.strokes(1)
    session.page.get_by_role("tab", name="Other").click()
    session.page.locator(PAPER).wait_for(state="hidden")
    session.page.set_viewport_size({"width": 1000, "height": 800})
    session.page.get_by_role("tab", name="Sketch").click()
    session.draw(OTHER)
    assert_ink(session.strokes(2), LINE, OTHER)
    session.page.get_by_text("set absent").click()
    session.page.locator(PAPER).wait_for(state="hidden")
    session.page.get_by_text("set present").click()
    session.page.locator(PAPER).wait_for()
    session.draw([(0.3, 0.9), (0.6, 0.9)])
    assert_ink(session.strokes(3), LINE, OTHER, [(0.3, 0.9), (0.6, 0.9)])


@browser_test
def test_a_full_browser_store_loses_no_stroke(session: Session) -> None:
    session.page.evaluate("() => { Storage.prototype.setItem = () => { throw new DOMException('full'); }; }")
    session.draw(LINE)
    session.draw(OTHER)
    assert_ink(session.strokes(2), LINE, OTHER)


@browser_test
def test_pressure_of_the_pen_sets_the_width_and_a_resting_palm_draws_nothing(session: Session) -> None:
    steps = [i / 40 for i in range(8, 33)]
    session.pointer("pen", [(x, 0.3) for x in steps], pressure=0.1)
    session.pointer("pen", [(x, 0.6) for x in steps], pressure=0.9)
    session.pointer("touch", [(x, 0.8) for x in steps], pointer_id=9)
    session.pointer("pen", [(0.5, 0.9), (0.6, 0.9)])
    column = session.strokes(3)[:, SIZE // 2]
    light, firm, palm = (column[int(a * SIZE) : int(b * SIZE)].sum() for a, b in ((0.2, 0.4), (0.5, 0.7), (0.75, 0.85)))
    assert 0 < 2 * light < firm
    assert palm == 0


@browser_test
def test_a_finger_draws_without_scrolling_and_two_fingers_zoom(
    app: tuple[str, list[Any]], open_page: Callable[..., Any]
) -> None:
    url, received = app
    received.clear()
    session = Session(open_page(url, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True), received)
    cdp = session.page.context.new_cdp_session(session.page)

    def touch(*steps: Points) -> None:
        for i, points in enumerate(steps):
            placed = [dict(zip("xy", session.at(*point), strict=True), id=n) for n, point in enumerate(points)]
            kind = "touchMove" if i else "touchStart"
            cdp.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": placed})
        cdp.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

    touch(*([(0.5, y / 50)] for y in range(40, 9, -1)))
    assert_ink(session.strokes(1), [(0.5, 0.8), (0.5, 0.2)])
    assert session.page.evaluate("window.scrollY") == 0
    assert session.tool("fit").is_disabled()
    touch(*([(0.5 - apart / 100, 0.5), (0.5 + apart / 100, 0.5)] for apart in range(10, 41)))
    session.page.locator("[data-tool=fit]:enabled").wait_for()
    assert session.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert received[-1]["strokes"] == 1


@browser_test
def test_a_zoomed_paper_is_drawn_on_where_the_pointer_is(session: Session) -> None:
    session.page.mouse.move(*session.at(0.5, 0.5))
    session.page.keyboard.down("Control")
    session.page.mouse.wheel(0, -400 * math.log(2))
    session.page.locator("[data-tool=fit]:enabled").wait_for()  # the wheel is handled later than it is turned
    session.page.keyboard.up("Control")
    session.draw([(0.4, 0.6), (0.8, 0.6)])
    assert_ink(session.strokes(1), [(0.45, 0.55), (0.65, 0.55)])
    session.tool("fit").click()
    session.page.locator("[data-tool=fit]:disabled").wait_for()


@browser_test
def test_a_picture_lies_below_the_strokes_and_a_guide_is_not_sent(session: Session) -> None:
    session.draw(LINE)
    session.strokes(1)
    session.received.clear()
    session.page.get_by_text("set picture").click()
    pixels = session.pixels(lambda value: value["strokes"] == 1)
    np.testing.assert_allclose(pixels[10, 10], (227, 142, 142), atol=2)
    assert_ink(pixels[..., 1] < 64, LINE)
    session.tool("eraser").click()
    session.draw([(0.5, 0.2), (0.5, 0.4)])
    pixels = session.pixels(lambda value: value["strokes"] == 2)
    np.testing.assert_allclose(pixels[int(0.3 * SIZE), SIZE // 2], (227, 142, 142), atol=2)
    session.page.get_by_text("set guide").click()
    session.page.get_by_label("Only as a guide").wait_for()
    session.tool("brush").click()
    session.draw(OTHER)
    assert tuple(session.pixels(lambda value: value["strokes"] == 3)[10, 10]) == (255, 255, 255)
    session.page.get_by_text("set plain").click()
    session.page.get_by_label("Only as a guide").wait_for(state="hidden")


@browser_test
def test_traced_lines_become_ink_that_can_be_erased_and_undone(session: Session) -> None:
    session.page.get_by_text("set trace").click()
    mask = session.pixels(lambda value: not value["empty"])[..., 0] < 128
    assert mask[:, 32 * SIZE // 64 + 6 : 36 * SIZE // 64 - 6].all()
    assert not mask[:, : 30 * SIZE // 64].any()
    session.tool("eraser").click()
    session.draw([(0.4, 0.5), (0.7, 0.5)])
    mask = session.strokes(1)
    assert not mask[SIZE // 2].any()
    assert mask[SIZE // 4].any()
    session.tool("undo").click()
    session.tool("undo").click()
    session.value(lambda value: value["empty"])


@browser_test
def test_paper_of_another_shape_keeps_the_strokes_and_waits_for_the_end_of_one(session: Session) -> None:
    session.draw(LINE)
    square = session.strokes(1)
    session.draw(OTHER, lift=False)
    session.page.evaluate("[...document.querySelectorAll('button')].find((b) => b.innerText === 'set wide').click()")
    session.page.wait_for_timeout(400)
    box = session.page.locator(PAPER).bounding_box()
    assert box["width"] == pytest.approx(box["height"], abs=1)
    session.page.mouse.up()
    wide = session.pixels(lambda value: value["width"] == 1024)
    assert wide.shape[:2] == (512, 1024)
    assert (wide[int(0.3 * 512), 512 - 150 : 512 + 150] < 128).all()
    session.tool("undo").click()
    session.page.get_by_text("set square").click()
    mask = session.pixels(lambda value: value["width"] == SIZE and value["strokes"] == 1)[..., 1] < 128
    np.testing.assert_array_equal(mask, square)


def test_decode_returns_the_file_or_none() -> None:
    assert SketchCanvas.decode(None) is None
    assert SketchCanvas.decode(value_of(RED, empty=True)) is None
    assert SketchCanvas.decode(value_of(RED)) == RED


@pytest.mark.parametrize(
    "value",
    [
        "data:image/png;base64,AAAA",
        {},
        {"png": None},
        {"png": "data:image/svg+xml;base64,AAAA"},
        {"png": "https://example.org/a.png"},
        {"png": "data:image/png;base64,@@@@"},
        value_of(b"GIF89a"),
        {"png": "data:image/png;base64," + "A" * (MAX_PNG_MEGABYTES * 2**20 * 4 // 3 + 4)},
    ],
    ids=["text", "nothing", "null", "kind", "address", "base64", "signature", "size"],
)
def test_decode_refuses_what_the_canvas_does_not_send(value: Any) -> None:
    with pytest.raises(InputError) as caught:
        SketchCanvas.decode(value)
    assert caught.value.key == "sketch_damaged"
    assert str(MAX_PNG_MEGABYTES) in caught.value.sentence("de")
