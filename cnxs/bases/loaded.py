"""What every loader of a base model returns, and the last steps that they share."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel

from cnxs.bases.embeddings import add_embeddings
from cnxs.codec import LatentCodec
from cnxs.prompts import PromptEncoder
from cnxs.specs import BaseModelSpec

CONFIGS = Path(__file__).parents[2] / "assets" / "configs"

UNDECIDED = "undecided"  # prediction type of a base that shows none


@dataclass(frozen=True)
class LoadedBase:
    """A base model in memory. Its parts are never changed by a request."""

    spec: BaseModelSpec
    unet: UNet2DConditionModel
    prompts: PromptEncoder
    codec: LatentCodec
    scheduler_config: dict[str, Any]  # "prediction_type" may be `UNDECIDED`: then each request must name one
    sha256: str  # of the U-Net's weight file, or of the single file: names the base inside a control's spec

    @property
    def modules(self) -> tuple[torch.nn.Module, ...]:
        """Every network of the base, for moving them between devices."""
        codec: Any = self.codec
        return (self.unet, codec.autoencoder, *self.prompts.text_encoders)


def finished(base: LoadedBase, *, device: torch.device, embeddings: Sequence[Path]) -> LoadedBase:
    """Add the textual-inversion embeddings, and move the networks to the device, frozen.

    Raises:
        CheckpointError: if an embedding is damaged or made for another base.
    """
    add_embeddings(base.prompts, embeddings)
    for module in base.modules:
        module.to(device).eval().requires_grad_(False)
    return base


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
