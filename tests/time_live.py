"""Time live sketching in a real browser: `python -m tests.time_live`, on a machine that does nothing else.

Starts the studio on the bundled miniature, draws strokes in a headless Chromium with Live on, and prints how long it
takes from each pen-up until the new picture is on the screen. The first strokes warm up and are left out.
"""

import argparse
import shutil
import statistics
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from tests import program
from tests.browser import CHROMIUM_FLAGS, CHROMIUM_NAMES, DESKTOP

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
    parser.add_argument("--threads", type=int, default=0, help="of the model (default: as many as there are cores)")
    options = parser.parse_args()
    executable = next(filter(None, map(shutil.which, CHROMIUM_NAMES)))
    with (
        tempfile.TemporaryDirectory() as outputs,
        program.started(Path(outputs), "--threads", str(options.threads)) as url,
        sync_playwright() as driver,
    ):
        browser = driver.chromium.launch(executable_path=executable, args=list(CHROMIUM_FLAGS))
        context = browser.new_context(viewport=DESKTOP, locale="en-GB")
        context.add_init_script("localStorage.setItem('cnxs.tour', 'seen')")  # who sketches live has seen the hints
        page = context.new_page()
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
