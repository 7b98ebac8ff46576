"""What a base predicts, told from one evaluation."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel

from cnxs.bases import LoadedBase, load_folder
from cnxs.bases.loaded import UNDECIDED
from cnxs.bases.probing import judge, probe_prediction, smoothness
from cnxs.registry import MINIATURE
from tests import ldm_names
from tests.test_bases import load

FOLDER = Path(__file__).parent.parent / "assets" / "miniature"


@pytest.fixture(scope="module")
def miniature() -> LoadedBase:
    return load_folder(FOLDER, MINIATURE, device=torch.device("cpu"), dtype=torch.float32)


@pytest.fixture(scope="module")
def context(miniature: LoadedBase) -> torch.Tensor:
    return miniature.prompts.encode("", "")[0].context


class AsEpsilon:
    """A v-predicting U-Net that answers with the noise instead: eps = alpha v + sigma x."""

    def __init__(self, unet: UNet2DConditionModel) -> None:
        self.unet, self.config, self.dtype = unet, unet.config, unet.dtype
        schedule = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
        self.alphas_cumprod = schedule.alphas_cumprod

    def __call__(self, x: torch.Tensor, timestep: int, context: torch.Tensor, *, return_dict: bool) -> Any:
        (v,) = self.unet(x, timestep, context, return_dict=return_dict)
        alpha = self.alphas_cumprod[timestep]
        return (alpha.sqrt() * v + (1 - alpha).sqrt() * x,)


def test_the_miniature_predicts_v(miniature: LoadedBase, context: torch.Tensor) -> None:
    assert probe_prediction(miniature.unet, context) == "v_prediction"


def test_the_same_network_made_to_predict_the_noise_is_told_apart(miniature: LoadedBase, context: torch.Tensor) -> None:
    wrapped: Any = AsEpsilon(miniature.unet)
    assert probe_prediction(wrapped, context) == "epsilon"


@pytest.mark.parametrize("seed", range(3))
def test_random_weights_are_undecided(miniature: LoadedBase, context: torch.Tensor, seed: int) -> None:
    torch.manual_seed(seed)
    untrained = UNet2DConditionModel.from_config(miniature.unet.config).eval()
    assert probe_prediction(untrained, context) == UNDECIDED


def test_a_network_that_gives_its_input_back_scaled_is_undecided() -> None:
    noise = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    assert judge(noise, noise) == "epsilon"
    assert judge(noise, 0.5 * noise) == UNDECIDED
    assert judge(noise, -noise) == UNDECIDED


def test_smoothness_of_noise_and_of_a_ramp() -> None:
    noise = torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    assert smoothness(noise) == pytest.approx(0, abs=0.05)
    assert smoothness(torch.linspace(0, 1, 64).expand(1, 1, 64, 64)) > 0.9
    assert smoothness(torch.ones(1, 1, 8, 8)) == 0


def test_only_files_of_stable_diffusion_2_are_probed(tmp_path: Path) -> None:
    said = {}
    for family in ("sd15", "sd21"):
        parts = ldm_names.parts(family)
        folder = tmp_path / family
        folder.mkdir()
        file = ldm_names.save_single(parts, folder / "artist.safetensors")
        base = load(file, ldm_names.save_configs(parts, folder / "configs"), family)
        said[family] = base.scheduler_config["prediction_type"]
    assert said == {"sd15": "epsilon", "sd21": UNDECIDED}
