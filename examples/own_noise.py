"""Noise of your own in place of the random draws: one video's end is another's beginning.

python examples/own_noise.py [STEPS]
"""

import math
import sys

import torch

from t2vz import StableDiffusion, text_to_video

steps = int(sys.argv[1]) if sys.argv[1:] else 50
frames = 6

sd = StableDiffusion.load()
cells = sd.default_size // sd.vae.factor
generator = torch.Generator().manual_seed(4)
start, end = (torch.randn(1, 4, cells, cells, generator=generator) for _ in range(2))
angles = [k / (frames - 1) * math.pi / 2 for k in range(frames)]
path = torch.cat([math.cos(a) * start + math.sin(a) * end for a in angles])  # each is N(0, I) again

video = text_to_video(sd, "a white star in the night sky", frames, steps, motion=None, noise={"initial": path})
video.save("from-noise-to-noise.gif")
