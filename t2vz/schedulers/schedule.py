"""The noise schedule: β_t, α_t = 1 − β_t, ᾱ_t = Π α_i, and the timesteps a sampler visits (paper §3.1).

Timesteps are the training steps 0 … 999 of Stable Diffusion, counted so that ᾱ_0 = 1 − β_0 already holds a little
noise. A sampler of n steps visits n of them, from the noisiest down.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ..errors import InputError

CONVENTIONS = ("release", "paper")  # of the forward jump: docs/method.md, difference 1


@dataclass(frozen=True)
class NoiseSchedule:
    """β_i = (√β_first + i/(N−1)·(√β_last − √β_first))², i = 0 … N−1: the "scaled linear" schedule.

    train_steps: N. beta_first, beta_last: β_0 and β_{N−1}, in (0, 1). steps_offset: what a sampler adds to its
    timesteps (SD: 1). Defaults are Stable Diffusion 1.5's; its training code computes the same table (CompVis,
    "linear"). All tables are float64 on the CPU: they are multiplied into latents as plain numbers.
    """

    train_steps: int = 1000
    beta_first: float = 0.00085
    beta_last: float = 0.012
    steps_offset: int = 1

    @classmethod
    def stable_diffusion(cls) -> "NoiseSchedule":
        """The schedule of Stable Diffusion 1.x: ᾱ_0 = 0.99915, ᾱ_999 = 0.0046601."""
        return cls()

    @cached_property
    def betas(self) -> Tensor:
        """β_0 … β_{N−1}, shape (N,)."""
        ends = self.beta_first**0.5, self.beta_last**0.5
        roots = torch.linspace(*ends, self.train_steps, dtype=torch.float64, device="cpu")
        return roots**2

    @cached_property
    def alphas(self) -> Tensor:
        """α_t = 1 − β_t, shape (N,)."""
        return 1.0 - self.betas

    @cached_property
    def alpha_bar(self) -> Tensor:
        """ᾱ_t = Π_{i ≤ t} α_i, shape (N,): the share of the picture's variance that is left at timestep t."""
        return self.alphas.cumprod(dim=0)

    def alpha_bar_at(self, t: int) -> float:
        """ᾱ_t; a t below 0 gives ᾱ_0, where the last step ends (SD's set_alpha_to_one = False)."""
        if t >= self.train_steps:
            raise InputError(f"timestep {t} is past the schedule's last, {self.train_steps - 1}")
        return float(self.alpha_bar[max(t, 0)])

    def timesteps(self, steps: int) -> list[int]:
        """The n timesteps of an n-step sampler, noisiest first: i·(N // n) + 1 for i = n−1 … 0.

        50 steps: 981, 961, …, 1. With n = N there is no room for the offset, and it is left out (999, …, 0).
        Raises InputError unless 1 ≤ n ≤ N.
        """
        self.check_steps(steps)
        stride = self.train_steps // steps
        offset = min(self.steps_offset, self.train_steps - 1 - (steps - 1) * stride)
        return [i * stride + offset for i in reversed(range(steps))]

    def check_steps(self, steps: int) -> None:
        """Raise InputError unless a sampler can have so many steps: 1 … N."""
        if not 1 <= steps <= self.train_steps:
            raise InputError(f"steps = {steps}: choose between 1 and {self.train_steps}")

    def previous(self, t: int, steps: int) -> int:
        """Where a step from t ends on the n-step grid: t − N // n; below 0 it stands for ᾱ_0 (see `alpha_bar_at`)."""
        return t - self.train_steps // steps

    def snap(self, t: int, steps: int) -> int:
        """The timestep of the n-step grid nearest to t (the noisier one of two equally near)."""
        return min(self.timesteps(steps), key=lambda grid_t: (abs(grid_t - t), -grid_t))

    def jump_ratio(self, s: int, t: int, convention: str = "release") -> float:
        """The ratio ᾱ_t/ᾱ_s of a forward jump from s to t ≥ s, E2 (docs/method.md, difference 1).

        convention "paper": Π α_i over i = s+1 … t, as the process is defined. "release": over i = s … t−1, the Python
        slice of the public code, one step early; the default, so that results compare with it.
        """
        if not 0 <= s <= t < self.train_steps:
            raise InputError(
                f"a forward jump goes from s up to t ≥ s within 0 … {self.train_steps - 1}; got s={s}, t={t}"
            )
        if convention == "paper":
            return float(self.alphas[s + 1 : t + 1].prod())
        if convention == "release":
            return float(self.alphas[s:t].prod())
        raise InputError(f'jump convention "{convention}" does not exist; choose one of: {", ".join(CONVENTIONS)}')
