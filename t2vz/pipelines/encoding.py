"""From pictures to latents, frame by frame: the source video of an edit (E15), read a frame at a time."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from ..vae import from_pixels
from .denoise import check_finite


def encode(
    sd, frames: Sequence, tell: Callable[[int, str], None] | None = None, which: Sequence[int] | None = None
) -> Tensor:
    """Encode frames one after the other: their latents (m, 4, H/8, W/8) on the device, the posterior's mean, unscaled.

    sd: a StableDiffusion. frames: uint8 (m, H, W, 3), an array or anything with a length whose slices are arrays (a
    `video.Clip`, which stays on disk). which: the indices of those to encode (None: all). tell(work, stage) is called
    after each frame. Raises FailedError for a latent that is not finite, by its frame's number.
    """
    latents = []
    for k in which or range(len(frames)):
        frame = torch.from_numpy(np.ascontiguousarray(frames[k : k + 1])).to(sd.device)
        with torch.no_grad():
            latent = sd.vae.encode(from_pixels(frame, sd.vae_dtype))
        check_finite(latent, "VAE encoding", [k])
        latents.append(latent)
        if tell is not None:
            tell(1, "encoding")
    return torch.cat(latents)


def source_shape(frames: Sequence) -> tuple[int, int, int]:
    """(m, H, W) of a source video, of which only the first frame is read.

    Raises InputError unless it is uint8 (m, H, W, 3) with at least one frame.
    """
    if not hasattr(frames, "__len__") or not hasattr(frames, "__getitem__"):
        raise InputError(
            f"the source video is a {type(frames).__name__}; give its frames, uint8 (m, H, W, 3), as "
            "read_video(path).frames or open_clip(path) has them"
        )
    if len(frames) == 0:
        raise InputError("the source video has no frames; give at least one")
    first = np.asarray(frames[0:1])
    if first.dtype != np.uint8 or first.ndim != 4 or first.shape[3] != 3:
        raise InputError(
            f"the frames of the source video must be uint8 (m, H, W, 3); the first is {first.dtype} {first.shape[1:]}"
        )
    return len(frames), first.shape[1], first.shape[2]
