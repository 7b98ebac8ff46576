"""Time live sketching in a real browser: `python -m tests.time_live`, on a machine that does nothing else.

Starts the studio on the bundled miniature, draws strokes in a headless Chromium with Live on, and prints how long it
takes from each pen-up until the new picture is on the screen. The first strokes warm up and are left out.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from tests.browser import CHROMIUM_FLAGS, CHROMIUM_NAMES, DESKTOP

ROOT = Path(__file__).parent.parent
WARM_UP = 3

# Notes when the pen goes up, and when the picture that follows has been drawn: two frames after it was decoded.
WATCH = """() => {
    window.liveTimes = [];
    let up = null;
    document.addEventListener('pointerup', () => { up = performance.now(); }, true);
    const seen = new Set();
    const look = () => {
        const image = document.querySelector('#stage img');
        if (image && image.complete && image.naturalWidth && !seen.has(image.src)) {
            seen.add(image.src);
            if (up !== null) {
                const since = up;
                up = null;
                requestAnimationFrame(() => window.liveTimes.push(performance.now() - since));
            }
        }
        requestAnimationFrame(look);
    };
    look();
}"""


@contextmanager
def studio(port: int) -> Iterator[str]:
    """Run `app.py` and yield its address once it answers."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "app.py", "--port", str(port), "--outputs", folder, "--models", folder]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
        url = f"http://127.0.0.1:{port}"
        try:
            for _ in range(600):
                try:
                    urllib.request.urlopen(url, timeout=5).close()
                    break
                except OSError:
                    time.sleep(0.2)
            yield url
        finally:
            process.terminate()
            process.wait(30)


def stroke(page: Any, height: float) -> float:
    """Draw a level line and return the milliseconds from pen-up to pixels."""
    before = page.evaluate("window.liveTimes.length")
    box = page.locator(".cnxs-canvas canvas").bounding_box()
    y = box["y"] + height * box["height"]
    page.mouse.move(box["x"] + 0.25 * box["width"], y)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.75 * box["width"], y, steps=8)
    page.mouse.up()
    page.wait_for_function(f"window.liveTimes.length > {before}")
    page.wait_for_timeout(700)  # the next stroke finds the page at rest
    return page.evaluate("window.liveTimes.at(-1)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--strokes", type=int, default=10, help="strokes that count (default: %(default)s)")
    parser.add_argument("--port", type=int, default=7999, help="port of the studio (default: %(default)s)")
    options = parser.parse_args()
    executable = next(filter(None, map(shutil.which, CHROMIUM_NAMES)))
    with studio(options.port) as url, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=executable, args=list(CHROMIUM_FLAGS))
        page = browser.new_context(viewport=DESKTOP, locale="en-GB").new_page()
        page.set_default_timeout(120_000)
        page.goto(url)
        page.locator("#prompt textarea").fill("a red apple, 3d render")
        page.get_by_role("tab", name="Sketch").click()
        page.locator("#device .note", has_text="Works on").wait_for()
        page.get_by_label("Live").check()
        page.locator("#generate", has_text="Finish").wait_for()
        page.locator(".cnxs-canvas canvas").scroll_into_view_if_needed()
        page.evaluate(WATCH)
        count = WARM_UP + options.strokes
        times = [stroke(page, 0.15 + 0.7 * number / count) for number in range(count)][WARM_UP:]
        browser.close()
    print(
        f"pen-up to pixels, {len(times)} strokes: median {statistics.median(times):.0f} ms, "
        f"{min(times):.0f} to {max(times):.0f} ms"
    )


if __name__ == "__main__":
    main()
