"""Reading and writing videos: MP4, GIF, folders of PNGs, contact sheets.

video.py   Video, what every pipeline returns          read.py     read_video, open_frames, read_masks
write.py   the writers and `check_output`              stream.py   video files: when each frame is shown, its pixels
sheet.py   the contact sheet                           pictures.py pictures, animations, folders of pictures
ffmpeg.py  the program: found, run, understood         clip.py     open_clip: a video as input, kept on disk
frames.py  what a frame is
"""

from .clip import Clip, FramesOnDisk, open_clip
from .read import open_frames, read_masks, read_video
from .video import DEFAULT_FPS, Video
from .write import check_output, write_frames
