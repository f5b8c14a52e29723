"""The KL autoencoder: pictures ↔ latents."""

from .config import VAEConfig
from .frames import decode_frames, encode_frames
from .vae import VAE, from_pixels, to_pixels
