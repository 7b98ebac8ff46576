"""The miniature: a small latent diffusion base that runs on a CPU, its data and how it is trained.

Weights, held-out concepts and evaluation cases lie in `assets/miniature/`; `python -m cnxs.miniature` rebuilds them.
"""

from pathlib import Path

ASSETS = Path(__file__).resolve().parents[2] / "assets" / "miniature"
SIZE = 256  # pixels: side of every picture, and of every sprite
LATENT_SIZE = 16  # side of a latent
LATENT_CHANNELS = 16
