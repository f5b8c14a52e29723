"""The same noise with cross-frame attention (E12) and without (E11): how alike are the frames?

python examples/cross_frame_attention.py [STEPS]
"""

import sys

from t2vz import StableDiffusion, text_to_video
from t2vz.metrics import embed_images, frame_consistency, histogram_similarity, load_clip

steps = int(sys.argv[1]) if sys.argv[1:] else 50
prompt = "an orange cat in a room"

sd, clip = StableDiffusion.load(), load_clip()
for attention in ("first", "own"):
    video = text_to_video(sd, prompt, frames=6, steps=steps, seed=2, motion=None, attention=attention)
    video.save_sheet(f"attention-{attention}.png", caption=f"attention {attention}")
    seen = frame_consistency(embed_images(clip, video.frames))
    print(
        f"attention {attention:6s} CLIP: next frame {seen.next:.3f}, first frame {seen.first:.3f}; "
        f"colours {histogram_similarity(video.frames):.3f}"
    )
