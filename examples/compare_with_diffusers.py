"""The same weights and the same noise, here and in diffusers' TextToVideoZeroPipeline (pip install diffusers).

python examples/compare_with_diffusers.py [STEPS]
"""

import sys

import torch
from diffusers import TextToVideoZeroPipeline

from t2vz import StableDiffusion, text_to_video

prompt, frames, steps = "a red ball on a green meadow", 3, int(sys.argv[1]) if sys.argv[1:] else 50

sd = StableDiffusion.load()
cells = sd.default_size // sd.vae.factor
x_T = torch.randn(1, 4, cells, cells, generator=torch.Generator().manual_seed(1))
forward = torch.randn(frames - 1, 4, cells, cells, generator=torch.Generator().manual_seed(2))
settings = {"guidance_scale": 7.5, "t_prime": 881, "t": 941}  # the pipeline's own, not this checkpoint's
ours = text_to_video(sd, prompt, frames, steps, noise={"x_T": x_T, "forward": forward}, **settings).latents

grid = sd.schedule.timesteps(steps)[::-1]  # their T' and T are places in this list; 44 and 47 of 50
t0, t1 = (grid.index(sd.schedule.snap(t, steps)) for t in (881, 941))
parts = {"safety_checker": None, "feature_extractor": None, "torch_dtype": torch.float32}
pipe = TextToVideoZeroPipeline.from_pretrained(str(sd.path), **parts)
theirs = pipe(
    prompt,
    frames,
    num_inference_steps=steps,
    **{"t0": t0, "t1": t1, "latents": x_T},
    output_type="latent",
    generator=torch.Generator().manual_seed(2),
).images  # its one draw is the forward noise
print(f"relative difference of the latents: {float((ours - theirs).norm() / theirs.norm()):.1e}")
