"""A base to train on: everything that is read and nothing that is changed."""

import json
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from diffusers import DDPMScheduler
from diffusers.models.attention_processor import AttnProcessor

from cnxs import bases
from cnxs.bases import LoadedBase
from cnxs.errors import CheckpointError, InputError, UnavailableError
from cnxs.recognise import CONTEXT_WIDTHS, recognise
from cnxs.registry import BASE_MODELS, MINIATURE
from cnxs.specs import BaseModelSpec
from cnxs.training.config import Prediction
from cnxs.weights import FoundBase, Library

# Family -> name of the model that stands for it.
_OF_FAMILY = {"sd15": "sd15", "sd21": "sd21-base", "sdxl": "sdxl"}


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


def load_base(
    given: str,
    *,
    device: torch.device,
    dtype: torch.dtype,
    models: Path | None = None,
    prediction: Prediction = "auto",
) -> FrozenBase:
    """Load a base model.

    Args:
        given: as for `find_base`.
        device: where its networks go.
        dtype: of its networks.
        models: as for `find_base`.
        prediction: what its U-Net predicts; "auto": what the model says or shows of itself.

    Raises:
        InputError: `training_prediction` if it shows nothing; those of `find_base`.
        UnavailableError: as `find_base`.
        CheckpointError: if a part of it is missing or damaged.
    """
    found = find_base(given, models)
    assert found.path is not None
    loaded = bases.load_base(found.path, found.spec, device=device, dtype=dtype)
    if prediction != "auto":
        loaded = replace(loaded, scheduler_config={**loaded.scheduler_config, "prediction_type": prediction})
    if loaded.scheduler_config.get("prediction_type") == bases.UNDECIDED:
        raise InputError("training_prediction", given=given)
    if found.spec is MINIATURE and device.type == "cpu":
        # PyTorch's fused attention is slow backward at so few positions: plain products train 1.4 times as fast.
        loaded.unet.set_attn_processor(AttnProcessor())
    return FrozenBase(loaded)


def find_base(given: str, models: Path | None = None) -> FoundBase:
    """Return a base model's spec and place without loading it.

    Args:
        given: a folder in diffusers' layout; a single file with the original names; or a name: "miniature", "sd15",
            "sd21", "sdxl", or that of a model in `models`.
        models: the user's models, where those known by name are downloaded to.

    Raises:
        InputError: `training_base` for a folder that is none, `unknown_base` for another name.
        UnavailableError: `base_not_here` for a known name whose files are not here.
        CheckpointError: for a file that is no base, by the name of what it is.
    """
    path = Path(given)
    if path.is_dir():
        if not (path / "unet" / "config.json").is_file():
            raise InputError("training_base", given=given)
        return FoundBase(base_spec(path), path)
    if path.is_file():
        return FoundBase(BASE_MODELS[_OF_FAMILY[recognise(path).as_base(path.name)]], path)
    found = Library(models).base(_OF_FAMILY.get(given, given))
    if found.path is None:
        raise UnavailableError("base_not_here", base=found.spec.label)
    return found


def base_spec(folder: Path) -> BaseModelSpec:
    """Return the registry's model that a base folder is a kind of.

    Raises:
        CheckpointError: `base_incomplete` if its U-Net is of no kind that is known.
    """
    if (folder / "autoencoder.safetensors").is_file():
        return MINIATURE
    width = json.loads((folder / "unet" / "config.json").read_text("utf-8")).get("cross_attention_dim")
    if width not in CONTEXT_WIDTHS:
        raise CheckpointError("base_incomplete", folder=folder.name, reason=f"cross_attention_dim = {width}")
    return BASE_MODELS[_OF_FAMILY[CONTEXT_WIDTHS[width]]]
