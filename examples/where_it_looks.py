"""Tracing: where does one point of frame 4 look in frame 1, from the first step to the last?

python examples/where_it_looks.py [STEPS]
"""

import sys

import numpy as np

from t2vz import StableDiffusion, text_to_video, trace
from t2vz.lab.pictures import heat_over
from t2vz.video import Video

steps = int(sys.argv[1]) if sys.argv[1:] else 50
layer = "up_blocks.3.attentions.1.transformer_blocks.0.attn1"  # the last layer but one, at the latent's full size

sd = StableDiffusion.load()
with trace(f"attention/{layer}/all frames/*", points=[(0.5, 0.6)]) as run:  # x and y from 0 to 1
    video = text_to_video(sd, "a red ball on a green meadow", frames=4, steps=steps, motion=(24, 12), seed=1)

maps = run.steps(f"attention/{layer}")  # t -> (guidance batch, frames, points, frames seen, cells)
times = list(maps)[:: max(1, len(maps) // 8)]
looks = [maps[t][1, 3, 0, 0].unflatten(0, video.latents.shape[-2:]) for t in times]  # the prompt's half, frame 4
pictures = np.stack([heat_over(video.frames[0], weights) for weights in looks])
Video(pictures).save_sheet("where-it-looks.png", caption=f"frame 4 looks in frame 1, t = {', '.join(map(str, times))}")
