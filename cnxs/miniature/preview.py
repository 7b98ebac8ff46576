"""Fit the miniature's latent preview."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from cnxs.codec import PatchCodec, fit_projection, load_patch_autoencoder
from cnxs.miniature import ASSETS
from cnxs.miniature.artwork import Artwork
from cnxs.miniature.scenes import draw, random_recipe

_FITTED, _CHECKED = 384, 64  # scenes
_KERNEL = 3


def fit_preview(artwork: Artwork) -> tuple[Tensor, float]:
    """Fit the linear map from latents to decoded pictures at a quarter of their size.

    Returns:
        The projection (145, 48), and the correlation of the preview with the decoded pictures of other scenes.
    """
    autoencoder = load_patch_autoencoder(ASSETS)
    codec = PatchCodec(autoencoder, torch.empty(0))
    rng = np.random.default_rng(0)
    positions = range(len(artwork.sprites))
    scenes = [draw(random_recipe(rng, artwork, positions=positions), artwork).rgb for _ in range(_FITTED + _CHECKED)]
    pixels = torch.from_numpy(np.stack(scenes)).permute(0, 3, 1, 2).float() / 127.5 - 1
    latents = torch.cat([codec.encode(chunk) for chunk in pixels.split(32)])
    decoded = torch.cat([functional.avg_pool2d(codec.decode(chunk), 4) for chunk in latents.split(32)])
    codec.projection = fit_projection(latents[:_FITTED], decoded[:_FITTED], kernel=_KERNEL)
    return codec.projection, preview_correlation(codec.preview(latents[_FITTED:]), decoded[_FITTED:])


def preview_correlation(preview: Tensor, decoded: Tensor) -> float:
    """Return Pearson's correlation between all pixels of a preview and of decoded pictures of the same size."""
    return float(torch.corrcoef(torch.stack([preview.flatten(), decoded.flatten()]))[0, 1])
