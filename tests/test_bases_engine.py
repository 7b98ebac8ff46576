"""The engine with a base of the user's: its VAE, words and LoRAs, and what it predicts."""

import gc
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from cnxs.backend import Engine
from cnxs.protocol import Result
from cnxs.request import GenerationRequest
from cnxs.store import ImageStore
from cnxs.weights import FoundBase, Library
from tests import ldm_names
from tests.test_bases_addons import WIDTH, save_lora


class TinyLibrary(Library):
    """A library whose bases of known names are tiny: a scan tells families by their true widths."""

    def base(self, name: str) -> FoundBase:
        family = {"sdxl": "sdxl", "sd21-base": "sd21"}[name]
        assert self.folder is not None
        return FoundBase(ldm_names.spec_of(family), self.folder / "bases" / name)


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    for name in ("loras", "vae", "embeddings"):
        (tmp_path / name).mkdir()
    return Engine(torch.device("cpu"), TinyLibrary(tmp_path), threads=1)


def picture(engine: Engine, store: ImageStore, **changes: object) -> np.ndarray:
    fields = {"base": "sdxl", "prompt": "a cat", "width": 16, "height": 16, "steps": 2} | changes
    events = list(engine.generate([GenerationRequest(**fields)], store, lambda: False))  # pyright: ignore
    (result,) = (event for event in events if isinstance(event, Result))
    return np.asarray(result.image).astype(int)


def test_vae_words_and_loras_of_the_models_folder_are_used(engine: Engine, tmp_path: Path) -> None:
    ldm_names.save_folder(ldm_names.parts("sdxl"), tmp_path / "bases" / "sdxl")
    other = ldm_names.parts("sdxl", seed=9).vae
    save_file(other.state_dict(), tmp_path / "vae" / "sdxl.safetensors")
    word = {"clip_l": torch.ones(1, WIDTH), "clip_g": torch.ones(1, WIDTH)}
    save_file({key: value.clone() for key, value in word.items()}, tmp_path / "embeddings" / "style.safetensors")
    save_lora(tmp_path / "loras" / "ink.safetensors", kohya=False)
    store = ImageStore(tmp_path / "pictures")
    plain = picture(engine, store)
    base = engine.pipeline("sdxl").base
    latents = torch.ones(1, 4, 8, 8)
    with torch.no_grad():
        expected = other.decode(latents / 0.13025).sample.clamp(-1, 1)
    assert torch.equal(base.codec.decode(latents), expected)
    assert list(base.prompts.runs.values()) == [range(49408, 49409)]
    assert not np.array_equal(picture(engine, store, loras=(("ink", 1.0),)), plain)
    assert not np.array_equal(picture(engine, store, prompt="a <style> cat"), plain)
    assert np.array_equal(picture(engine, store), plain)  # the LoRA is off again


def test_a_base_that_is_left_gives_its_memory_back_at_once(engine: Engine, tmp_path: Path) -> None:
    for name, family in (("sdxl", "sdxl"), ("sd21-base", "sd21")):
        ldm_names.save_folder(ldm_names.parts(family), tmp_path / "bases" / name)
    picture(engine, ImageStore(tmp_path / "pictures"))
    base = engine.pipeline("sdxl").base
    left = [weakref.ref(module) for module in base.modules]
    del base
    gc.disable()  # it would free circles of references sooner or later: on a GPU, too late for the next base
    try:
        engine.prepare("sd21-base")
        assert [reference() for reference in left] == [None] * len(left)
    finally:
        gc.enable()


def test_what_a_base_predicts_is_shown_once_it_is_loaded(engine: Engine, tmp_path: Path) -> None:
    ldm_names.save_folder(ldm_names.parts("sd21"), tmp_path / "bases" / "sd21-base")
    assert engine.base_info("sd21-base").detail == "CreativeML OpenRAIL++-M"
    engine.prepare("sd21-base")
    assert engine.base_info("sd21-base").detail == "CreativeML OpenRAIL++-M, epsilon"
    (shown,) = (info for info in engine.models().bases if info.name == "sd21-base")
    assert shown.detail.endswith(", epsilon")
