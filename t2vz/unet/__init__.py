"""The denoising network ε_θ: Stable Diffusion 1.5's UNet at any width, on videos (frames are an axis); ControlNet."""

from .config import UNetConfig
from .controlnet import ControlNet, ControlNetConfig
from .unet import UNet

__all__ = ["ControlNet", "ControlNetConfig", "UNet", "UNetConfig"]
