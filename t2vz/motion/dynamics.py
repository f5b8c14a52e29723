"""Motion dynamics in the latents: E8 and E9 put together (paper §3.3.1, the middle of Algorithm 1)."""

import torch
from torch import Tensor

from ..errors import InputError
from ..schedulers import forward_jump
from .warping import warp


def motion_dynamics(x_T: Tensor, x_T_prime: Tensor, flow: Tensor, ratio: float, noise: Tensor) -> Tensor:
    """From frame 1's latents at T and T' to all frames' latents at T.

    x_T, x_T_prime (1, c, h, w): frame 1 at T, and denoised further to T' < T (E6). flow (m−1, 2, h, w): frames 2 … m's
    (E7). ratio: r of E2 from T' to T (`NoiseSchedule.jump_ratio`; ᾱ_T/ᾱ_T' exactly by the "paper" convention).
    noise (m−1, c, h, w). Returns x^{1:m}_T (m, c, h, w): frame 1 as it is; frame k warped at T' (E8), then noised back
    up to T (E9), which frees it to move on its own.
    """
    if noise.shape != (flow.shape[0], *x_T.shape[1:]):
        raise InputError(
            f"the forward noise is one latent for each frame after the first, {(flow.shape[0], *x_T.shape[1:])}; "
            f"got {tuple(noise.shape)}"
        )
    if flow.shape[0] == 0:
        return x_T
    warped = warp(x_T_prime, flow)
    return torch.cat([x_T, forward_jump(warped, ratio, noise)])
