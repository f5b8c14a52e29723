"""The KL autoencoder: pictures ↔ latents."""

from .config import VAEConfig
from .vae import VAE, from_pixels, to_pixels

__all__ = ["VAE", "VAEConfig", "from_pixels", "to_pixels"]
