"""The denoising network ε_θ: Stable Diffusion 1.5's UNet at any width, on videos (frames are an axis); ControlNet."""

from .config import ControlNetConfig, UNetConfig
from .controlnet import ControlNet
from .deep_cache import DeepCache
from .unet import UNet
from .widen import widen_input
