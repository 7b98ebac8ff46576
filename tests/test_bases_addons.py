"""A VAE of one's own, words of textual inversion, and LoRAs, on a tiny base."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from cnxs.bases import LoadedBase, load_folder
from cnxs.bases.loras import apply_loras, clear_loras
from cnxs.errors import CheckpointError
from cnxs.model import ControlInput, CoupledUNet
from cnxs.prompts import tokenize
from tests import ldm_names, tiny

CPU = torch.device("cpu")
WIDTH = 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ldm_names.save_folder(ldm_names.parts("sd15"), tmp_path_factory.mktemp("bases") / "base")


@pytest.fixture(scope="module")
def folder_xl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ldm_names.save_folder(ldm_names.parts("sdxl"), tmp_path_factory.mktemp("bases") / "base")


def load(folder: Path, family: str = "sd15", **options: object) -> LoadedBase:
    return load_folder(folder, ldm_names.spec_of(family), device=CPU, dtype=torch.float32, **options)  # pyright: ignore


# --- a VAE of one's own -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("names", ["diffusers", "original", "checkpoint", "folder"])
def test_another_vae_decodes_with_its_weights_and_the_bases_scaling(folder: Path, tmp_path: Path, names: str) -> None:
    other = ldm_names.parts("sd15", seed=7).vae
    file = tmp_path / "sd15.safetensors"
    if names == "folder":
        file = tmp_path / "vae"
        other.save_pretrained(file)
    else:
        weights = dict(other.state_dict()) if names == "diffusers" else ldm_names.vae_names(other)
        prefix = "first_stage_model." if names == "checkpoint" else ""
        save_file({prefix + key: value.contiguous().clone() for key, value in weights.items()}, file)
    base = load(folder, vae=file)
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = other.decode(latents / 0.18215).sample.clamp(-1, 1)
    assert torch.equal(base.codec.decode(latents), expected)
    assert not torch.equal(load(folder).codec.decode(latents), expected)


def test_a_file_that_is_no_vae_is_refused(folder: Path, tmp_path: Path) -> None:
    save_file({"emb_params": torch.zeros(1, WIDTH)}, tmp_path / "word.safetensors")
    with pytest.raises(CheckpointError) as caught:
        load(folder, vae=tmp_path / "word.safetensors")
    assert caught.value.key == "vae_is_other"


# --- textual inversion ------------------------------------------------------------------------------------------------


def test_a_word_of_two_vectors_is_two_tokens_with_those_vectors(folder: Path, tmp_path: Path) -> None:
    vectors = torch.randn(2, WIDTH, generator=torch.Generator().manual_seed(0))
    save_file({"emb_params": vectors}, tmp_path / "MyStyle.safetensors")
    plain, base = load(folder), load(folder, embeddings=[tmp_path / "MyStyle.safetensors"])
    ids, weights = tokenize(base.prompts.tokenizers[0], "a (<MyStyle>:1.5) cat", base.prompts.runs)
    assert ids == [320, 49408, 49409, 2368]
    assert weights == [1.0, 1.5, 1.5, 1.0]
    table = base.prompts.text_encoders[0].get_input_embeddings().weight
    assert torch.equal(table[49408:], vectors)
    same, other = (item.prompts.encode("a cat", "")[0].context for item in (plain, base))
    assert torch.equal(same, other)
    styled = base.prompts.encode("a <MyStyle> cat", "")[0].context
    assert not torch.equal(styled, plain.prompts.encode("a <MyStyle> cat", "")[0].context)


def test_both_encoders_of_sdxl_learn_the_word_and_pool_at_the_end(folder_xl: Path, tmp_path: Path) -> None:
    vectors = torch.randn(2, 1, WIDTH, generator=torch.Generator().manual_seed(0))
    save_file({"clip_l": vectors[0], "clip_g": vectors[1]}, tmp_path / "style.safetensors")
    base = load(folder_xl, "sdxl", embeddings=[tmp_path / "style.safetensors"])
    for encoder, expected in zip(base.prompts.text_encoders, vectors, strict=True):
        assert torch.equal(encoder.get_input_embeddings().weight[49408:], expected)
    base.prompts.text_encoders[1].text_model.eos_token_id = 49407
    first = base.prompts.encode("a <style> cat", "")[0].pooled
    second = base.prompts.encode("a <style> dog", "")[0].pooled
    assert not torch.equal(first, second)  # pooled at the new word, what follows it could not be heard


def test_embeddings_for_other_bases_and_pickles_are_refused(folder: Path, tmp_path: Path) -> None:
    save_file({"emb_params": torch.zeros(1, 2 * WIDTH)}, tmp_path / "wide.safetensors")
    save_file({"clip_l": torch.zeros(1, WIDTH), "clip_g": torch.zeros(1, WIDTH)}, tmp_path / "xl.safetensors")
    torch.save({"emb_params": torch.zeros(1, WIDTH)}, tmp_path / "old.pt")
    for name, key in (
        ("wide.safetensors", "embedding_other_base"),
        ("old.pt", "embedding_pickle"),
    ):
        with pytest.raises(CheckpointError) as caught:
            load(folder, embeddings=[tmp_path / name])
        assert caught.value.key == key


# --- LoRAs ------------------------------------------------------------------------------------------------------------

MODULE = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_q"
TEXT_MODULE = "encoder.layers.1.self_attn.out_proj"
RANK = 2


def delta(seed: int, out: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(RANK, width, generator=generator), torch.randn(out, RANK, generator=generator)


def save_lora(path: Path, *, kohya: bool, seed: int = 0) -> Path:
    """Write a LoRA on one layer of the U-Net and one of the text encoder."""
    down, up = delta(seed, 16, 16)
    text_down, text_up = delta(seed + 100, WIDTH, WIDTH)
    if kohya:
        unet = "lora_unet_" + MODULE.replace(".", "_")
        text = "lora_te_text_model_" + TEXT_MODULE.replace(".", "_")
        weights = {f"{unet}.lora_down.weight": down, f"{unet}.lora_up.weight": up}
        weights |= {f"{text}.lora_down.weight": text_down, f"{text}.lora_up.weight": text_up}
        weights |= {f"{name}.alpha": torch.tensor(float(RANK)) for name in (unet, text)}
    else:
        text = f"text_encoder.text_model.{TEXT_MODULE}"
        weights = {f"unet.{MODULE}.lora_A.weight": down, f"unet.{MODULE}.lora_B.weight": up}
        weights |= {f"{text}.lora_A.weight": text_down, f"{text}.lora_B.weight": text_up}
    save_file(weights, path)
    return path


@pytest.fixture
def base(folder: Path) -> LoadedBase:
    return load(folder)


def outputs(base: LoadedBase) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the coupled output with a control at work, and the text states."""
    inputs = tiny.inputs(base.unet, batch=1)
    context = base.prompts.encode("a photo of a cat", "")[0].context
    network = tiny.control(base.unet)
    with torch.no_grad():
        hint = ControlInput(hint=network.encode_hint(inputs.control_map))
        coupled = CoupledUNet(base.unet, [network])
        return coupled(inputs.sample, inputs.timestep, inputs.context[..., :WIDTH], [hint]), context


@pytest.mark.parametrize("kohya", [False, True], ids=["diffusers", "kohya"])
def test_loras_act_while_the_control_runs_and_leave_no_trace(base: LoadedBase, tmp_path: Path, kohya: bool) -> None:
    files = [save_lora(tmp_path / f"{seed}.safetensors", kohya=kohya, seed=seed) for seed in (0, 1)]
    before, names = outputs(base), list(base.unet.state_dict())
    apply_loras(base, [(files[0], 0.5), (files[1], -1.0)])
    found = outputs(base)
    clear_loras(base)
    # The same sum, put into the weights by hand.
    layer = base.unet.get_submodule(MODULE)
    text = base.prompts.text_encoders[0].get_submodule(TEXT_MODULE)
    kept = [item.weight.data.clone() for item in (layer, text)]
    for seed, weight in ((0, 0.5), (1, -1.0)):
        for item, (down, up) in ((layer, delta(seed, 16, 16)), (text, delta(seed + 100, WIDTH, WIDTH))):
            item.weight.data += weight * up @ down
    expected = outputs(base)
    for item, weight in zip((layer, text), kept, strict=True):
        item.weight.data = weight
    for one, other, plain in zip(found, expected, before, strict=True):
        assert torch.allclose(one, other, atol=1e-5)
        assert not torch.allclose(one, plain, atol=1e-3)
    assert list(base.unet.state_dict()) == names
    assert all(torch.equal(one, other) for one, other in zip(outputs(base), before, strict=True))
    assert not any(parameter.requires_grad for module in base.modules for parameter in module.parameters())


def test_applying_again_replaces_what_is_on_the_base(base: LoadedBase, tmp_path: Path) -> None:
    files = [save_lora(tmp_path / f"{seed}.safetensors", kohya=False, seed=seed) for seed in (0, 1)]
    apply_loras(base, [(files[1], 1.0)])
    alone = outputs(base)
    apply_loras(base, [(files[0], 1.0)])
    apply_loras(base, [(files[1], 1.0)])
    assert all(torch.equal(one, other) for one, other in zip(outputs(base), alone, strict=True))


def test_loras_that_do_not_fit_are_refused_and_leave_the_base_as_it_was(base: LoadedBase, tmp_path: Path) -> None:
    before = outputs(base)
    good = save_lora(tmp_path / "good.safetensors", kohya=False)
    wide = {
        f"unet.{MODULE}.lora_A.weight": torch.zeros(RANK, 32),
        f"unet.{MODULE}.lora_B.weight": torch.zeros(16, RANK),
    }
    elsewhere = {key.replace("down_blocks.1", "down_blocks.9"): value for key, value in wide.items()}
    other = {
        f"unet.{MODULE.replace('to_q', 'to_k')}.lora_A.weight": torch.zeros(RANK, 2048),
        f"unet.{MODULE.replace('to_q', 'to_k')}.lora_B.weight": torch.zeros(16, RANK),
    }
    part = elsewhere | {key: torch.zeros(RANK, 16) if "lora_A" in key else value for key, value in wide.items()}
    for weights, key in (
        (wide, "lora_unfit"),
        (elsewhere, "lora_unfit"),
        (part, "lora_unfit"),
        (other, "lora_other_base"),
        ({"emb_params": torch.zeros(1, WIDTH)}, "lora_is_other"),
    ):
        save_file({name: value.clone() for name, value in weights.items()}, tmp_path / "bad.safetensors")
        with pytest.raises(CheckpointError) as caught:
            apply_loras(base, [(good, 1.0), (tmp_path / "bad.safetensors", 1.0)])
        assert caught.value.key == key
        assert all(torch.equal(one, other) for one, other in zip(outputs(base), before, strict=True))
