"""One video under way: what the lines of Algorithm 1 are written with, for every pipeline."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..finite import check_finite
from ..motion import correlate
from ..schedulers import euler_timesteps
from ..vae import decode_frames
from ..video import Video
from .checks import check_job
from .denoise import Step, denoise, denoise_ancestral
from .prediction import Predict
from .randomness import Noise
from .ranks import ALONE, Share
from .settings import Settings
from .trace import enter, show
from .values import check_side

if TYPE_CHECKING:
    from ..model import StableDiffusion

# work done, work in all (frames × steps, and frames to encode and decode), what is done
Progress = Callable[[int, int, str], None]


class Job:
    """A request that was checked: everything Algorithm 1 needs, and nothing done yet.

    sd: the model. settings: the request. make_predict(job): ε_θ(x, t), guided, made when the work begins. noise, masks,
    flow, progress, on_step: see `text_to_video`. share: of the frames, where other processes make the rest. encodes:
    whether the frames of a source video are encoded first.
    As attributes also frames: m; mine: the indices of those made here, all unless there is a share; h, w: the latents'
    sides, in cells; grid: the sampler's timesteps, noisiest first; start: where frame 1's noise is drawn; T, T_prime:
    on the grid; moves: whether there are motion dynamics (E6–E9); finds_foreground: whether E13 takes its masks from
    attention; notes: remarks for the user; done, total: the work. Raises InputError for what cannot work.
    """

    def __init__(
        self,
        sd: "StableDiffusion",
        settings: Settings,
        make_predict: Callable[["Job"], Predict],
        noise: dict[str, Tensor] | None = None,
        masks: Tensor | None = None,
        flow: Tensor | None = None,
        progress: Progress | None = None,
        on_step: Callable[[Step], None] | None = None,
        share: Share = ALONE,
        encodes: bool = False,
    ):
        settings = settings.with_sides(sd.default_size, sd.default_size)
        self.sd, self.settings, self.make_predict = sd, settings, make_predict
        self.masks, self.flow, self.progress, self.on_step, self.share = masks, flow, progress, on_step, share
        for side in ("height", "width"):
            check_side(side, getattr(settings, side), sd.vae.factor)
        self.frames, self.mine, steps = settings.frames, share.frames(settings.frames), settings.steps
        self.h, self.w = settings.height // sd.vae.factor, settings.width // sd.vae.factor
        self.latent = (sd.unet.config.out_channels, self.h, self.w)
        self.notes = sd.prompt_notes(settings.prompt) + sd.prompt_notes(settings.negative_prompt)
        self.moves = settings.motion is not None or flow is not None
        self.grid = sd.schedule.timesteps(steps) if settings.sampler == "ddim" else euler_timesteps(sd.schedule, steps)
        self.T, self.T_prime = self._snapped() if self.moves else (self.grid[0], self.grid[0])
        self.start = self.T if settings.start_convention == "paper" else self.grid[0]
        self.draws = Noise(settings.seed, noise)
        self.finds_foreground = settings.smooth_background > 0 and masks is None
        check_job(self)
        alone = sum(self.T_prime < t <= self.start for t in self.grid) if self.moves else 0
        together = sum(t <= self.T for t in self.grid) * (2 if self.finds_foreground else 1)
        decoded = self.frames if share.rank == 0 else len(self.mine) - 1
        self.done, self.total = 0, alone + len(self.mine) * (encodes + together) + decoded

    # What Algorithm 1 is written with

    def noise(self, name: str, frames: Sequence[int]) -> Tensor:
        """The named noise of some frames, (len(frames), c, h, w), on the device, in the latents' type."""
        noise = self.as_latents(self.draws.frames(name, frames, self.latent))
        show({f"noise/{name}": noise})
        return noise

    def initial_noise(self) -> Tensor:
        """Pure noise for every frame (m, c, h, w), correlated as the setting `initial_noise` says."""
        if self.settings.initial_noise == "inverted":
            return self.as_latents(self.sd.inverted[self.mine])  # not noise, but a video's latents at T (E17)
        kind, strength = self.settings.initial_noise, self.settings.noise_strength
        if kind == "progressive":  # frame k's follows from those of all before it
            earlier = self.noise("initial", range(self.mine[-1] + 1))
            return correlate(earlier, self.noise("shared", [0]), kind, strength)[self.mine]
        return correlate(self.noise("initial", self.mine), self.noise("shared", [0]), kind, strength)

    def denoise(self, predict: Predict, x: Tensor, start: float, stop: float | None, stage: str) -> Tensor:
        """x (f, c, h, w) at timestep `start` -> x at `stop`, or at the grid's end (None), by DDIM (E3) or E4's sampler.

        stage: a name for progress, traces and errors.
        """
        schedule, steps, mine = self.sd.schedule, self.settings.steps, self.mine[: len(x)]
        stretch = [t for t in self.grid if t <= start and (stop is None or t > stop)]
        self.tell(0, stage)
        enter(stage)
        ddim = self.settings.sampler == "ddim"
        fresh = partial(self._fresh, "eta" if ddim else "ancestral", mine, stage)
        if ddim:
            made = denoise(predict, x, stretch, steps, schedule, stage, self.settings.eta, fresh)
        else:  # the whole grid, for T' = T = start; frame 1's stretches are empty
            made = denoise_ancestral(predict, x, stretch, schedule, fresh, stage)
        for step in made:
            x = step.x_s
            check_finite(x, f"{stage}, timestep {step.t:.0f}", mine, self.sd.dtype)
            show({f"{name}/{stage}/{step.t:.0f}": getattr(step, name) for name in ("x_t", "eps", "x_0")})
            if self.on_step is not None:
                self.on_step(step)
            self.tell(len(x), stage)
        return x

    def tell(self, work: int, stage: str) -> None:
        """Report that so much more work is done."""
        self.share.look_out()
        self.done += work
        if self.progress is not None:
            self.progress(self.done, self.total, stage)

    def as_latents(self, x: Tensor) -> Tensor:
        """x on the device, in float32, or float64 if the model is: latents are never kept in half precision."""
        return x.to(self.sd.device, torch.promote_types(self.sd.dtype, torch.float32))

    # What is made of the latents x_0 (m, c, h, w) that Algorithm 1 returns

    def pictures(self, x_0: Tensor) -> Iterator[np.ndarray]:
        """All frames, uint8 (H, W, 3), decoded one after the other, each when it is asked for.

        With a share, rank 0 gets all frames, and the others none, for they send theirs.
        """
        show({"latents": x_0})
        own = self.share.own
        pictures = map(torch.from_numpy, decode_frames(self.sd.vae, x_0[own], self.mine[own]))
        for picture in self.share.gather(pictures, self.frames):
            self.tell(1, "decoding")
            yield picture.numpy()

    def latents(self, x_0: Tensor) -> Iterator[Tensor]:
        """All frames' latents (c, h, w), on the CPU; with a share as `pictures`."""
        return self.share.gather(x_0[self.share.own].cpu(), self.frames)

    def video(self, x_0: Tensor) -> Video:
        """The whole Video, its frames decoded."""
        size = (self.frames, self.h * self.sd.vae.factor, self.w * self.sd.vae.factor, 3)
        frames = np.empty(size, dtype=np.uint8)  # no second copy
        for k, picture in enumerate(self.pictures(x_0)):
            frames[k] = picture
        return Video(frames, x_0.cpu(), self.settings.fps, self.settings.to_dict(), self.notes)

    def _fresh(self, name: str, frames: list[int], stage: str, t: float) -> Tensor:
        """The noise that a sampler adds to some frames in the step from t: (f, c, h, w). Frame 1 gets the same in every
        stage."""
        noise = self.as_latents(self.draws.step(name, self.grid.index(t), t, frames, self.latent))
        show({f"noise/{name}/{stage}/{t:.0f}": noise})
        return noise

    def _snapped(self) -> tuple[int, int]:
        """T and T' on the sampler's grid; what was moved is said in the notes.

        The schedule's last timestep, 999, stands for the grid's first, where denoising begins.
        """
        asked, steps, schedule = self.settings, self.settings.steps, self.sd.schedule
        last = schedule.train_steps - 1
        if asked.sampler != "ddim":
            return last, last
        T, T_prime = schedule.snap(asked.t, steps), schedule.snap(asked.t_prime, steps)
        if any(found != t != last for found, t in ((T, asked.t), (T_prime, asked.t_prime))):
            self.notes.append(
                f"with {steps} steps the nearest timesteps are T = {T} (asked: {asked.t}) and "
                f"T' = {T_prime} (asked: {asked.t_prime})"
            )
        if T == T_prime and asked.t != asked.t_prime:
            self.notes.append(
                "T and T' fall on the same step, so frames get no noise of their own and only the camera "
                "moves; use more steps or a smaller t_prime"
            )
        return T, T_prime
