"""The safety checker of a base that ships one: what it flags is replaced and told, and a flag leaves it out."""

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from transformers import CLIPConfig, CLIPImageProcessor, CLIPVisionConfig

from cnxs.backend import Engine
from cnxs.bases.safety import GREY, load_checker
from cnxs.errors import CheckpointError
from cnxs.protocol import Preview, Result
from cnxs.request import GenerationRequest
from cnxs.store import ImageStore
from cnxs.weights import FoundBase, Library
from tests import ldm_names


class TinyLibrary(Library):
    """A library of one tiny base with the name and family of a known one."""

    def base(self, name: str) -> FoundBase:
        assert self.folder is not None
        return FoundBase(ldm_names.spec_of("sd21"), self.folder / "base")


def save_checker(folder: Path, *, threshold: float) -> None:
    """Write a tiny checker that flags every picture whose likeness to its concepts, -1 to 1, is above the threshold."""
    vision = CLIPVisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=16, patch_size=8
    )
    torch.manual_seed(0)
    model = StableDiffusionSafetyChecker(CLIPConfig(vision_config=vision.to_dict(), projection_dim=8))
    with torch.no_grad():
        model.concept_embeds_weights.fill_(threshold)
        model.special_care_embeds_weights.fill_(2.0)
        model.concept_embeds.normal_()
    model.save_pretrained(folder / "safety_checker")
    size = {"height": 16, "width": 16}
    CLIPImageProcessor(size={"shortest_edge": 16}, crop_size=size).save_pretrained(folder / "feature_extractor")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ldm_names.save_folder(ldm_names.parts("sd21"), tmp_path_factory.mktemp("models") / "base")


def made(base: Path, *, safety: bool = True) -> tuple[Result, int]:
    """Return a picture, and how many previews were shown before it."""
    engine = Engine(torch.device("cpu"), TinyLibrary(base.parent), threads=1, safety=safety)
    asked = GenerationRequest(base="sd21-base", prompt="a cat", width=16, height=16, steps=2)
    events = list(engine.generate([asked], ImageStore(None), lambda: False))
    (result,) = (event for event in events if isinstance(event, Result))
    return result, sum(isinstance(event, Preview) for event in events)


def test_what_is_flagged_is_replaced_and_told(base: Path) -> None:
    plain, _ = made(base)
    assert plain.notes == ()
    save_checker(base, threshold=-2.0)
    hidden, previews = made(base)
    assert [key for key, _ in hidden.notes] == ["note.flagged"]
    assert previews == 0
    assert (np.asarray(hidden.image) == GREY).all()
    off, _ = made(base, safety=False)
    save_checker(base, threshold=2.0)
    passed, _ = made(base)
    for picture in (off, passed):
        assert picture.notes == ()
        assert np.array_equal(np.asarray(picture.image), np.asarray(plain.image))


def test_a_checker_that_is_there_as_a_pickle_only_is_refused(tmp_path: Path) -> None:
    assert load_checker(tmp_path, device=torch.device("cpu")) is None
    (tmp_path / "safety_checker").mkdir()
    (tmp_path / "safety_checker" / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(CheckpointError) as caught:
        load_checker(tmp_path, device=torch.device("cpu"))
    assert caught.value.key == "base_pickles_only"
