"""E7, E8, E13: flow fields, warp, background smoothing, initial noises. Pure functions on tensors."""

from .flow import global_motion, similarity_flow, translation_flow
from .noise import NOISES, correlate
from .smoothing import background_mask, dilate, mask_to_latent, smooth_background
from .warping import warp
