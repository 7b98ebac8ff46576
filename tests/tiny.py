"""Tiny Stable-Diffusion-like networks, seeded and built in code, and inputs for them."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from diffusers import UNet2DConditionModel

from cnxs.model import ControlNetXS, base_structure
from cnxs.specs import ControlSpec

CONTEXT_WIDTH = 16
TOKENS = 5
KINDS = ("sd15", "sd21", "sdxl", "miniature")

_SD = {
    "block_out_channels": (16, 16, 32),
    "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    "layers_per_block": 2,
    "cross_attention_dim": CONTEXT_WIDTH,
    "norm_num_groups": 8,
    "attention_head_dim": 2,
    "use_linear_projection": True,
}
_CHANGES: Mapping[str, Mapping[str, object]] = {
    "sd15": {"use_linear_projection": False},
    "sd21": {},
    "sdxl": {
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "transformer_layers_per_block": (1, 2, 1),
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 4,
        "projection_class_embeddings_input_dim": 8 + 6 * 4,
    },
    "miniature": {"in_channels": 16, "out_channels": 16},
}


def unet(kind: str = "sd21", *, seed: int = 0, **changes: object) -> UNet2DConditionModel:
    """Return a random base U-Net of one kind, in evaluation mode, under 1 MB."""
    torch.manual_seed(seed)
    return UNet2DConditionModel(**{**_SD, **_CHANGES[kind], **changes}).eval()


def spec(base: UNet2DConditionModel, **changes: object) -> ControlSpec:
    """Return the spec of a control of half the base's width."""
    structure = base_structure(base)
    fields: dict[str, object] = {
        "control_channels": tuple(width // 2 for width in structure["base_channels"]),
        "head_channels": None if "num_heads" in changes else 8,
        "base_family": "miniature" if structure["latent_channels"] == 16 else "sd21",
        "condition": "canny",
    }
    if structure["latent_channels"] == 16:
        fields |= {"hint_net": "unshuffle", "hint_factor": 16, "min_group_channels": 4}
    return ControlSpec(**{**structure, **fields, **changes})


def control(base: UNet2DConditionModel, *, seed: int = 1, trained: bool = True, **changes: object) -> ControlNetXS:
    """Return a control for a base; `trained`: with its zero convolutions filled, so that it acts."""
    torch.manual_seed(seed)
    network = ControlNetXS(spec(base, **changes)).eval()
    if trained:
        fill(network, seed=seed + 1)
    return network


@torch.no_grad()
def fill(network: ControlNetXS, *, seed: int) -> None:
    """Put random numbers into every layer that starts at zero."""
    torch.manual_seed(seed)
    for parameter in network.parameters():
        if not parameter.any():
            parameter.normal_(std=0.1)


@dataclass(frozen=True)
class Inputs:
    """What a coupled call takes, for some images."""

    sample: torch.Tensor
    timestep: torch.Tensor
    context: torch.Tensor
    control_map: torch.Tensor
    added: dict[str, torch.Tensor] | None

    def base_kwargs(self) -> dict[str, object]:
        return {"added_cond_kwargs": self.added, "return_dict": False}


def inputs(
    base: UNet2DConditionModel, *, batch: int = 2, size: tuple[int, int] = (8, 8), factor: int = 8, seed: int = 3
) -> Inputs:
    """Return random inputs; `size` is the latent's height and width, `factor` the map's pixels per latent pixel."""
    torch.manual_seed(seed)
    added = None
    if base.config.addition_embed_type == "text_time":
        added = {"text_embeds": torch.randn(batch, 8), "time_ids": torch.rand(batch, 6) * 64}
    return Inputs(
        sample=torch.randn(batch, base.config.in_channels, *size),
        timestep=torch.linspace(900, 100, batch).long(),
        context=torch.randn(batch, TOKENS, CONTEXT_WIDTH),
        control_map=torch.rand(batch, 3, factor * size[0], factor * size[1]),
        added=added,
    )
