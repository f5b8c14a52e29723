"""The denoising network ε_θ: Stable Diffusion 1.5's UNet at any width, on videos (frames are an axis)."""

from .config import UNetConfig
from .unet import UNet

__all__ = ["UNet", "UNetConfig"]
