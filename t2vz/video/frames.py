"""What a frame is everywhere in t2vz: uint8 (H, W, 3), red, green, blue, 0 to 255; checked where one comes in."""

from collections.abc import Iterable, Iterator

import numpy as np
from torch import Tensor

from ..errors import InputError

NO_FRAMES = "there are no frames; give at least one"


def check_frame(frame: np.ndarray, name: str = "a frame") -> np.ndarray:
    """The frame as an array (H, W, 3). Raises InputError unless it is uint8 of that shape."""
    return _checked(frame, 3, name, "(height, width, 3)")


def check_frames(frames: np.ndarray, least: int = 1) -> np.ndarray:
    """The frames as one array (m, H, W, 3), from an array, a tensor, a list of frames or a clip on disk.

    Raises InputError unless they are uint8 of that shape, and at least so many.
    """
    frames = _checked(frames, 4, "the frames of a video", "(m, height, width, 3)")
    if len(frames) < least:
        raise InputError(f"there are {len(frames)} frames; at least {least} are needed")
    return frames


def check_masks(masks: Tensor, m: int, height: int, width: int) -> Tensor:
    """Masks of m frames as float64 (m, 1, H, W). Raises InputError unless they have that shape and lie in [0, 1]."""
    shape = (m, 1, height, width)
    if not isinstance(masks, Tensor) or masks.shape != shape:
        seen = tuple(getattr(masks, "shape", ())) or type(masks).__name__
        raise InputError(f"masks of shape {seen} for {m} frames of {width}×{height}; a tensor {shape} is needed")
    masks = masks.double()
    if not (masks.min() >= -1e-6 and masks.max() <= 1 + 1e-6):
        raise InputError(f"masks go from {masks.min():g} to {masks.max():g}; they must lie between 0 and 1")
    return masks


def of_one_size(frames: Iterable[np.ndarray], what: str = "frame", none: str = NO_FRAMES) -> Iterator[np.ndarray]:
    """Pass frames on, one by one. Raises InputError for what is no frame or of another size than the first: it is named
    by `what` and a number; and InputError(none) if there are none."""
    shape = None
    for number, frame in enumerate(frames, start=1):
        frame = check_frame(frame, f"{what} {number}")
        shape = frame.shape if shape is None else shape
        if frame.shape != shape:
            sizes = f"{frame.shape[1]}×{frame.shape[0]} and the first {shape[1]}×{shape[0]}"
            raise InputError(f"{what} {number} is {sizes}; make all of one size")
        yield frame
    if shape is None:
        raise InputError(none)


def _checked(given, axes: int, what: str, shape: str) -> np.ndarray:
    try:
        array = np.asarray(given)
    except (ValueError, TypeError, RuntimeError) as error:  # frames of several sizes, a tensor on a GPU
        raise InputError(f"{what} must be uint8 {shape}; this is no array of numbers: {error}") from error
    if array.dtype != np.uint8 or array.ndim != axes or array.shape[-1] != 3 or array.size == 0:
        raise InputError(f"{what} must be uint8 {shape}, values 0 to 255; this is {array.dtype} of shape {array.shape}")
    return array
