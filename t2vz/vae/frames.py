"""Frames to latents and back, one frame at a time, so that memory does not grow with the number of frames."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from ..finite import check_finite
from .vae import VAE, from_pixels, to_pixels


def encode_frames(vae: VAE, frames: Sequence, which: Sequence[int] | None = None) -> Iterator[Tensor]:
    """The latents of frames, (1, 4, H/8, W/8) each, on the VAE's device: the posterior's mean, unscaled.

    frames: uint8 (m, H, W, 3), an array or anything with a length whose slices are arrays (a `video.Clip`, which stays
    on disk). which: the indices of those to encode (None: all). Raises FailedError for a latent that is not finite, by
    its frame's number.
    """
    weight = next(vae.parameters())
    for k in range(len(frames)) if which is None else which:
        frame = torch.from_numpy(np.ascontiguousarray(frames[k : k + 1])).to(weight.device)
        with torch.no_grad():
            latent = vae.encode(from_pixels(frame, weight.dtype))
        check_finite(latent, "VAE encoding", [k])
        yield latent


def decode_frames(vae: VAE, latents: Tensor, which: Sequence[int] | None = None) -> Iterator[np.ndarray]:
    """The frames of the UNet's latents (m, 4, h, w), which are scaled: uint8 (8h, 8w, 3) each, made when asked for.

    which: the latents' indices in the video (None: 0 … m − 1). Raises FailedError for a frame that is not finite, by
    its number.
    """
    weight = next(vae.parameters())
    for k, latent in zip(range(len(latents)) if which is None else which, latents, strict=True):
        with torch.no_grad():
            image = vae.decode((latent[None].to(weight.device) / vae.config.scaling_factor).to(weight.dtype))
        check_finite(image, "VAE decoding", [k])
        yield to_pixels(image)[0].cpu().numpy()
