"""Widths, groups and heads: the rules of the authors' small layers, by example."""

import pytest
import torch

from cnxs import layers
from cnxs.blocks import control_resnet
from cnxs.hint import HintEncoder
from cnxs.specs import ControlSpec
from tests import tiny

BASE = tiny.unet()


def spec(**changes: object) -> ControlSpec:
    return tiny.spec(BASE, **changes)


@pytest.mark.parametrize("number", [1, 2, 7, 12, 41, 54, 324, 1296])
@pytest.mark.parametrize("limit", [1, 5, 8, 32, 2000])
def test_largest_divisor(number: int, limit: int) -> None:
    found = layers.largest_divisor(number, limit)
    assert found <= limit
    assert number % found == 0
    assert not any(number % candidate == 0 for candidate in range(found + 1, min(number, limit) + 1))


@pytest.mark.parametrize(
    ("channels", "groups"),
    [(4, 4), (22, 22), (32, 32), (41, 1), (54, 27), (82, 2), (96, 32), (118, 2), (324, 27), (336, 28), (672, 32)],
)
def test_norm_groups_are_the_largest_divisor_up_to_32(channels: int, groups: int) -> None:
    assert layers.norm_groups(channels, spec()) == groups
    norm = layers.group_norm(channels, spec(), eps=1e-5)
    assert (norm.num_groups, norm.num_channels, norm.eps) == (groups, channels, 1e-5)


@pytest.mark.parametrize(("channels", "groups"), [(3, 1), (4, 1), (8, 2), (16, 4), (54, 9), (256, 32)])
def test_norm_groups_hold_at_least_min_group_channels(channels: int, groups: int) -> None:
    assert layers.norm_groups(channels, spec(min_group_channels=4)) == groups


def test_norm_groups_stay_below_max_norm_groups() -> None:
    assert layers.norm_groups(64, spec(max_norm_groups=8)) == 8


@pytest.mark.parametrize(
    ("channels", "limit", "expected"),
    [(4, 8, (1, 4)), (8, 8, (1, 8)), (16, 8, (2, 8)), (9, 8, (3, 3)), (18, 8, (3, 6)), (22, 16, (2, 11))],
)
def test_a_head_is_the_largest_divisor_up_to_head_channels(
    channels: int, limit: int, expected: tuple[int, int]
) -> None:
    assert layers.attention_heads(channels, spec(head_channels=limit)) == expected


@pytest.mark.parametrize(
    ("channels", "heads", "expected"), [(64, 8, (8, 8)), (256, 8, (8, 32)), (16, 8, (8, 8)), (22, 2, (2, 11))]
)
def test_a_fixed_number_of_heads_is_never_wider_than_its_heads(
    channels: int, heads: int, expected: tuple[int, int]
) -> None:
    fixed = spec(num_heads=heads, head_channels=None)
    assert layers.attention_heads(channels, fixed) == expected
    assert layers.decoder_attention_heads(channels, fixed) == (heads, channels // heads)


def test_the_decoder_of_type_c_takes_the_middles_head_width() -> None:
    mirrored = spec(control_type="C", control_channels=(18, 18, 36), head_channels=8)
    assert layers.attention_heads(36, mirrored) == (6, 6)
    assert layers.decoder_attention_heads(18, mirrored) == (3, 6)
    # Where the middle's width does not come from the level's own rule: 16 channels alone would take heads of 8.
    narrow = spec(control_type="C", control_channels=(16, 16, 20), head_channels=8)
    assert layers.attention_heads(16, narrow) == (2, 8)
    assert layers.decoder_attention_heads(16, narrow) == (3, 5)


def test_a_transformer_follows_the_spec() -> None:
    block = layers.transformer(18, spec(transformer_norm_eps=1e-5), depth=3, heads=(3, 6))
    assert (block.norm.num_groups, block.norm.eps, len(block.transformer_blocks)) == (18, 1e-5, 3)
    assert isinstance(block.proj_in, torch.nn.Linear)
    assert isinstance(
        layers.transformer(18, spec(linear_projection=False), depth=1, heads=(3, 6)).proj_in, torch.nn.Conv2d
    )


def test_a_zero_convolution_starts_at_zero() -> None:
    assert not layers.zero_conv(3, 5)(torch.randn(2, 3, 4, 4)).any()


def test_the_embedding_weight_is_0_at_0_and_1_at_1_and_grows_as_the_power_of_0_3() -> None:
    weights = layers.embedding_weight(torch.tensor([0.0, 0.5, 1.0, 2.0]))
    assert weights[0] == 0
    assert weights[2] == 1
    torch.testing.assert_close(weights, torch.tensor([0.0, 0.5**0.3, 1.0, 2.0**0.3]))


@torch.no_grad()
def test_one_channel_per_group_makes_a_resblock_blind_to_the_timestep() -> None:
    h, times = torch.randn(2, 24, 8, 8), torch.randn(2, 64)
    torch.manual_seed(0)
    blind, seeing = control_resnet(24, 8, spec()), control_resnet(24, 8, spec(min_group_channels=4))
    assert (blind(h, times) - blind(h, 2 * times)).abs().max() < 1e-5
    assert (seeing(h, times) - seeing(h, 2 * times)).abs().max() > 1e-2


@pytest.mark.parametrize(
    ("net", "factor", "channels"), [("convolutions", 8, 3), ("unshuffle", 8, 3), ("unshuffle", 16, 1)]
)
@torch.no_grad()
def test_a_hint_has_the_latents_grid_and_starts_alive(net: str, factor: int, channels: int) -> None:
    encoder = HintEncoder(spec(hint_net=net, hint_factor=factor, hint_channels=channels))
    hint = encoder(torch.rand(2, channels, 5 * factor, 7 * factor))
    assert hint.shape == (2, 8, 5, 7)
    assert hint.std() > 1e-3


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_pointwise_convolution_is_one_and_keeps_the_layout(layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    pointwise = layers.PointwiseConv(6, 10)
    x = torch.randn(2, 6, 4, 5).contiguous(memory_format=layout)
    found = pointwise(x)
    wanted = torch.nn.functional.conv2d(x, pointwise.weight, pointwise.bias)
    torch.testing.assert_close(found, wanted)  # sums of 6 products in another order
    assert found.is_contiguous(memory_format=layout)
