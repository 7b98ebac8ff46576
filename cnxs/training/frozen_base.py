"""A base to train on: everything that is read and nothing that is changed."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from diffusers import DDPMScheduler
from diffusers.models.attention_processor import AttnProcessor

from cnxs.bases import LoadedBase, load_folder
from cnxs.errors import CheckpointError, InputError
from cnxs.miniature import ASSETS
from cnxs.registry import BASE_MODELS, MINIATURE
from cnxs.specs import BaseModelSpec

# Width of the text states -> name of the model that stands for the family.
_BY_CONTEXT_WIDTH = {768: "sd15", 1024: "sd21-base", 2048: "sdxl"}


@dataclass(frozen=True)
class FrozenBase:
    """A base model in memory, without gradients, and what training reads of it beside its U-Net and codec."""

    loaded: LoadedBase

    @property
    def unet(self) -> Any:
        """Return the U-Net, a `UNet2DConditionModel`."""
        return self.loaded.unet

    @cached_property
    def scheduler(self) -> Any:
        """Return the schedule of noise that the base was trained with, a `DDPMScheduler`."""
        return DDPMScheduler.from_config(self.loaded.scheduler_config)

    @torch.no_grad()
    def encode_captions(self, captions: list[str]) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return text states (N, S, D), and pooled states (N, P) on SDXL. Captions over one chunk are cut."""
        prompts = self.loaded.prompts
        states, pooled = [], None
        for tokenizer, encoder in zip(prompts.tokenizers, prompts.text_encoders, strict=True):
            tokens = tokenizer(captions, padding="max_length", max_length=prompts.chunk + 2, truncation=True)
            output = encoder(torch.tensor(tokens.input_ids, device=encoder.device), output_hidden_states=True)
            # SDXL was trained on the layer before the last, without the final norm.
            alone = len(prompts.text_encoders) == 1
            states.append(output.last_hidden_state if alone else output.hidden_states[-2])
            pooled = getattr(output, "text_embeds", None)
        return torch.cat(states, dim=-1), pooled


def load_base(given: str, *, device: torch.device, dtype: torch.dtype) -> FrozenBase:
    """Load a base model: "miniature", or a folder in diffusers' layout.

    Raises:
        InputError: `training_base` if it is neither.
        CheckpointError: if a part of it is missing or damaged.
    """
    folder = _folder(given)
    spec = base_spec(folder)
    loaded = load_folder(folder, spec, device=device, dtype=dtype)
    if spec is MINIATURE and device.type == "cpu":
        # PyTorch's fused attention is slow backward at so few positions: plain products train 1.4 times as fast.
        loaded.unet.set_attn_processor(AttnProcessor())
    return FrozenBase(loaded)


def family_of(given: str) -> str:
    """Return the family of a base model without loading it.

    Raises:
        InputError, CheckpointError: as `load_base`.
    """
    return base_spec(_folder(given)).family


def _folder(given: str) -> Path:
    folder = ASSETS if given == MINIATURE.name else Path(given)
    if not (folder / "unet" / "config.json").is_file():
        raise InputError("training_base", given=given)
    return folder


def base_spec(folder: Path) -> BaseModelSpec:
    """Return the registry's model that a base folder is a kind of.

    Raises:
        CheckpointError: `base_incomplete` if its U-Net is of no kind that is known.
    """
    if (folder / "autoencoder.safetensors").is_file():
        return MINIATURE
    width = json.loads((folder / "unet" / "config.json").read_text("utf-8")).get("cross_attention_dim")
    if width not in _BY_CONTEXT_WIDTH:
        raise CheckpointError("base_incomplete", folder=folder.name, reason=f"cross_attention_dim = {width}")
    return BASE_MODELS[_BY_CONTEXT_WIDTH[width]]
