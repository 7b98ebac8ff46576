"""Which of the miniature's four styles a picture has: a small network on its latent, taught on the spot from pools.

A latent pixel stands for a patch of 16 x 16 pixels, so it holds just what styles differ in: the palette, and whether
surfaces are flat, shaded or rendered. Convolutions read patches and their neighbours; mean, spread and maximum over the
grid drop where they are. There are few concepts, and each has one drawing in each style: without parts hidden from it,
dropout and smoothed labels, the network learns the drawings by heart instead.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from cnxs.errors import InputError
from cnxs.miniature import LATENT_CHANNELS
from cnxs.miniature.artwork import STYLES
from cnxs.miniature.captions import STYLE_WORDS
from cnxs.miniature.split import held_out_concepts

_WIDTH, _GROUPS = 64, 8
_BATCH = 64
_RATE, _DECAY = 4e-3, 1e-2
_NOISE = 0.2  # at most, added to latents: generated ones are not as clean as encoded ones
_HIDDEN, _PARTS = 0.3, 4  # share of the parts of a picture, 4 x 4 of them, that is hidden
_DROPOUT, _SMOOTHING = 0.3, 0.05


class StyleNet(nn.Module):
    """Map latents (B, 16, H, W) to scores (B, 4), in the order of STYLES."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(LATENT_CHANNELS, _WIDTH, 1), nn.GELU()]
        layers += [nn.Conv2d(_WIDTH, _WIDTH, 1), nn.GroupNorm(_GROUPS, _WIDTH), nn.GELU()]
        for _ in range(2):
            layers += [nn.Conv2d(_WIDTH, _WIDTH, 3, padding=1), nn.GroupNorm(_GROUPS, _WIDTH), nn.GELU()]
        self.patches = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.Dropout(_DROPOUT), nn.Linear(3 * _WIDTH, len(STYLES)))

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        """Return scores."""
        seen = self.patches(latents)
        return self.head(torch.cat([seen.mean((2, 3)), seen.std((2, 3)), seen.amax((2, 3))], dim=1))


@dataclass(frozen=True)
class Samples:
    """Latents (N, 16, 16, 16) and their styles (N,), positions in STYLES."""

    latents: torch.Tensor
    styles: torch.Tensor


def style_of(caption: str) -> str | None:
    """Return the style that a caption of the miniature's grammar names; None if it names none."""
    for part in caption.split(", "):
        for style, words in STYLE_WORDS.items():
            if any(part == word or part.startswith(f"{word} of ") for word in words):
                return style
    return None


def read_pools(folders: Sequence[Path]) -> Samples:
    """Return the latents and styles of pools, without the concepts that are held out.

    Raises:
        InputError: `pool_missing` or `bias_no_samples`.
    """
    held_out = held_out_concepts()
    latents, styles = [], []
    for folder in folders:
        if not (folder / "pool.json").is_file():
            raise InputError("pool_missing", folder=folder)
        captions = json.loads((folder / "captions.json").read_text("utf-8"))
        concepts = json.loads((folder / "concepts.json").read_text("utf-8"))
        named = [style_of(caption) for caption in captions]
        rows = [i for i, style in enumerate(named) if style is not None and held_out.isdisjoint(concepts[i])]
        latents.append(np.load(folder / "latents.npy", mmap_mode="r")[rows])
        styles += [STYLES.index(style) for style in (named[i] for i in rows) if style is not None]
    if len(styles) < 2:
        raise InputError("bias_no_samples", given=", ".join(map(str, folders)))
    return Samples(torch.from_numpy(np.concatenate(latents)).float(), torch.tensor(styles))


def learn(samples: Samples, *, steps: int, seed: int, report: Callable[[str], None] = lambda line: None) -> StyleNet:
    """Return a network taught for `steps` batches of 64."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = StyleNet().train()
        optimizer = torch.optim.AdamW(net.parameters(), _RATE, weight_decay=_DECAY)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=steps)
        for step in range(steps):
            rows = torch.randint(len(samples.styles), (_BATCH,))
            scores = net(_harder(samples.latents[rows]))
            loss = nn.functional.cross_entropy(scores, samples.styles[rows], label_smoothing=_SMOOTHING)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            if (step + 1) % 500 == 0:
                report(f"style classifier: {step + 1} of {steps} steps, loss {loss.item():.3f}")
    return net.eval()


def _harder(latents: torch.Tensor) -> torch.Tensor:
    """Return latents with noise on them and parts of them hidden."""
    noisy = latents + _NOISE * torch.rand(len(latents), 1, 1, 1) * torch.randn_like(latents)
    seen = (torch.rand(len(latents), 1, _PARTS, _PARTS) >= _HIDDEN).float()
    return noisy * nn.functional.interpolate(seen, size=latents.shape[-2:])


@torch.inference_mode()
def recognised(net: StyleNet, latents: torch.Tensor) -> list[str]:
    """Return the style of each latent."""
    return [STYLES[position] for position in net(latents).argmax(dim=1).tolist()]
