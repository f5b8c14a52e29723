"""E1–E5: the noise schedule, DDIM and DDPM steps, guidance. Pure functions on tensors."""

from .ddim import ddim_sigma, ddim_step, predict_x0
from .ddpm import ddpm_step, forward_jump, forward_step, posterior
from .guidance import classifier_free_guidance
from .schedule import NoiseSchedule

__all__ = [
    "NoiseSchedule", "classifier_free_guidance", "ddim_sigma", "ddim_step", "ddpm_step", "forward_jump", "forward_step",
    "posterior", "predict_x0",
]
