"""Parameters and multiply-adds of base and control, counted at full size on the meta device: nothing is computed."""

from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from cnxs.benchmark.random_models import NATIVE_SIZES, PUBLISHED, empty_control, empty_unet
from cnxs.model import ControlInput, CoupledUNet


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What one control adds to its base.

    Multiply-adds are those of convolutions, linear layers and attention in one call of the U-Net for one image at the
    family's native size; the hint is encoded once per image, so it is counted apart.
    """

    name: str
    base_parameters: int
    control_parameters: int
    base_multiply_adds: int
    coupled_multiply_adds: int
    hint_multiply_adds: int


def step_inputs(
    base: Any, *, size: int, batch: int = 1, device: torch.device, dtype: torch.dtype = torch.float32
) -> dict[str, Any]:
    """Return random arguments of one call of a U-Net: `sample`, `timestep`, `context`, `added`.

    Args:
        base: a `UNet2DConditionModel` of Stable Diffusion 1.x, 2.x or XL.
        size: of the picture, pixels; latents are an eighth of it.
        batch: images.
        device: where the arguments are made.
        dtype: of all but the timestep and the sizes.
    """
    side, width = size // 8, base.config.cross_attention_dim
    added = None
    if base.config.addition_embed_type == "text_time":
        added = {
            "text_embeds": torch.randn(batch, 1280, device=device, dtype=dtype),
            "time_ids": torch.tensor([[size, size, 0, 0, size, size]] * batch, device=device, dtype=torch.float32),
        }
    return {
        "sample": torch.randn(batch, base.config.in_channels, side, side, device=device, dtype=dtype),
        "timestep": torch.tensor(500, device=device),
        "context": torch.randn(batch, 77, width, device=device, dtype=dtype),
        "added": added,
    }


def count(name: str) -> Counts:
    """Count one of the published controls on its base."""
    family = PUBLISHED[name].family
    base, control, meta = empty_unet(family).eval(), empty_control(name).eval(), torch.device("meta")
    size = NATIVE_SIZES[family]
    given = step_inputs(base, size=size, device=meta)
    call = (given["sample"], given["timestep"], given["context"])
    coupled = CoupledUNet(base, [control])
    with torch.no_grad():
        with FlopCounterMode(display=False) as of_hint:
            hint = control.encode_hint(torch.zeros(1, 3, size, size, device=meta))
        with FlopCounterMode(display=False) as of_base:
            coupled(*call, [ControlInput(hint=hint, control_scale=0.0)], added_cond_kwargs=given["added"])
        with FlopCounterMode(display=False) as of_both:
            coupled(*call, [ControlInput(hint=hint)], added_cond_kwargs=given["added"])
    return Counts(
        name=name,
        base_parameters=sum(parameter.numel() for parameter in base.parameters()),
        control_parameters=sum(parameter.numel() for parameter in control.parameters()),
        base_multiply_adds=of_base.get_total_flops() // 2,
        coupled_multiply_adds=of_both.get_total_flops() // 2,
        hint_multiply_adds=of_hint.get_total_flops() // 2,
    )


def report_counts() -> None:
    """Print the counts of all published controls as a table."""
    print("\nCounted on the meta device; multiply-adds of one U-Net call for one image at the native size")
    print("| control | parameters | of the base | base, G | with control, G | ratio | hint, once, G |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for counts in map(count, PUBLISHED):
        base, both, hint = (
            n / 1e9 for n in (counts.base_multiply_adds, counts.coupled_multiply_adds, counts.hint_multiply_adds)
        )
        share = counts.control_parameters / counts.base_parameters
        own = f"{counts.name} | {counts.control_parameters / 1e6:.1f} M | {share:.1%}"
        print(f"| {own} | {base:.0f} | {both:.0f} | {both / base:.3f} | {hint:.1f} |")
