"""A video from a prompt: the whole method, one call.

python examples/generate.py [STEPS]
"""

import sys

from t2vz import StableDiffusion, text_to_video

steps = int(sys.argv[1]) if sys.argv[1:] else 50

sd = StableDiffusion.load()  # the embedded model; or the path of Stable Diffusion 1.5
video = text_to_video(sd, "a yellow balloon over the city", frames=8, steps=steps, seed=3)

for note in video.notes:  # what was cut, rounded, or had no effect
    print("note:", note)
video.save("balloon.mp4")
video.save_sheet("balloon.png")
print(video)
