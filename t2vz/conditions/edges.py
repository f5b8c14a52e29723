"""Edges by Canny's detector, white on black: what the ControlNets named "canny" were trained to read."""

import numpy as np

from ..errors import library
from ..video.frames import check_frame

LOW, HIGH = 100, 200  # the authors' release, and ControlNet's


def edges(frame: np.ndarray, low: float = LOW, high: float = HIGH) -> np.ndarray:
    """uint8 (H, W, 3) -> uint8 (H, W, 3): 255 on edges, 0 elsewhere, the same in all channels. By OpenCV's Canny.

    low, high: thresholds on the gradient; edges start above `high` and are followed while above `low`.
    Source: Canny 1986; the release's pre_process_canny. Raises InputError for anything but one such frame.
    """
    found = load_opencv().Canny(np.ascontiguousarray(check_frame(frame)), low, high)
    return np.repeat(found[:, :, None], 3, axis=2)


def load_opencv():
    """The module cv2. Raises InputError where it is not installed."""
    return library("cv2", "edges, skeletons and motion from a video need", "control")
