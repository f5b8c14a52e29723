"""Is what a network made finite? Asked after every step, so that an overflow stops a video and is not shown as one."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .errors import FailedError


def check_finite(x: Tensor, where: str, frames: Sequence[int], dtype: torch.dtype | None = None) -> None:
    """Raise FailedError if x (f, …) holds a NaN or an infinity: which frame, at which step, and what to do.

    frames: the indices in the video of x's frames. dtype: what the network that made x computes in (None: x's type).
    """
    finite = torch.isfinite(x).flatten(1).all(dim=1)
    if bool(finite.all()):
        return
    frame = frames[int((~finite).nonzero()[0])]
    dtype = dtype or x.dtype
    kind = str(dtype).removeprefix("torch.")
    why = f"numbers may have overflowed in {kind}: use --dtype float32; or "
    if dtype not in (torch.float16, torch.bfloat16):
        why = f"in {kind} this means that the checkpoint is broken, or that "
    raise FailedError(
        f"frame {frame + 1} is not finite (NaN or Inf) at: {where}; nothing was written: {why}a setting such as "
        "the guidance scale is far too large"
    )
