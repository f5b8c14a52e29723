"""Measures of a video: does it show the prompt, are its frames alike, did the camera move as asked?

python examples/measure.py [STEPS]
"""

import sys

from t2vz import StableDiffusion, text_to_video
from t2vz.metrics import MEASURES, load_clip, score_video

steps = int(sys.argv[1]) if sys.argv[1:] else 50
prompt, motion = "a green tree on a sandy beach", (24.0, 0.0)

video = text_to_video(StableDiffusion.load(), prompt, frames=6, steps=steps, motion=motion, seed=5)
found = score_video(video.frames, load_clip(), prompt, motion)  # any frames, uint8 (m, H, W, 3)
for name, value in found.items():
    measure = MEASURES[name]
    if value is not None:
        better = f", {measure.best} is better" if measure.best else ""
        print(f"{value:8.3f}  {measure.label} ({measure.scale}{better})")
