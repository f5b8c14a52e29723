"""Reading and writing videos: MP4, GIF, folders of PNGs, contact sheets.

    video.py   Video, what every pipeline returns          read.py    read_video, iter_frames, read_masks
    write.py   the writers and `check_output`              sheet.py   the contact sheet
    ffmpeg.py  the command lines behind MP4
"""

from .read import iter_frames, open_frames, read_masks, read_video
from .video import DEFAULT_FPS, Video
from .write import check_output

__all__ = ["DEFAULT_FPS", "Video", "check_output", "iter_frames", "open_frames", "read_masks", "read_video"]
