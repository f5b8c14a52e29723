"""E6–E9 and E13: flow fields, warp, motion dynamics, background smoothing. Pure functions on tensors."""

from .flow import global_motion, similarity_flow, translation_flow
from .noise import NOISES, correlate
from .smoothing import background_mask, dilate, mask_to_latent, smooth_background
from .warping import warp
