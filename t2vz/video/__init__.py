"""Reading and writing videos: MP4, GIF, folders of PNGs, contact sheets.

    video.py   Video, what every pipeline returns          read.py    read_video, iter_frames, read_masks
    write.py   the writers and `check_output`              sheet.py   the contact sheet
    atomic.py  whole or not at all                         ffmpeg.py  the two command lines behind MP4
"""

from t2vz.video.read import iter_frames, open_frames, read_masks, read_video
from t2vz.video.video import DEFAULT_FPS, Video
from t2vz.video.write import check_output

__all__ = ["DEFAULT_FPS", "Video", "check_output", "iter_frames", "open_frames", "read_masks", "read_video"]
