"""The miniature's own feature space, in which generated pictures are compared with held-out ones."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from diffusers import DDPMScheduler
from PIL import Image

from cnxs.bases import LoadedBase
from cnxs.tensors import to_signed_tensor

DIMENSIONS = 32
_TIMESTEP = 100  # a little noise: the pictures as the U-Net knows them, nearly whole
_BATCH = 32


class FeatureSpace:
    """What the base's U-Net makes of a picture: the mean over the grid of its middle, with the empty prompt.

    Its 256 channels are projected to 32 by fixed random directions, at right angles: 128 pictures cannot fill more, and
    directions that are fitted to real pictures would not see what real pictures never have. The same noise is added to
    every picture. Divided by the spread of the references, so that 1 is of the size of what differs among those.

    Args:
        base: the miniature.
        references: pictures that set the scale, two or more.
    """

    def __init__(self, base: LoadedBase, references: Sequence[Image.Image]) -> None:
        self._base: Any = base
        generator = torch.Generator().manual_seed(8)
        channels = base.unet.config["block_out_channels"][-1]
        directions, _ = torch.linalg.qr(torch.randn(channels, channels, generator=generator, dtype=torch.float64))
        self._directions = directions[:, :DIMENSIONS].numpy()
        self._empty = base.prompts.encode("", "")[0].context
        self._noise = torch.randn(1, base.codec.latent_channels, 16, 16, generator=generator).to(self._empty.device)
        alphas = _alphas(base)
        self._signal, self._spread = float(alphas[_TIMESTEP] ** 0.5), float((1 - alphas[_TIMESTEP]) ** 0.5)
        self._scale = 1.0
        self.references = self.of(references)
        self._scale = float(np.sqrt(self.references.var(axis=0, ddof=1).sum()))
        self.references = self.references / self._scale

    @torch.inference_mode()
    def of(self, pictures: Sequence[Image.Image]) -> np.ndarray:
        """Return features (N, 32), float64, of RGB pictures of 256 x 256 pixels."""
        found = []
        for start in range(0, len(pictures), _BATCH):
            pixels = torch.cat([to_signed_tensor(picture) for picture in pictures[start : start + _BATCH]])
            noisy = self._signal * self._base.codec.encode(pixels.to(self._noise.device)) + self._spread * self._noise
            found.append(self._middle(noisy).mean((2, 3)).double().cpu().numpy() @ self._directions)
        return np.concatenate(found) / self._scale

    def _middle(self, noisy: torch.Tensor) -> torch.Tensor:
        """Return the output (B, C, h, w) of the U-Net's middle."""
        kept: list[torch.Tensor] = []
        hook = self._base.unet.mid_block.register_forward_hook(lambda _module, _given, output: kept.append(output))
        self._base.unet(noisy, _TIMESTEP, self._empty.expand(len(noisy), -1, -1))
        hook.remove()
        return kept[0]


def _alphas(base: LoadedBase) -> torch.Tensor:
    scheduler: Any = DDPMScheduler.from_config(base.scheduler_config)
    return scheduler.alphas_cumprod
