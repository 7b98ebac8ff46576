"""The real program in a real browser: draw, generate, and measure in the shown pixels that the lines are followed."""

import base64
import io
import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from gradio_client import Client, handle_file
from PIL import Image

from cnxs import metrics
from tests.browser import reachable
from tests.program import started
from tests.real_page import one_job, ready

ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def studio_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start `python app.py` as a user does and yield its address."""
    place = tmp_path_factory.mktemp("studio")
    folders = [option for name in ("models", "datasets") for option in (f"--{name}", str(place / name))]
    with started(place / "outputs", *folders) as url:
        yield url


def draw_circle(page: Any) -> np.ndarray:
    """Draw a circle on the sketch with the pointer; return its outline as a 256 x 256 mask."""
    page.get_by_role("tab", name="Sketch").click()
    box = reachable(page.locator("#sketch canvas").first)
    centre = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    radius = 0.3 * min(box["width"], box["height"])
    angles = [2 * math.pi * i / 60 for i in range(61)]
    page.mouse.move(centre[0] + radius, centre[1])
    page.mouse.down()
    for angle in angles:
        page.mouse.move(centre[0] + radius * math.cos(angle), centre[1] + radius * math.sin(angle))
    page.mouse.up()
    mask = np.zeros((256, 256), np.uint8)
    cv2.circle(mask, (128, 128), round(256 * radius / min(box["width"], box["height"])), 1)
    return mask > 0


def shown_picture(page: Any) -> Image.Image:
    """Return the result as the browser shows it, at 256 x 256."""
    source = page.evaluate(
        """async () => {
            const image = document.querySelector('#stage img');
            const bytes = new Uint8Array(await (await fetch(image.src)).arrayBuffer());
            let text = ''; for (const byte of bytes) text += String.fromCharCode(byte);
            return btoa(text);
        }"""
    )
    return Image.open(io.BytesIO(base64.b64decode(source))).convert("RGB").resize((256, 256))


def generate(page: Any, strength: float) -> Image.Image:
    """Set the strength, generate, and return the finished picture."""
    field = page.locator("#control-scale input[type=number]")
    field.fill(str(strength))
    field.press("Tab")
    with one_job(page):
        page.locator("#generate").click()
    return shown_picture(page)


def test_the_result_follows_the_drawn_lines(studio_url: str, open_page: Callable[..., Any]) -> None:
    page = open_page(studio_url)
    ready(page)
    drawn = draw_circle(page)
    page.locator("#control-map img").wait_for(state="visible")
    page.locator("#prompt textarea").fill("a sailboat, 3d render, white background")
    page.get_by_text("Advanced").first.click()
    page.locator("#random-seed input").uncheck()

    def recall(picture: Image.Image) -> float:
        return metrics.edge_agreement(metrics.canny_edges(picture), drawn, tolerance=6).recall

    with_control, without = (recall(generate(page, strength)) for strength in (1, 0))
    assert with_control >= 0.7
    assert with_control >= without + 0.3


def disc(size: int) -> bytes:
    """Return a picture of a disc as PNG bytes."""
    pixels = np.full((256, 256, 3), 40, np.uint8)
    cv2.circle(pixels, (100, 128), size, (90, 160, 250), -1)
    return cv2.imencode(".png", pixels)[1].tobytes()


@pytest.mark.slow
def test_a_control_is_trained_and_tried_at_once(studio_url: str, open_page: Callable[..., Any]) -> None:
    page = open_page(studio_url)
    ready(page)
    page.locator("#train-open").click()
    uploads = [{"name": f"{n}.png", "mimeType": "image/png", "buffer": disc(30 + 10 * n)} for n in range(4)]
    page.locator("#train-files input[type=file]").set_input_files(uploads)
    page.locator("#train-files tr.file").nth(3).wait_for()
    page.locator("#train-caption textarea, #train-caption input").fill("a disc")
    page.locator("#train-name textarea, #train-name input").fill("mine")
    page.locator("#train-minutes input").fill("60")
    page.locator("#train-start").click()
    page.locator("#train-curve svg").wait_for(timeout=240_000)
    page.locator("#train-stop").click()
    page.locator("#train-status [data-state=stopped]").wait_for(timeout=120_000)
    page.locator("#train-try").click()
    page.locator("#train").wait_for(state="hidden")
    page.locator("#photo input[type=file]").set_input_files(uploads[0])
    page.locator("#control-map img").wait_for(state="visible")
    page.locator("#advanced > button").click()
    page.wait_for_function("document.querySelector('#network input')?.value.startsWith('mine')")
    page.locator("#prompt textarea").fill("a blue disc")
    assert generate(page, 1).size == (256, 256)


def test_programs_and_the_command_line_get_the_pixels_of_the_page(
    studio_url: str, open_page: Callable[..., Any], photo: Image.Image, tmp_path: Path
) -> None:
    file, prompt = tmp_path / "photo.png", "a red apple, 3d render"
    photo.save(file)
    page = open_page(studio_url)
    ready(page)
    page.locator("#photo input[type=file]").set_input_files(file)
    page.locator("#control-map img").wait_for(state="visible")
    page.locator("#prompt textarea").fill(prompt)
    page.get_by_text("Advanced").first.click()
    page.locator("#random-seed input").uncheck()
    for name, value in (("seed", 11), ("steps", 3)):
        field = page.locator(f"#{name} input[type=number]")
        field.fill(str(value))
        field.press("Tab")
    page.locator("#generate").click()
    page.locator("#download").wait_for(state="visible")
    with page.expect_download() as download:
        page.locator("#download").click()
    expected = download.value.path().read_bytes()

    client = Client(studio_url, verbose=False, download_files=tmp_path, analytics_enabled=False)
    path, _ = client.predict(prompt, handle_file(file), seed=11, steps=3, api_name="/generate")
    client.close()
    command = [sys.executable, "-m", "cnxs.generate", "--control", file, "--prompt", prompt, "--out", tmp_path / "out"]
    command += ["--seeds", "11", "--steps", "3", "--threads", "1"]
    subprocess.run([str(part) for part in command], cwd=ROOT, check=True, capture_output=True)
    shown = np.asarray(Image.open(io.BytesIO(expected)))
    for one in (path, tmp_path / "out" / "photo-s1-11.png"):
        np.testing.assert_array_equal(np.asarray(Image.open(one)), shown)
