"""The safety checker that some bases ship: it looks at finished pictures, and what it flags is not shown."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from PIL.Image import Image, new
from transformers import CLIPImageProcessor

from cnxs.bases.folder import load_part
from cnxs.errors import CheckpointError

GREY = (128, 128, 128)


class SafetyChecker:
    """Flags pictures with the networks of one base.

    Args:
        model: diffusers' checker.
        processor: brings pictures to the model's size and range.
    """

    def __init__(self, model: StableDiffusionSafetyChecker, processor: CLIPImageProcessor) -> None:
        self._model: Any = model
        self._processor: Any = processor

    @torch.inference_mode()
    def flags(self, picture: Image) -> bool:
        """Say whether an RGB picture must not be shown."""
        pixels = self._processor(picture, return_tensors="pt").pixel_values
        weights = next(self._model.parameters())
        # The checker blackens what it flags; here a picture of one pixel stands for it.
        stand_in = np.zeros((1, 1, 1, 3), np.float32)
        _, flagged = self._model(clip_input=pixels.to(weights.device, weights.dtype), images=stand_in)
        return bool(flagged[0])


def load_checker(folder: Path, *, device: torch.device) -> SafetyChecker | None:
    """Load the checker of a base folder in diffusers' layout; None where it ships none.

    Args:
        folder: the base; a single file has no checker.
        device: where the checker runs, in float32.

    Raises:
        CheckpointError: if it is damaged, or there as a pickle only.
    """
    if not (folder / "safety_checker").is_dir():
        return None
    try:
        model = load_part(StableDiffusionSafetyChecker, folder / "safety_checker", torch.float32)
        processor = CLIPImageProcessor.from_pretrained(folder / "feature_extractor", local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError("base_incomplete", folder=folder.name, reason=str(error).split("\n")[0]) from error
    return SafetyChecker(model.to(device).eval().requires_grad_(False), processor)


def hidden(picture: Image) -> Image:
    """Return what is shown in place of a flagged picture: grey, of its size."""
    return new("RGB", picture.size, GREY)
