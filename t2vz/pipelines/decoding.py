"""From latents to pictures, frame by frame, so that memory does not grow with the number of frames."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from ..vae import to_pixels
from .denoise import check_finite


def decoded(
    sd, latents: Tensor, tell: Callable[[int, str], None] | None = None, frames: Sequence[int] | None = None
) -> Iterator[np.ndarray]:
    """Decode scaled latents (m, 4, h, w) one after the other: yields uint8 numpy (H, W, 3), made when asked for.

    sd: a StableDiffusion. tell(work, stage) is called after each frame. frames: their indices in the video (None:
    0 … m − 1). Raises FailedError for a frame that is not finite, by its number.
    """
    vae = sd.vae
    for k, latent in zip(frames or range(len(latents)), latents, strict=True):
        with torch.no_grad():
            image = vae.decode((latent[None].to(sd.device) / vae.config.scaling_factor).to(sd.vae_dtype))
        check_finite(image, "VAE decoding", [k])
        if tell is not None:
            tell(1, "decoding")
        yield to_pixels(image)[0].cpu().numpy()


def decode(sd, latents: Tensor, tell: Callable[[int, str], None] | None = None) -> np.ndarray:
    """All frames in one array: latents (m, 4, h, w), scaled -> uint8 numpy (m, H, W, 3). Raises as `decoded`."""
    m, _, h, w = latents.shape
    frames = np.empty((m, h * sd.vae.factor, w * sd.vae.factor, 3), dtype=np.uint8)  # no second copy
    for k, frame in enumerate(decoded(sd, latents, tell)):
        frames[k] = frame
    return frames
