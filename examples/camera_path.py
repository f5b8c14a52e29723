"""A camera path of your own: any flow field in place of the paper's straight line (E7, E8).

python examples/camera_path.py [STEPS]
"""

import sys

import torch

from t2vz import StableDiffusion, text_to_video
from t2vz.motion import similarity_flow, translation_flow

steps = int(sys.argv[1]) if sys.argv[1:] else 50
frames = 8

sd = StableDiffusion.load()
cells = sd.default_size // sd.vae.factor  # a latent's side
turn = torch.linspace(0, torch.pi, frames)
arc = torch.stack([24 * (1 - turn.cos()), -24 * turn.sin()], dim=1)  # half a circle, in image pixels: right, and up
flow = translation_flow(arc, cells, cells, "exact")
flow = flow + similarity_flow(1.03 ** torch.arange(frames), torch.zeros(frames), cells, cells)  # and slowly closer

video = text_to_video(sd, "a purple house in the mountains", frames, steps, seed=1, flow=flow)
video.save("camera-path.gif")
