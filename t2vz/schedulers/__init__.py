"""E1–E5, E15, E17: the noise schedule, DDIM, DDPM and Euler-ancestral steps, guidance. Pure functions on tensors."""

from .ddim import ddim_inversion_step, ddim_sigma, ddim_step, predict_x0
from .ddpm import ddpm_step, forward_jump, forward_step, posterior
from .euler import ancestral_sigmas, euler_ancestral_step, euler_timesteps, scale_input, sigma_at
from .guidance import classifier_free_guidance, image_text_guidance
from .schedule import NoiseSchedule
