"""The descent of one generation: stretches of the DDIM grid, with progress, observers and DDIM's own noise."""

from collections.abc import Callable

import torch
from torch import Tensor

from ..attention import AttentionRecord
from ..errors import InputError
from ..schedulers import NoiseSchedule
from .denoise import NoisePredictor, denoise
from .randomness import Noise
from .settings import Settings

Progress = Callable[[int, int, str], None]  # work done, work in all (frames × steps), what is being done


class Descent:
    """Calls `denoise` from one timestep of the grid to another, and counts the work.

    grid: the sampler's timesteps, noisiest first. total: frames × steps of the whole generation, known from the start,
    so that a progress bar can tell the time left. moves: whether there are motion dynamics (E6–E9); rerun: whether all
    frames are denoised twice, once to find the foreground (E13).
    """

    def __init__(self, predict: NoisePredictor, schedule: NoiseSchedule, settings: Settings, draws: Noise, T: int,
                 T_prime: int, moves: bool, rerun: bool, device: torch.device, progress: Progress | None,
                 on_step: Callable | None):
        self.predict, self.schedule, self.settings, self.draws = predict, schedule, settings, draws
        self.device, self.progress, self.on_step = device, progress, on_step
        self.grid = schedule.timesteps(settings.steps)
        self._check_eta()
        m, passes = settings.frames, 2 if rerun else 1
        if not moves:
            self.total = m * len(self.grid) * passes
        else:
            self.total = sum(t > T_prime for t in self.grid) + m * sum(t <= T for t in self.grid) * passes
        self.done = 0

    def __call__(self, x: Tensor, start: int, stop: int | None, stage: str) -> Tensor:
        """x (f, c, h, w) at timestep `start` -> x at `stop`, or at the end of the grid (None)."""
        stretch = [t for t in self.grid if t <= start and (stop is None or t > stop)]
        self._tell(0, stage)
        for step in denoise(self.predict, x, stretch, self.settings.steps, self.schedule, stage, self.settings.eta,
                            lambda t: self._eta_noise(t, x)):
            x = step.x_s
            if self.on_step is not None:
                self.on_step(step)
            self._tell(len(x), stage)
        return x

    def place(self, x: Tensor) -> Tensor:
        """Noise on the device, in the latents' type: float32, or float64 if the model is; never half precision."""
        return x.to(self.device, torch.promote_types(self.predict.context.dtype, torch.float32))

    def recording(self, work: Callable) -> AttentionRecord:
        """Do `work` while the text attention of every step is recorded; return the record."""
        self.predict.record = AttentionRecord()
        try:
            work()
            return self.predict.record
        finally:
            self.predict.record = None

    def _check_eta(self) -> None:
        given = self.draws.given.get("eta")
        expected = (len(self.grid), self.settings.frames)
        if given is not None and tuple(given.shape[:2]) != expected:
            raise InputError(f'noise "eta" must have shape ({expected[0]} steps, {expected[1]} frames, …); got {tuple(given.shape)}')

    def _eta_noise(self, t: int, x: Tensor) -> Tensor:
        """z of E3 for the frames of x at timestep t: frame 1 gets the same in every stage."""
        if "eta" in self.draws.given:
            return self.draws.given["eta"][self.grid.index(t), : len(x)].to(x)
        return torch.stack([self.draws.draw(f"eta at {t}", k, tuple(x.shape[1:])) for k in range(len(x))]).to(x)

    def _tell(self, frames: int, stage: str) -> None:
        self.done += frames
        if self.progress is not None:
            self.progress(self.done, self.total, stage)
