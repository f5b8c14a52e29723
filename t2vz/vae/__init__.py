"""The KL autoencoder: pictures ↔ latents."""

from .config import VAEConfig
from .vae import VAE, to_pixels

__all__ = ["VAE", "VAEConfig", "to_pixels"]
