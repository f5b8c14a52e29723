"""Reading and writing videos: MP4, GIF, folders of PNGs, contact sheets.

video.py   Video, what every pipeline returns          read.py    read_video, iter_frames, read_masks
write.py   the writers and `check_output`              sheet.py   the contact sheet
ffmpeg.py  the command lines behind MP4                clip.py    open_clip: a video as input, kept on disk
"""

from .clip import Clip, FramesOnDisk, frames_on_disk, open_clip
from .read import iter_frames, open_frames, read_masks, read_video
from .video import DEFAULT_FPS, Video
from .write import check_output, write_frames

__all__ = [
    "Clip",
    "DEFAULT_FPS",
    "FramesOnDisk",
    "Video",
    "check_output",
    "frames_on_disk",
    "iter_frames",
    "open_clip",
    "open_frames",
    "read_masks",
    "read_video",
    "write_frames",
]
