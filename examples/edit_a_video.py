"""A video changed by an instruction (E15, Video Instruct-Pix2Pix), and what the two scales do.

python examples/edit_a_video.py [STEPS]
"""

import sys

from t2vz import StableDiffusion, edit_video
from t2vz.metrics import psnr
from t2vz.world import paint_clip, scene_from_words

steps = int(sys.argv[1]) if sys.argv[1:] else 50

sd = StableDiffusion.load(edit=True)  # the embedded edit model; or an InstructPix2Pix checkpoint
frames, _ = paint_clip(scene_from_words("a red ball on a green meadow", seed=0), sd.default_size, frames=6)
# of a file:  frames = t2vz.video.read_video("dance.mp4").frames
for image_scale in (1.0, 2.0):  # s_I: how strictly to hold on to the source
    video = edit_video(sd, frames, "make it snow", steps, image_scale=image_scale, seed=1)
    video.save_sheet(f"snow-{image_scale:g}.png")
    print(f"s_I = {image_scale:g}: {psnr(video.frames, frames):.1f} dB to the source")
