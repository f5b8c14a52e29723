"""Reading videos and masks: any file that ffmpeg reads, animations and pictures (by Pillow), folders of pictures.

Underneath is a generator of frames, so that a long video can be worked through without holding it in memory.
`read_masks` reads the foreground masks M^k of E13 (background smoothing) that a caller brings.
"""

import math
import os
from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ..errors import InputError
from .frames import of_one_size
from .pictures import is_picture, open_pictures
from .stream import Opened, open_stream
from .video import Video
from .write import check_fps


def read_video(
    path: str | Path, start: float | None = None, end: float | None = None, fps: float | Fraction | None = None
) -> Video:
    """Read a video into memory, as a Video without latents.

    path: a video file, a .gif or picture, or a folder of pictures (natural order: frame_2 before frame_10).
    start, end: seconds; None means from the beginning, to the end.
    fps: frames are repeated or dropped to this rate; None takes every frame once, at the file's rate, or where that is
    not constant at the mean rate, which keeps the duration. Pictures have no rate of their own: for a folder, or the
    pages of a TIFF, `fps` says how many of them a second has (None: 4), and every picture is used.
    Frames are upright, with square pixels, and black where they are transparent. Floats count from 0 (black) to 1.
    What the user should know (a rate that varies, files left out, a recording that stops early) is in `notes`.
    Raises: InputError when there is no such file, no video in it, or no frame between start and end;
    FailedError when ffmpeg is missing or the file is damaged before `end`.
    """
    rate, frames, notes = open_frames(path, start, end, fps)
    return Video(np.stack(list(frames)), fps=float(rate), settings={"source": str(path)}, notes=notes)


def open_frames(
    path: str | Path, start: float | None = None, end: float | None = None, fps: float | Fraction | None = None
) -> Opened:
    """(fps, iterator of frames, notes): rate and notes are known before a frame is given. Raises as `read_video`."""
    for name, value in (("start", start), ("end", end)):
        if value is not None and not (math.isfinite(value) and value >= 0):
            raise InputError(f"{name} is {value}; it must be a time in seconds, 0 or later")
    if end is not None and end <= (start or 0):
        raise InputError(f"end is {end} s and start {start or 0} s; the end must come later")
    if fps is not None:
        check_fps(fps)
    if not os.path.exists(path):  # unlike Path.exists, no error for a name that is too long
        raise InputError(f"there is no file or folder {path}; check the name")
    # Fractions: as floats, times would fall on the wrong side of a frame's edge (0.2 is a little more than 1/5).
    begin, stop = Fraction(start or 0).limit_denominator(10**6), math.inf
    if end is not None:
        stop = Fraction(end).limit_denominator(10**6)
    opened = open_pictures if os.path.isdir(path) or is_picture(Path(path)) else open_stream
    rate, frames, notes = opened(Path(path), begin, stop, fps)
    until = "the end" if end is None else f"{end} s"
    none = f"{path} has no frame between {start or 0} s and {until}; choose other times"
    return rate, of_one_size(frames, f"{path}: picture", none), notes


def read_masks(path: str | Path, frames: int, height: int, width: int) -> torch.Tensor:
    """Read one foreground mask per frame. -> float32 tensor (m, 1, H, W) in [0, 1], 1 (white) is foreground.

    path: a folder of pictures, a video or a picture, as `read_video` takes them.
    frames: m, the number of frames; a single mask is used for all of them.
    height, width: H, W; masks of another size are stretched, averaged to shrink and nearest to grow.
    Colours count by the mean of red, green and blue; transparent is background.
    Raises: InputError when there are neither m masks nor one; otherwise as `read_video`.
    """
    masks = list(islice(open_frames(path)[1], frames + 1))  # one too many is enough to know
    if len(masks) not in (1, frames):
        seen = f"more than {frames}" if len(masks) > frames else len(masks)
        raise InputError(f"{path} holds {seen} masks for {frames} frames; give {frames}, or one for all")
    planes = []
    for mask in masks:
        grey = Image.fromarray(mask.mean(axis=2, dtype=np.float32) / 255)
        planes.append(np.asarray(grey.resize((width, height), Image.Resampling.BOX)))
    stack = torch.from_numpy(np.stack(planes))[:, None].clamp(0, 1)
    return stack.expand(frames, -1, -1, -1).clone()
