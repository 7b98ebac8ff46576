"""The miniature's autoencoder: patches of 16 x 16 pixels to single latent pixels and back.

Shapes: images (B, 3, H, W) in [-1, 1], H and W multiples of 16; latents (B, 16, H / 16, W / 16), about unit variance.
"""

from torch import Tensor, nn
from torch.nn import functional

from cnxs.miniature import LATENT_CHANNELS

PATCH = 16
_WIDTH = 256
_ENCODER_BLOCKS = 3
_DECODER_BLOCKS = 4
_NORM_GROUPS = 8


class ResidualBlock(nn.Module):
    """Compute x + conv(silu(conv(norm(x)))); starts as the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(_NORM_GROUPS, width)
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)
        if self.conv2.bias is not None:
            nn.init.zeros_(self.conv2.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the shape of `x`, (B, width, H, W)."""
        return x + self.conv2(functional.silu(self.conv1(self.norm(x))))


class PatchAutoencoder(nn.Module):
    """Encode pictures patch by patch; deterministic, so there is no distribution to sample from.

    Working on unshuffled patches rather than at full resolution is what makes it fast on a CPU.
    """

    def __init__(self) -> None:
        super().__init__()
        pixels = 3 * PATCH * PATCH
        self.enc = nn.Sequential(
            nn.PixelUnshuffle(PATCH),
            nn.Conv2d(pixels, _WIDTH, 1),
            *[ResidualBlock(_WIDTH) for _ in range(_ENCODER_BLOCKS)],
            nn.Conv2d(_WIDTH, LATENT_CHANNELS, 1),
        )
        self.dec = nn.Sequential(
            nn.Conv2d(LATENT_CHANNELS, _WIDTH, 3, padding=1),
            *[ResidualBlock(_WIDTH) for _ in range(_DECODER_BLOCKS)],
            nn.Conv2d(_WIDTH, pixels, 3, padding=1),
            nn.PixelShuffle(PATCH),
        )

    def encode(self, pixels: Tensor) -> Tensor:
        """Return the latents (B, 16, H / 16, W / 16) of pictures (B, 3, H, W) in [-1, 1]."""
        return self.enc(pixels)

    def decode(self, latents: Tensor) -> Tensor:
        """Return pictures (B, 3, H, W), nominally in [-1, 1] but not clamped."""
        return self.dec(latents)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the reconstruction of `pixels`."""
        return self.decode(self.encode(pixels))
