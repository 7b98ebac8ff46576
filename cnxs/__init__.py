"""ControlNet-XS Studio: a small control network coupled, without delay, to a frozen Stable Diffusion U-Net."""

__version__ = "0.1.0"
