"""A video that follows another one's edges (E14, ControlNet).

python examples/follow_edges.py [STEPS]
"""

import sys

import numpy as np

from t2vz import StableDiffusion, control_video, load_controlnet
from t2vz.conditions import condition_frames, edges
from t2vz.video import Video
from t2vz.world import paint_clip, scene_from_words

steps = int(sys.argv[1]) if sys.argv[1:] else 20

controlnet, sd = load_controlnet(), StableDiffusion.load()  # the embedded ones; or paths
frames, _ = paint_clip(scene_from_words("a red ball on a green meadow", seed=0), sd.default_size, frames=8)
# of a file:  frames = t2vz.video.open_clip("dance.mp4", resolution=512)
control = np.stack(list(condition_frames(frames, edges)))

video = control_video(sd, "a blue ball in the snow", control, controlnet, steps, seed=1)
Video(frames).save_sheet("source.png")
video.save_sheet("follows-edges.png")
