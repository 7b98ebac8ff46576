"""The folded panels of the page, with the bundled model: LoRAs."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from cnxs.jobs import Studio
from tests.real_page import generate, newest, ready, real_page, restore, set_steps

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
    offered = page.get_by_role("option").all_text_contents()
    assert [name.strip(" ✓\n") for name in offered] == ["none", "lcm-tiny-3steps"]
    page.keyboard.press("Escape")
    page.locator("#fast").click()
    page.locator("#lora-row-2").wait_for()
    generate(page)
    asked, made, png = newest(studio)
    assert (asked.sampler, asked.steps, asked.guidance_scale) == ("lcm", 3, 1)
    assert asked.loras == (("lcm-tiny-3steps", 1.0),)
    assert made.std() > 5
    other = open_page(url)
    ready(other)
    restore(other, png)
    generate(other)
    again, same, _ = newest(studio)
    assert again == asked
    np.testing.assert_array_equal(same, made)
