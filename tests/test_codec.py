"""Between pixels and latents."""

from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file
from torch.nn import functional

from cnxs.codec import KLCodec, LatentCodec, PatchCodec, fit_projection
from cnxs.errors import CheckpointError
from cnxs.miniature import ASSETS
from cnxs.miniature.cases import load_pictures
from cnxs.miniature.preview import preview_correlation


@pytest.fixture(scope="module")
def patch_codec() -> PatchCodec:
    return PatchCodec.load(ASSETS)


@pytest.fixture(scope="module")
def pixels() -> torch.Tensor:
    """Return eight held-out pictures (8, 3, 256, 256) in [-1, 1]."""
    return torch.from_numpy(load_pictures()[:8]).permute(0, 3, 1, 2).float() / 127.5 - 1


@pytest.fixture
def kl_codec() -> KLCodec:
    torch.manual_seed(0)
    autoencoder = AutoencoderKL(
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4,
        latent_channels=4,
        scaling_factor=0.5,
        shift_factor=0.25,
    )
    return KLCodec(autoencoder.eval())


def test_both_codecs_meet_the_protocol(patch_codec: PatchCodec, kl_codec: KLCodec) -> None:
    codecs: list[LatentCodec] = [patch_codec, kl_codec]
    for codec in codecs:
        pixels = torch.rand(2, 3, 4 * codec.factor, 6 * codec.factor) * 2 - 1
        latents = codec.encode(pixels)
        assert latents.shape == (2, codec.latent_channels, 4, 6)
        decoded, preview = codec.decode(latents * 50), codec.preview(latents)
        assert decoded.shape == pixels.shape
        assert decoded.min() >= -1
        assert decoded.max() <= 1
        assert preview.shape[:2] == (2, 3)
        assert preview.shape[-1] * 4 == preview.shape[-2] * 6
        assert preview.min() >= 0
        assert preview.max() <= 1


def test_patch_codec_reconstructs_held_out_pictures(patch_codec: PatchCodec, pixels: torch.Tensor) -> None:
    latents = patch_codec.encode(pixels)
    assert 0.7 < latents.std() < 1.3
    error = functional.mse_loss(patch_codec.decode(latents), pixels)
    assert 10 * torch.log10(4 / error) > 25  # decibels


def test_preview_resembles_the_decoded_picture(patch_codec: PatchCodec, pixels: torch.Tensor) -> None:
    latents = patch_codec.encode(pixels)
    decoded = functional.avg_pool2d(patch_codec.decode(latents), 4)
    preview = patch_codec.preview(latents)
    assert preview.shape == decoded.shape == (8, 3, 64, 64)
    for one_preview, one_decoded in zip(preview, decoded, strict=True):
        assert preview_correlation(one_preview, one_decoded) > 0.9
    assert (preview * 2 - 1 - decoded).abs().mean() < 0.06


def test_latents_keep_the_dtype_of_the_pixels(patch_codec: PatchCodec) -> None:
    assert patch_codec.encode(torch.zeros(1, 3, 32, 32, dtype=torch.float64)).dtype == torch.float64


@pytest.mark.parametrize("damage", ["missing", "extra", "misshapen"])
def test_damaged_autoencoder_is_refused_by_name(tmp_path, damage: str) -> None:
    weights = load_file(ASSETS / "autoencoder.safetensors")
    if damage == "missing":
        del weights["dec.0.bias"]
    elif damage == "extra":
        weights["surplus"] = torch.zeros(1)
    else:
        weights["dec.0.bias"] = torch.zeros(3)
    save_file(weights, tmp_path / "autoencoder.safetensors")
    with pytest.raises(CheckpointError) as caught:
        PatchCodec.load(tmp_path)
    assert caught.value.key == "codec_weights_differ"
    assert caught.value.fields["keys"] == ("surplus" if damage == "extra" else "dec.0.bias")


def test_unreadable_autoencoder_gets_a_sentence(tmp_path) -> None:
    (tmp_path / "autoencoder.safetensors").write_bytes(b"not weights")
    with pytest.raises(CheckpointError, match=r"autoencoder\.safetensors cannot be read"):
        PatchCodec.load(tmp_path)
    with pytest.raises(CheckpointError, match="cannot be read"):
        PatchCodec.load(tmp_path / "nowhere")


def test_kl_latents_are_shifted_and_scaled(kl_codec: KLCodec) -> None:
    pixels = torch.rand(1, 3, 16, 16) * 2 - 1
    with torch.no_grad():
        mode = kl_codec.autoencoder.encode(pixels).latent_dist.mode()
        decoded = kl_codec.autoencoder.decode(mode).sample.clamp(-1, 1)
    latents = kl_codec.encode(pixels)
    torch.testing.assert_close(latents, (mode - 0.25) * 0.5)
    torch.testing.assert_close(kl_codec.decode(latents), decoded)


def test_kl_samples_with_a_generator_and_else_returns_the_mode(kl_codec: KLCodec) -> None:
    pixels = torch.rand(1, 3, 16, 16) * 2 - 1
    first, again = (kl_codec.encode(pixels, torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, kl_codec.encode(pixels, torch.Generator().manual_seed(2)))
    assert torch.equal(kl_codec.encode(pixels), kl_codec.encode(pixels))


def test_half_precision_is_left_where_it_overflows(kl_codec: KLCodec) -> None:
    autoencoder = kl_codec.autoencoder.half()
    autoencoder.register_to_config(force_upcast=True)
    assert KLCodec(autoencoder).autoencoder.dtype == torch.float32
    autoencoder.register_to_config(force_upcast=False)
    assert KLCodec(autoencoder.half()).autoencoder.dtype == torch.float16


def test_a_batch_is_worked_on_one_by_one_and_large_images_in_tiles_where_memory_is_short(kl_codec: KLCodec) -> None:
    shapes: list[torch.Size] = []
    decoder: Any = kl_codec.autoencoder.decoder
    decoder.conv_in.register_forward_pre_hook(lambda module, given: shapes.append(given[0].shape))
    small, large = torch.randn(2, 4, 16, 12), torch.randn(1, 4, 40, 24)
    whole = kl_codec.decode(small), kl_codec.decode(large)
    assert [shape[0] for shape in shapes] == [1, 1, 1]
    assert shapes[-1] == large.shape
    shapes.clear()
    kl_codec.spare_memory()
    assert torch.equal(kl_codec.decode(small), whole[0]), "an image of the size it was trained on is not cut"
    assert kl_codec.decode(large).shape == whole[1].shape == (1, 3, 80, 48)
    assert max(max(shape[2:]) for shape in shapes) == 16
    assert kl_codec.encode(whole[1]).shape == large.shape


@pytest.mark.parametrize("kernel", [1, 3])
def test_projection_finds_a_linear_relation(kernel: int) -> None:
    generator = torch.Generator().manual_seed(3)
    latents = torch.randn(4, 5, 12, 12, generator=generator)
    weight = torch.randn(12, 5, kernel, kernel, generator=generator)
    pixels = functional.pixel_shuffle(functional.conv2d(latents, weight, padding=kernel // 2) + 0.5, 2)
    projection = fit_projection(latents, pixels, kernel=kernel)
    assert projection.shape == (1 + 5 * kernel**2, 12)
    torch.testing.assert_close(projection[0], torch.full((12,), 0.5), atol=1e-4, rtol=0)
    torch.testing.assert_close(projection[1:].T, weight.flatten(1), atol=1e-4, rtol=0)
