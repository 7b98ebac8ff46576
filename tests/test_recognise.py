"""Weight files, told from their keys and shapes alone."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from cnxs.checkpoints import native
from cnxs.errors import CheckpointError
from cnxs.recognise import Recognised, recognise, recognise_shapes
from tests import ldm_names, tiny

UNET = "model.diffusion_model."
Shapes = dict[str, tuple[int, ...]]


def shapes_of(family: str) -> Shapes:
    return {key: tuple(value.shape) for key, value in ldm_names.original(ldm_names.parts(family)).items()}


@pytest.mark.parametrize("family", ldm_names.FAMILIES)
def test_checkpoints_are_bases_of_their_family(family: str) -> None:
    assert recognise_shapes(shapes_of(family)) == Recognised("base", family)


@pytest.mark.parametrize(("width", "family"), [(768, "sd15"), (1024, "sd21"), (2048, "sdxl")])
def test_without_text_encoders_the_text_width_tells_the_family(width: int, family: str) -> None:
    shapes = {
        f"{UNET}input_blocks.0.0.weight": (320, 4, 3, 3),
        f"{UNET}input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight": (640, width),
    }
    assert recognise_shapes(shapes) == Recognised("base", family)


REFINER = {"conditioner.embedders.0.model.token_embedding.weight": (49408, 1280)}
# What a file holds beside the tiny checkpoint -> why it cannot be used.
PROBLEMS: dict[str, tuple[str, Shapes]] = {
    "base_is_inpainting": ("sd15", {f"{UNET}input_blocks.0.0.weight": (16, 9, 3, 3)}),
    "base_channels": ("sd15", {f"{UNET}input_blocks.0.0.weight": (16, 8, 3, 3)}),
    "base_is_distilled": ("sd15", {f"{UNET}time_embed.cond_proj.weight": (16, 256)}),
    "base_is_refiner": ("sdxl", REFINER),
}


@pytest.mark.parametrize("problem", PROBLEMS)
def test_bases_that_cannot_be_used_say_why(problem: str) -> None:
    family, extra = PROBLEMS[problem]
    found = recognise_shapes(shapes_of(family) | extra)
    assert found == Recognised("base", family, problem)
    with pytest.raises(CheckpointError) as caught:
        found.as_base("artist.safetensors")
    assert caught.value.key == problem
    assert caught.value.sentence("de") != caught.value.sentence("en")


# One or two keys that files of each kind have, as their makers write them.
OTHERS: dict[str, tuple[Recognised, Shapes]] = {
    "kohya LoRA": (
        Recognised("lora", "sd15"),
        {
            "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k.lora_down.weight": (4, 768),
            "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k.lora_up.weight": (320, 4),
        },
    ),
    "diffusers LoRA": (
        Recognised("lora", "sdxl"),
        {"unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.lora_A.weight": (8, 2048)},
    ),
    "embedding": (Recognised("embedding", "sd21"), {"emb_params": (3, 1024)}),
    "SDXL embedding": (Recognised("embedding", "sdxl"), {"clip_l": (2, 768), "clip_g": (2, 1280)}),
    "VAE": (Recognised("vae"), {"encoder.conv_in.weight": (128, 3, 3, 3), "decoder.conv_in.weight": (512, 4, 3, 3)}),
    "ControlNet": (Recognised("controlnet"), {"control_model.zero_convs.0.0.weight": (320, 320, 1, 1)}),
    "T2I-Adapter": (Recognised("t2i_adapter"), {"adapter.body.0.resnets.0.block1.weight": (320, 320, 3, 3)}),
    "FLUX": (Recognised("flux"), {"double_blocks.0.img_attn.qkv.weight": (9216, 3072)}),
    "FLUX checkpoint": (Recognised("flux"), {f"{UNET}double_blocks.0.img_attn.qkv.weight": (9216, 3072)}),
    "SD 3": (Recognised("sd3"), {f"{UNET}joint_blocks.0.x_block.attn.qkv.weight": (4608, 1536)}),
    "IP-Adapter": (Recognised("ip_adapter"), {"image_proj.proj.weight": (3072, 1024)}),
    "U-Net of diffusers": (
        Recognised("unet", "sd15"),
        {
            "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight": (320, 768),
            "up_blocks.0.resnets.0.conv1.weight": (1280, 2560, 3, 3),
        },
    ),
    "text encoder": (Recognised("text_encoder"), {"text_model.embeddings.token_embedding.weight": (49408, 768)}),
    "authors' ControlNet-XS": (Recognised("control"), {"enc_zero_convs_in.0.weight": (64, 384, 1, 1)}),
    "video model": (
        Recognised("unknown"),
        {
            f"{UNET}input_blocks.0.0.weight": (320, 4, 3, 3),
            f"{UNET}input_blocks.1.0.time_stack.in_layers.0.weight": (320,),
        },
    ),
    "something": (Recognised("unknown"), {"layer.weight": (3, 3)}),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_files_are_named_and_refused_as_a_base(name: str, tmp_path: Path) -> None:
    expected, shapes = OTHERS[name]
    save_file({key: np.zeros(shape, np.uint8) for key, shape in shapes.items()}, tmp_path / "file.safetensors")
    found = recognise(tmp_path / "file.safetensors")
    assert found == expected
    with pytest.raises(CheckpointError) as caught:
        found.as_base("file.safetensors")
    assert "file.safetensors" in caught.value.sentence()


def test_our_own_controls_are_controls(tmp_path: Path) -> None:
    native.save(tiny.control(tiny.unet("sd21")), tmp_path / "ours.safetensors")
    assert recognise(tmp_path / "ours.safetensors").kind == "control"


def test_a_pickle_is_recognised_as_well(tmp_path: Path) -> None:
    torch.save({"state_dict": ldm_names.original(ldm_names.parts("sd15"))}, tmp_path / "old.ckpt")
    assert recognise(tmp_path / "old.ckpt") == Recognised("base", "sd15")


def test_recognising_loads_no_torch() -> None:
    script = "import sys, cnxs.recognise; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parent.parent, check=True)
