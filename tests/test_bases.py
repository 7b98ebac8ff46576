"""Bases from folders and single files: the same weights give the same outputs, and what does not fit is refused."""

import json
from pathlib import Path

import pytest
import torch
from accelerate import init_empty_weights
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from cnxs.bases import LoadedBase, load_base, load_folder, load_single_file, load_tokenizer
from cnxs.bases.loaded import CONFIGS
from cnxs.checkpoints.families import FAMILIES
from cnxs.errors import CheckpointError
from cnxs.model import base_structure
from cnxs.prompts import PromptEncoder
from tests import ldm_names

CPU = torch.device("cpu")
FLOAT = torch.float32


@pytest.fixture(scope="module", params=list(ldm_names.FAMILIES))
def parts(request: pytest.FixtureRequest) -> ldm_names.Parts:
    return ldm_names.parts(request.param)


@pytest.fixture(scope="module")
def single(parts: ldm_names.Parts, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return a base's single file, and the configurations for it."""
    folder = tmp_path_factory.mktemp(parts.family)
    file = ldm_names.save_single(parts, folder / "artist.safetensors")
    return file, ldm_names.save_configs(parts, folder / "configs")


def load(file: Path, configs: Path, family: str, **options: object) -> LoadedBase:
    spec = ldm_names.spec_of(family)
    return load_single_file(file, spec, device=CPU, dtype=FLOAT, configs=configs, **options)  # pyright: ignore


def added(base: LoadedBase) -> dict[str, torch.Tensor] | None:
    pooled = base.prompts.encode("a photo of a cat", "")[0].pooled
    return None if pooled is None else {"text_embeds": pooled, "time_ids": torch.ones(1, 6)}


def test_a_single_file_is_the_folder_of_the_same_weights(
    parts: ldm_names.Parts, single: tuple[Path, Path], tmp_path: Path
) -> None:
    folder = ldm_names.save_folder(parts, tmp_path / "base")
    expected = load_folder(folder, ldm_names.spec_of(parts.family), device=CPU, dtype=FLOAT)
    found = load(*single, parts.family)
    torch.manual_seed(0)
    latents = torch.randn(1, 4, 8, 8)
    for base in (expected, found):
        assert not any(parameter.requires_grad for module in base.modules for parameter in module.parameters())
    for prompt in ("a photo of a cat", "!", "one two three " * 40):
        ours, theirs = found.prompts.encode(prompt, "ugly"), expected.prompts.encode(prompt, "ugly")
        for one, other in zip(ours, theirs, strict=True):
            assert torch.equal(one.context, other.context)
            assert (one.pooled is None and other.pooled is None) or torch.equal(one.pooled, other.pooled)
    context = expected.prompts.encode("a photo of a cat", "")[0].context
    with torch.no_grad():
        output, same = (
            base.unet(latents, 500, context, added_cond_kwargs=added(base)).sample for base in (found, expected)
        )
    assert torch.equal(output, same)
    assert output.std() > 1e-3
    assert torch.equal(found.codec.decode(latents), expected.codec.decode(latents))
    pixels = torch.rand(1, 3, 16, 16) * 2 - 1
    assert torch.equal(found.codec.encode(pixels), expected.codec.encode(pixels))


def test_a_pickle_of_weights_is_the_same_base(
    parts: ldm_names.Parts, single: tuple[Path, Path], tmp_path: Path
) -> None:
    file, configs = single
    weights = load_file(file)
    torch.save({"state_dict": weights, "global_step": 875000}, tmp_path / "artist.ckpt")
    found = load(tmp_path / "artist.ckpt", configs, parts.family)
    assert torch.equal(found.unet.conv_in.weight, weights["model.diffusion_model.input_blocks.0.0.weight"])


def test_a_missing_weight_is_named(parts: ldm_names.Parts, single: tuple[Path, Path], tmp_path: Path) -> None:
    file, configs = single
    weights = load_file(file)
    del weights["model.diffusion_model.middle_block.0.in_layers.2.weight"]
    save_file(weights, tmp_path / "broken.safetensors")
    with pytest.raises(CheckpointError, match=r"mid_block\.resnets\.0\.conv1\.weight") as caught:
        load(tmp_path / "broken.safetensors", configs, parts.family)
    assert caught.value.key == "checkpoint_keys"


@pytest.mark.parametrize(
    ("prefixes", "key"),
    [
        (("first_stage_model.",), "base_without_vae"),
        (("cond_stage_model.", "conditioner."), "base_without_text_encoder"),
    ],
)
def test_a_pruned_file_says_what_it_lacks(
    parts: ldm_names.Parts, single: tuple[Path, Path], tmp_path: Path, prefixes: tuple[str, ...], key: str
) -> None:
    file, configs = single
    weights = {name: value for name, value in load_file(file).items() if not name.startswith(prefixes)}
    if "conditioner." in prefixes:  # without text encoders, the family is told from the text width
        name = "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"
        width = {"sd15": 768, "sd21": 1024, "sdxl": 2048}[parts.family]
        weights = {n: value for n, value in weights.items() if "attn2.to_k" not in n} | {name: torch.zeros(16, width)}
    save_file(weights, tmp_path / "pruned.safetensors")
    with pytest.raises(CheckpointError) as caught:
        load(tmp_path / "pruned.safetensors", configs, parts.family)
    assert caught.value.key == key


def test_a_file_of_another_family_than_expected_is_refused(single: tuple[Path, Path], parts: ldm_names.Parts) -> None:
    other = "sd15" if parts.family == "sdxl" else "sdxl"
    with pytest.raises(CheckpointError) as caught:
        load(*single, other)
    assert caught.value.key == "base_of_other_family"


def test_marks_of_trainers_decide_the_schedule(tmp_path: Path) -> None:
    base = ldm_names.parts("sdxl")
    weights = ldm_names.original(base) | {"v_pred": torch.zeros(0), "ztsnr": torch.zeros(0)}
    save_file({key: value.contiguous().clone() for key, value in weights.items()}, tmp_path / "v.safetensors")
    configs = ldm_names.save_configs(base, tmp_path / "configs")
    config = load(tmp_path / "v.safetensors", configs, "sdxl").scheduler_config
    assert config["prediction_type"] == "v_prediction"
    assert config["rescale_betas_zero_snr"] is True


def test_a_half_precision_folder_is_read(tmp_path: Path) -> None:
    parts = ldm_names.parts("sdxl")
    folder = ldm_names.save_folder(parts, tmp_path / "base", variant="fp16")
    base = load_base(folder, ldm_names.spec_of("sdxl"), device=CPU, dtype=FLOAT)
    assert torch.equal(base.unet.conv_in.weight, parts.unet.conv_in.weight)
    assert len(base.prompts.text_encoders) == 2
    assert base.sha256


def test_a_folder_of_pickles_is_refused(tmp_path: Path) -> None:
    folder = ldm_names.save_folder(ldm_names.parts("sd15"), tmp_path / "base")
    weights = folder / "text_encoder" / "model.safetensors"
    torch.save(load_file(weights), folder / "text_encoder" / "pytorch_model.bin")
    weights.unlink()
    with pytest.raises(CheckpointError) as caught:
        load_folder(folder, ldm_names.spec_of("sd15"), device=CPU, dtype=FLOAT)
    assert caught.value.key == "base_pickles_only"
    assert caught.value.fields == {"folder": "base", "part": "text_encoder"}


# --- what is bundled for single files ---------------------------------------------------------------------------------


def test_the_vocabulary_gives_the_known_token_ids() -> None:
    tokenizer = load_tokenizer(Path("artist.safetensors"))
    assert tokenizer("a photo of a cat").input_ids == [49406, 320, 1125, 539, 320, 2368, 49407]
    # Ids of OpenAI's own example sentences for its tokenizer.
    assert tokenizer("a diagram").input_ids == [49406, 320, 22697, 49407]
    assert tokenizer("a dog").input_ids == [49406, 320, 1929, 49407]
    assert tokenizer("hello world!").input_ids == [49406, 3306, 1002, 256, 49407]
    assert len(tokenizer) == 49408


# Counts that the publishers' own networks have.
COUNTS = {
    ("sd15", "unet"): 859_520_964,
    ("sd15", "vae"): 83_653_863,
    ("sd15", "text_encoder"): 123_060_480,
    ("sd21", "unet"): 865_910_724,
    ("sd21", "vae"): 83_653_863,
    ("sd21", "text_encoder"): 340_387_840,
    ("sdxl", "unet"): 2_567_463_684,
    ("sdxl", "vae"): 83_653_863,
    ("sdxl", "text_encoder"): 123_060_480,
    ("sdxl", "text_encoder_2"): 694_659_840,
}


@pytest.mark.parametrize(("family", "part"), COUNTS)
def test_the_configurations_build_networks_of_the_published_size(family: str, part: str) -> None:
    folder = CONFIGS / family / part
    with init_empty_weights():
        if part.startswith("text"):
            kind = CLIPTextModelWithProjection if part.endswith("_2") else CLIPTextModel
            network = kind(CLIPTextConfig.from_pretrained(folder))
        else:
            kind = UNet2DConditionModel if part == "unet" else AutoencoderKL
            network = kind.from_config(json.loads((folder / "config.json").read_text()))
    assert sum(parameter.numel() for parameter in network.parameters()) == COUNTS[family, part]
    if part == "unet":
        structure = base_structure(network)
        known = FAMILIES[family]
        assert structure["base_channels"] == known.base_channels
        assert structure["context_width"] == known.context_width


def test_a_short_prompt_gives_the_states_that_diffusers_gives(parts: ldm_names.Parts) -> None:
    tokenizers = []
    for index in range(len(parts.encoders)):
        pad = "!" if index or parts.family == "sd21" else "<|endoftext|>"
        tokenizers.append(load_tokenizer(Path("single.safetensors")))
        tokenizers[-1].pad_token = pad
    ours = PromptEncoder(tokenizers, parts.encoders, chunk=75).encode("a photo of a cat", "ugly, blurry")
    own = {"vae": parts.vae, "unet": parts.unet, "scheduler": DDIMScheduler(steps_offset=1, clip_sample=False)}
    own |= {"tokenizer": tokenizers[0], "text_encoder": parts.encoders[0]}
    if parts.family == "sdxl":
        second = {"tokenizer_2": tokenizers[1], "text_encoder_2": parts.encoders[1]}
        pipeline = StableDiffusionXLPipeline(**own, **second, add_watermarker=False)
    else:
        unchecked = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
        pipeline = StableDiffusionPipeline(**own, **unchecked)
    with torch.no_grad():
        theirs = pipeline.encode_prompt(
            prompt="a photo of a cat",
            negative_prompt="ugly, blurry",
            device=CPU,
            num_images_per_prompt=1,
            do_classifier_free_guidance=True,
        )
    for states, context in zip(ours, theirs[:2], strict=True):
        assert torch.equal(states.context, context)
    for states, pooled in zip(ours, theirs[2:], strict=False):
        assert torch.equal(states.pooled, pooled)
