"""The folded panels of the page, with the bundled model: LoRAs, a second control, a region, all maps."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from cnxs.jobs import Studio
from tests.browser import holds
from tests.real_page import generate, newest, paint, ready, real_page, restore, set_steps

pytestmark = pytest.mark.browser

LAYER = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k"


def save_lora(path: Path, *, context_width: int) -> None:
    """Write a LoRA on one layer of a U-Net that reads text states of that width."""
    generator = torch.Generator().manual_seed(0)
    down = torch.randn(4, context_width, generator=generator)
    up = torch.randn(128, 4, generator=generator) * 0.1
    save_file({f"unet.{LAYER}.lora_A.weight": down, f"unet.{LAYER}.lora_B.weight": up}, path)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Studio, str]]:
    models = tmp_path_factory.mktemp("models")
    save_lora(models / "lcm-tiny-3steps.safetensors", context_width=192)
    save_lora(models / "for-others.safetensors", context_width=768)
    with real_page(tmp_path_factory.mktemp("outputs"), models=models) as served:
        yield served


def with_example(page: Any) -> None:
    ready(page)
    page.locator("#examples button").first.click()
    page.locator("#control-map img").wait_for()


def test_a_lora_for_few_steps_is_one_click(served: tuple[Studio, str], open_page: Callable[..., Any]) -> None:
    studio, url = served
    page = open_page(url)
    with_example(page)
    set_steps(page, 3)
    page.locator("#loras > button").click()
    page.locator("#lora-1 input").click()
    page.get_by_role("option").nth(1).wait_for()
    offered = page.get_by_role("option").all_text_contents()
    assert [name.strip(" ✓\n") for name in offered] == ["none", "lcm-tiny-3steps"]
    page.keyboard.press("Escape")
    page.locator("#fast").click()
    page.locator("#lora-row-2").wait_for()
    holds(page, "#lora-1 input", "lcm-tiny-3steps")
    generate(page)
    asked, made, _ = newest(studio)
    assert (asked.sampler, asked.steps, asked.guidance_scale) == ("lcm", 3, 1)
    assert asked.loras == (("lcm-tiny-3steps", 1.0),)
    assert made.std() > 5


def test_further_controls_a_region_and_gains_come_back(
    served: tuple[Studio, str], open_page: Callable[..., Any]
) -> None:
    studio, url = served
    page = open_page(url)
    with_example(page)
    set_steps(page, 3)
    page.locator("#fine-panel > button").click()  # first: a number typed in the very moment of unfolding is lost
    page.locator("#second-panel > button").click()
    page.locator("#second-on input").check()
    page.locator("#second-map img").wait_for()
    page.locator("#second-kind label", has_text="Sketch").click()
    page.locator("#second-network").wait_for()  # this kind can be followed by two
    page.locator("#second-settings > button").click()
    number = page.locator("#second-number-1 input[type=number]")
    number.wait_for()
    assert page.locator("#second-number-3").count() == 0  # a sketch has two numbers to set
    number.fill("9")
    number.press("Tab")
    page.locator("#third-panel > button").click()
    page.locator("#third-on input").check()
    page.locator("#third-map img").wait_for()
    field = page.locator("#gain-late input[type=number]")
    field.fill("0.5")
    field.press("Tab")
    page.locator("#region-on input").check()
    paint(page, "region", height=0.25)
    page.locator("#third-where label", has_text="Everywhere else").click()
    generate(page)
    asked, made, png = newest(studio)
    first, second, third = asked.controls
    assert (first.kind, second.kind, third.kind) == ("canny", "scribble", "colour_grid")
    assert dict(second.params)["thickness"] == 9
    assert first.map_id != second.map_id
    assert first.gains == (1.0, 1.0, 0.5)
    region = np.asarray(studio.get_image(first.region_id))[..., 0]
    assert region[64, 128] == 255
    assert 0.05 < (region == 255).mean() < 0.25
    assert second.region_id == ""
    np.testing.assert_array_equal(np.asarray(studio.get_image(third.region_id))[..., 0], 255 - region)
    other = open_page(url)
    ready(other)
    restore(other, png)
    other.locator("#second-map img").wait_for()
    other.locator("#third-map img").wait_for()
    generate(other)
    again, same, _ = newest(studio)
    assert again == asked
    np.testing.assert_array_equal(same, made)


def test_all_maps_side_by_side_and_one_click_follows_one(
    served: tuple[Studio, str], open_page: Callable[..., Any]
) -> None:
    page = open_page(served[1])
    with_example(page)
    page.locator("#all-maps-open").click()
    page.locator("#all-maps .print").nth(5).wait_for()
    assert page.locator("#all-maps [aria-pressed=true]").inner_text().strip() == "Edges (Canny)"
    page.locator("#all-maps .print", has_text="Line art").click()
    page.locator("#kind label.selected", has_text="Line art").wait_for()
    page.locator("#all-maps [aria-pressed=true]", has_text="Line art").wait_for()
    page.locator("#all-maps .quiet").click()
    page.locator("#all-maps .print").first.wait_for(state="detached")
