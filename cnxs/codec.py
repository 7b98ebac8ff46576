"""Between pixels and latents: one protocol, met by Stable Diffusion's autoencoder and by the miniature's own.

Shapes: pixels (B, 3, H, W) in [-1, 1]; latents (B, C, H / factor, W / factor), already scaled as the U-Net wants them.
"""

import math
from pathlib import Path
from typing import Protocol

import torch
from diffusers import AutoencoderKL
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from cnxs.errors import CheckpointError
from cnxs.miniature import LATENT_CHANNELS
from cnxs.miniature.autoencoder import PATCH, PatchAutoencoder


class LatentCodec(Protocol):
    """What the pipeline and the trainers need of an autoencoder."""

    @property
    def factor(self) -> int:
        """Pixels per latent pixel, along each side."""
        ...

    @property
    def latent_channels(self) -> int:
        """Channels of a latent."""
        ...

    def encode(self, pixels: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return scaled latents of `pixels`: a sample with `generator` where there is a distribution, else its mode."""
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """Return pixels in [-1, 1]."""
        ...

    def preview(self, latents: Tensor) -> Tensor:
        """Return a cheap small picture (B, 3, h, w) in [0, 1], one pixel per latent pixel."""
        ...

    def spare_memory(self) -> None:
        """Work with less memory from now on, more slowly."""
        ...


class KLCodec:
    """Stable Diffusion's autoencoder.

    Its preview is a linear map from latent channels to colours. It is fitted when first asked for, by encoding one
    synthetic picture of coloured patches: no table of constants to go stale, and right for fine-tuned autoencoders too.

    Args:
        autoencoder: held by reference; moved to float32 if its configuration says that half precision overflows.
    """

    def __init__(self, autoencoder: AutoencoderKL) -> None:
        if autoencoder.config["force_upcast"] and autoencoder.dtype == torch.float16:
            autoencoder.float()
        autoencoder.enable_slicing()  # one image at a time: a batch costs no more memory than one
        self.autoencoder = autoencoder
        self._projection: Tensor | None = None

    @property
    def factor(self) -> int:
        """Return the pixels per latent pixel, along each side."""
        return 2 ** (len(self.autoencoder.config["block_out_channels"]) - 1)

    @property
    def latent_channels(self) -> int:
        """Return the channels of a latent."""
        return self.autoencoder.config["latent_channels"]

    @torch.no_grad()
    def encode(self, pixels: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return scaled latents in the dtype of `pixels`: a sample with `generator`, otherwise the mode."""
        (distribution,) = self.autoencoder.encode(pixels.to(self.autoencoder.dtype), return_dict=False)
        latents = distribution.mode() if generator is None else distribution.sample(generator)
        return ((latents - self._shift) * self._scaling).to(pixels.dtype)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Return pixels in [-1, 1] in the dtype of `latents`."""
        unscaled = latents / self._scaling + self._shift
        # diffusers annotates FloatTensor, which no tensor is for a type checker.
        inputs = unscaled.to(self.autoencoder.dtype)
        (pixels,) = self.autoencoder.decode(inputs, return_dict=False)  # pyright: ignore[reportArgumentType]
        return pixels.clamp(-1, 1).to(latents.dtype)

    @torch.no_grad()
    def preview(self, latents: Tensor) -> Tensor:
        """Return float32 colours (B, 3, H / factor, W / factor) in [0, 1]."""
        if self._projection is None:
            pixels = _patches(size=32 * self.factor).to(latents.device)
            target = functional.avg_pool2d(pixels, self.factor)
            self._projection = fit_projection(self.encode(pixels), target, kernel=1)
        return _project(latents, self._projection)

    def spare_memory(self) -> None:
        """Let images larger than those it was trained on pass in tiles that overlap: their seams are blended."""
        self.autoencoder.enable_tiling()

    @property
    def _scaling(self) -> float:
        return self.autoencoder.config["scaling_factor"]

    @property
    def _shift(self) -> float:
        return self.autoencoder.config["shift_factor"] or 0.0


class PatchCodec:
    """The miniature's autoencoder. Its latents have unit variance, so they need no scaling; encoding is deterministic.

    Args:
        autoencoder: held by reference.
        projection: (1 + 9 * 16, 48): the linear map of the preview, from `fit_projection`.
    """

    factor = PATCH
    latent_channels = LATENT_CHANNELS

    def __init__(self, autoencoder: PatchAutoencoder, projection: Tensor) -> None:
        self.autoencoder = autoencoder
        self.projection = projection

    @classmethod
    def load(cls, folder: Path) -> "PatchCodec":
        """Read `autoencoder.safetensors` and `preview.safetensors`, in float32 on the CPU, frozen.

        Raises:
            CheckpointError: if a file cannot be read, or a weight is missing, left over or of another shape.
        """
        return cls(load_patch_autoencoder(folder), _read(folder / "preview.safetensors")["projection"].float())

    @torch.no_grad()
    def encode(self, pixels: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return latents in the dtype of `pixels`; `generator` has no part, as there is nothing to sample."""
        return self.autoencoder.encode(pixels.to(self._dtype)).to(pixels.dtype)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Return pixels in [-1, 1] in the dtype of `latents`."""
        return self.autoencoder.decode(latents.to(self._dtype)).clamp(-1, 1).to(latents.dtype)

    @torch.no_grad()
    def preview(self, latents: Tensor) -> Tensor:
        """Return float32 colours (B, 3, H / 4, W / 4) in [0, 1]: every latent pixel gives 4 x 4 pixels."""
        return _project(latents, self.projection)

    def spare_memory(self) -> None:
        """Do nothing: this autoencoder works on patches, at a 16th of each side throughout."""

    @property
    def _dtype(self) -> torch.dtype:
        return next(self.autoencoder.parameters()).dtype


def load_patch_autoencoder(folder: Path) -> PatchAutoencoder:
    """Read `autoencoder.safetensors`, in float32 on the CPU, frozen.

    Raises:
        CheckpointError: as `PatchCodec.load`.
    """
    weights = _read(folder / "autoencoder.safetensors")
    autoencoder = PatchAutoencoder()
    expected = {name: value.shape for name, value in autoencoder.state_dict().items()}
    found = {name: value.shape for name, value in weights.items()}
    wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    if wrong:
        raise CheckpointError("codec_weights_differ", file="autoencoder.safetensors", keys=", ".join(wrong[:5]))
    autoencoder.load_state_dict(weights)
    return autoencoder.requires_grad_(False).eval()


def fit_projection(latents: Tensor, pixels: Tensor, *, kernel: int) -> Tensor:
    """Fit, by least squares, the linear map from latents to small pictures.

    Args:
        latents: (B, C, h, w).
        pixels: (B, 3, n h, n w) in [-1, 1], the pictures at the preview's size.
        kernel: odd side of the neighbourhood of latent pixels that one output depends on.

    Returns:
        (1 + kernel**2 * C, 3 * n**2) float32; the first row is the constant.
    """
    scale = pixels.shape[-1] // latents.shape[-1]
    features = _features(latents, kernel).flatten(0, 1)
    targets = functional.pixel_unshuffle(pixels.float(), scale).flatten(2).transpose(1, 2).flatten(0, 1)
    return torch.linalg.lstsq(features.cpu(), targets.cpu()).solution.contiguous()


def _project(latents: Tensor, projection: Tensor) -> Tensor:
    inputs, outputs = projection.shape
    kernel = math.isqrt((inputs - 1) // latents.shape[1])
    values = _features(latents, kernel) @ projection.to(latents.device)
    grid = values.transpose(1, 2).unflatten(2, latents.shape[-2:])
    return (functional.pixel_shuffle(grid, math.isqrt(outputs // 3)) / 2 + 0.5).clamp(0, 1)


def _features(latents: Tensor, kernel: int) -> Tensor:
    """Return (B, h * w, 1 + kernel**2 * C): a one, then the neighbourhood of every latent pixel."""
    columns = functional.unfold(latents.float(), kernel, padding=kernel // 2).transpose(1, 2)
    return torch.cat([torch.ones_like(columns[..., :1]), columns], dim=-1)


def _patches(*, size: int) -> Tensor:
    """Return one picture (1, 3, size, size) in [-1, 1] of smooth coloured patches, the same on every call."""
    colours = torch.rand(1, 3, 12, 12, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return functional.interpolate(colours, size=(size, size), mode="bilinear", align_corners=False)


def _read(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError("codec_file_unreadable", file=path.name, reason=str(error)) from error
