"""The KL autoencoder: pictures ↔ latents."""

from .config import VAEConfig
from .frames import decode_frames, encode_frames
from .vae import VAE, from_pixels, to_pixels

__all__ = ["VAE", "VAEConfig", "decode_frames", "encode_frames", "from_pixels", "to_pixels"]
