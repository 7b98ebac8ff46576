"""Guidance beside diffusers' own."""

import pytest
import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import rescale_noise_cfg

from cnxs.samplers import guide


def test_rescaled_guidance_is_that_of_diffusers_image_by_image() -> None:
    output = torch.randn(6, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    negative, prompted = output.chunk(2)
    scales, rescales = (7.5, 4.0, 1.0), (1.0, 0.4, 0.7)
    guided = guide(output, torch.tensor(scales), torch.tensor(rescales))
    for image in range(3):
        one = slice(image, image + 1)
        widened = negative[one] + scales[image] * (prompted[one] - negative[one])
        theirs = rescale_noise_cfg(widened, prompted[one], guidance_rescale=rescales[image])
        torch.testing.assert_close(guided[one], theirs)  # the same numbers, added up in another order


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_without_rescale_guidance_is_the_plain_formula_bit_for_bit(dtype: torch.dtype) -> None:
    output = torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(0)).to(dtype)
    negative, prompted = output.chunk(2)
    scale, none, second, all_ = (torch.tensor(pair, dtype=dtype) for pair in ((3, 5), (0, 0), (0, 1), (1, 1)))
    plain = negative + scale[:, None, None, None] * (prompted - negative)
    assert torch.equal(guide(output, scale), plain)
    assert torch.equal(guide(output, scale, none), plain)
    assert torch.equal(guide(output, scale, second)[:1], plain[:1])
    assert guide(output, scale, all_).dtype == dtype
