"""Starting from a picture, on the page and with the bundled model: what is painted over becomes new, the rest stays."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cnxs.jobs import Studio
from cnxs.ui.start_picture import CHANGE
from tests.real_page import generate, newest, one_job, paint, ready, real_page, restore, set_steps

pytestmark = pytest.mark.browser

STEPS = 3


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Studio, str]]:
    with real_page(tmp_path_factory.mktemp("outputs")) as served:
        yield served


def test_what_is_painted_over_becomes_new_and_everything_comes_back(
    served: tuple[Studio, str], open_page: Callable[..., Any]
) -> None:
    studio, url = served
    page = open_page(url)
    ready(page)
    page.locator("#start-panel > button").click()
    page.locator("#start-from-photo").click()
    page.get_by_text("There is no photo to start from").wait_for()
    page.locator("#examples button").first.click()
    page.locator("#control-map img").wait_for()
    set_steps(page, STEPS)
    page.locator("#start-from-photo").click()
    paint(page, "mask", height=0.3)
    generate(page)
    asked, made, png = newest(studio)
    assert asked.steps == STEPS
    assert asked.change == CHANGE
    mask = np.asarray(studio.get_image(asked.mask_id))[..., 0]
    start = np.asarray(studio.get_image(asked.init_id), np.int16)
    assert set(np.unique(mask)) == {0, 255}
    assert 0.05 < (mask == 255).mean() < 0.25
    assert mask[int(0.3 * 256), 128] == 255
    np.testing.assert_array_equal(made[mask == 0], start[mask == 0])
    assert np.abs(made - start)[mask == 255].max() > 30

    other = open_page(url)
    ready(other)
    restore(other, png)
    other.locator("#mask canvas").wait_for()
    generate(other)
    again, same, _ = newest(studio)
    assert again == asked
    np.testing.assert_array_equal(same, made)
    # One stroke more, and the mask is what came back with the stroke.
    paint(other, "mask", height=0.7)
    generate(other)
    more = np.asarray(studio.get_image(newest(studio)[0].mask_id))[..., 0]
    assert more[int(0.3 * 256), 128] == more[int(0.7 * 256), 128] == 255


def test_a_finished_image_becomes_larger_and_that_comes_back(
    served: tuple[Studio, str], open_page: Callable[..., Any]
) -> None:
    studio, url = served
    page = open_page(url)
    ready(page)
    page.locator("#examples button").first.click()
    page.locator("#control-map img").wait_for()
    set_steps(page, 5)
    generate(page)
    first, small, _ = newest(studio)
    with one_job(page):
        page.locator("#larger").click()
    second, large, png = newest(studio)
    assert (second.width, second.height, second.change) == (384, 384, 0.4)
    assert (second.seed, second.prompt, second.steps) == (first.seed, first.prompt, first.steps)
    assert studio.get_image(second.controls[0].map_id).size == (384, 384)
    assert large.shape == (384, 384, 3)
    upscaled = np.asarray(Image.fromarray(small.astype(np.uint8)).resize((384, 384)), np.int16)
    assert 1 < np.abs(large - upscaled).mean() < 20

    restore(page, png)
    page.locator("#mask canvas").wait_for()
    generate(page)
    again, same, _ = newest(studio)
    assert again == second
    np.testing.assert_array_equal(same, large)
