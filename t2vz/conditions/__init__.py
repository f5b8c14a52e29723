"""Condition pictures for ControlNet (E14), made from a video: edges, depth, poses.

    edges.py   Canny's edges           depth.py   by a depth model of `transformers`
    pose.py    skeletons               hub.py     loading such a model
    camera.py  not a picture: the camera's path

A condition is a function of one frame: uint8 (H, W, 3) -> uint8 (H, W, 3). `condition_frames` applies it to a video
frame by frame; the pictures can be written, or kept on disk by `t2vz.video.FramesOnDisk`.
"""

from collections.abc import Callable, Iterator

import numpy as np

from .camera import CameraPath, camera_path, dense_flow, motion_of_clip
from .depth import DepthFinder
from .edges import edges
from .pose import PoseFinder, draw_skeleton

Condition = Callable[[np.ndarray], np.ndarray]


def condition_frames(clip, condition: Condition) -> Iterator[np.ndarray]:
    """The condition picture of each frame of a clip (an array (m, H, W, 3), or a Clip), made when asked for."""
    return (condition(clip[k]) for k in range(len(clip)))
