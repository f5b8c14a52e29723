"""What a frame is everywhere in t2vz: uint8 (H, W, 3), red, green, blue, 0 to 255; checked where one comes in."""

import numpy as np

from ..errors import InputError


def check_frame(frame: np.ndarray) -> np.ndarray:
    """The frame as an array (H, W, 3). Raises InputError unless it is uint8 of that shape."""
    return _checked(frame, 3, "a frame", "(height, width, 3)")


def check_frames(frames: np.ndarray, least: int = 1) -> np.ndarray:
    """The frames as one array (m, H, W, 3), from an array, a tensor, a list of frames or a clip on disk.

    Raises InputError unless they are uint8 of that shape, and at least so many.
    """
    frames = _checked(frames, 4, "the frames of a video", "(m, height, width, 3)")
    if len(frames) < least:
        raise InputError(f"there are {len(frames)} frames; at least {least} are needed")
    return frames


def _checked(given, axes: int, what: str, shape: str) -> np.ndarray:
    try:
        array = np.asarray(given)
    except (ValueError, TypeError, RuntimeError) as error:  # frames of several sizes, a tensor on a GPU
        raise InputError(f"{what} must be uint8 {shape}; this is no array of numbers: {error}") from error
    if array.dtype != np.uint8 or array.ndim != axes or array.shape[-1] != 3 or array.size == 0:
        raise InputError(f"{what} must be uint8 {shape}, values 0 to 255; this is {array.dtype} {array.shape}")
    return array
