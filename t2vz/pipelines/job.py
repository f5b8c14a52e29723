"""One video under way: what the lines of Algorithm 1 are written with, for every pipeline."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..attention import looks_ahead
from ..errors import InputError
from ..motion import correlate
from ..schedulers import euler_timesteps
from ..video import Video
from .decoding import decoded
from .denoise import Step, check_finite, denoise, denoise_ancestral
from .kinds import check_side
from .masks import subject_positions
from .prediction import Predict
from .randomness import Noise
from .ranks import ALONE, Share
from .settings import Settings
from .trace import enter, observe, observe_step

if TYPE_CHECKING:
    from ..model import StableDiffusion

# work done, work in all (frames × steps, and frames to encode and decode), what is done
Progress = Callable[[int, int, str], None]


class Job:
    """A request that was checked: everything Algorithm 1 needs, and nothing done yet.

    sd: the model. settings: the request. predictor: makes ε_θ when the work begins. noise, masks, flow, progress,
    on_step: see `text_to_video`. share: of the frames, where other processes make the rest. encodes: whether the frames
    of a source video are encoded first.
    As attributes also frames: m; mine: the indices of those made here, with a share not all; height, width: of the
    latents, in cells; sampler: "ddim" or "euler_ancestral"; grid: its timesteps, noisiest first; start: where frame 1's
    noise is drawn; T, T_prime: on the grid; moves: whether there are motion dynamics (E6–E9); notes: remarks for the
    user; done, total: the work. Raises InputError for what cannot work.
    """

    def __init__(
        self,
        sd: "StableDiffusion",
        settings: Settings,
        predictor: Callable[[], Predict],
        noise: dict[str, Tensor] | None = None,
        masks: Tensor | None = None,
        flow: Tensor | None = None,
        progress: Progress | None = None,
        on_step: Callable[[Step], None] | None = None,
        share: Share = ALONE,
        encodes: bool = False,
    ):
        settings = settings.with_sides(sd.default_size, sd.default_size)
        self.sd, self.settings, self.predictor = sd, settings, predictor
        self.sampler = getattr(settings, "sampler", "ddim")
        self.masks, self.flow, self.progress, self.on_step, self.share = masks, flow, progress, on_step, share
        for side in ("height", "width"):
            check_side(side, getattr(settings, side), sd.vae.factor)
        self.frames, self.mine, steps = settings.frames, share.frames(settings.frames), settings.steps
        share.check(settings)
        self.height, self.width = settings.height // sd.vae.factor, settings.width // sd.vae.factor
        self.latent = (sd.unet.config.out_channels, self.height, self.width)
        self.notes = sd.prompt_notes(settings.prompt) + sd.prompt_notes(settings.negative_prompt)
        self.moves = settings.motion is not None or flow is not None
        self.grid = sd.schedule.timesteps(steps) if self.sampler == "ddim" else euler_timesteps(sd.schedule, steps)
        self.T, self.T_prime = self._snapped() if self.moves else (self.grid[0], self.grid[0])
        self.start = self.T if settings.start_convention == "paper" else self.grid[0]
        names = Noise.EDIT_NAMES if hasattr(settings, "sampler") else Noise.NAMES
        self.draws = Noise(settings.seed, noise, names)
        self._check_noise()
        self._check_inverted()
        self._check_tensors()
        looks_twice = settings.smooth_background > 0 and masks is None
        if looks_twice:
            subject_positions(sd.tokenizer, settings)  # raises if no word is foreground
        self._say_what_has_no_effect()
        alone = sum(self.T_prime < t <= self.start for t in self.grid) if self.moves else 0
        together = sum(t <= self.T for t in self.grid) * (2 if looks_twice else 1)
        decoded = self.frames if share.rank == 0 else len(self.mine) - 1
        self.done, self.total = 0, alone + len(self.mine) * (encodes + together) + decoded

    # What Algorithm 1 is written with

    def noise(self, name: str, frames: Sequence[int]) -> Tensor:
        """The named noise of some frames, (len(frames), c, h, w), on the device, in the latents' type."""
        if name in self.draws.given:  # the forward noise begins with frame 2
            noise = self.draws.given[name][[k - (name == "forward") for k in frames]]
        else:
            noise = self.draws.frames(name, frames, self.latent)
        noise = self.as_latents(noise)
        observe(f"noise/{name}", noise)
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
        if self.sampler == "ddim":
            made = denoise(predict, x, stretch, steps, schedule, stage, self.settings.eta, self._fresh("eta", mine))
        else:  # from pure noise to the end, or nothing: T' = T = start
            fresh = self._fresh("ancestral", mine)
            made = denoise_ancestral(predict, x, steps, schedule, fresh, stage) if stretch else ()
        for step in made:
            x = step.x_s
            check_finite(x, f"{stage}, timestep {step.t:.0f}", mine, self.sd.dtype)
            observe_step(step)
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
        observe("latents", x_0)
        skipped = 0 if self.share.rank == 0 else 1  # frame 1 is rank 0's
        pictures = decoded(self.sd, x_0[skipped:], self.tell, self.mine[skipped:])
        for k, picture in enumerate(self.share.gather_frames(pictures, self.frames)):
            if k >= len(self.mine):
                self.tell(1, "decoding")  # elsewhere
            yield picture

    def video(self, x_0: Tensor) -> Video:
        """The whole Video, its frames decoded."""
        size = (self.frames, self.height * self.sd.vae.factor, self.width * self.sd.vae.factor, 3)
        frames = np.empty(size, dtype=np.uint8)  # no second copy
        for k, picture in enumerate(self.pictures(x_0)):
            frames[k] = picture
        return Video(frames, x_0.cpu(), self.settings.fps, self.settings.to_dict(), self.notes)

    # Checks

    def _fresh(self, name: str, frames: list[int]) -> Callable[[float], Tensor]:
        """The noise that a sampler adds to some frames in its steps, as a function of the timestep: (f, c, h, w).

        Frame 1 gets the same in every stage.
        """

        def draw(t: float) -> Tensor:
            if name in self.draws.given:
                return self.as_latents(self.draws.given[name][self.grid.index(t)][frames])
            return self.as_latents(self.draws.frames(f"{name} at {t:.0f}", frames, self.latent))

        return draw

    def _snapped(self) -> tuple[int, int]:
        """T and T' on the sampler's grid; what was moved is said in the notes.

        The schedule's last timestep, 999, stands for the grid's first, where denoising begins.
        """
        asked, steps, schedule = self.settings, self.settings.steps, self.sd.schedule
        last = schedule.train_steps - 1
        if self.sampler != "ddim":
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

    def _check_noise(self) -> None:
        """Refuse tensors in place of draws that would be ignored or do not fit."""
        given, settings = self.draws.given, self.settings
        idle = set(given) & ({"initial", "shared"} if self.moves else {"x_T", "forward"})
        if idle:
            raise InputError(f'noise "{sorted(idle)[0]}" has no use with motion {"on" if self.moves else "off"}')
        kind = settings.initial_noise
        useless = {"independent": ["shared"], "progressive": ["shared"], "shared": ["initial"]}
        useless["inverted"] = ["initial", "shared"]
        unused = next((name for name in useless.get(kind, []) if name in given), None)
        if unused:
            raise InputError(f'noise "{unused}" has no use with initial noise "{kind}"')
        if "eta" in given and settings.eta == 0:
            raise InputError('noise "eta" has no use with eta = 0, which adds none')
        if "ancestral" in given and self.sampler == "ddim":
            raise InputError('noise "ancestral" has no use with the sampler "ddim", which adds none')
        one, all_frames, others = ((n, *self.latent) for n in (1, self.frames, self.frames - 1))
        steps = (settings.steps, *all_frames)
        shapes = {"x_T": one, "forward": others, "initial": all_frames, "shared": one, "eta": steps, "ancestral": steps}
        for name, expected in shapes.items():
            if name in given and tuple(given[name].shape) != expected:
                raise InputError(f'noise "{name}" must have shape {expected}; got {tuple(given[name].shape)}')

    def _check_inverted(self) -> None:
        """Refuse to start from an inverted video that is not there or does not fit; say if it is from another T."""
        inverted, tuned = self.sd.inverted, self.sd.defaults.get("generate", {})
        if self.settings.initial_noise != "inverted":
            return
        if inverted is None:
            raise InputError('initial noise "inverted" is for models tuned on a video; t2vz tune makes one')
        if tuple(inverted.shape) != (self.frames, *self.latent):
            m, _, h, w = inverted.shape
            size = size_in_words((m, h * self.sd.vae.factor, w * self.sd.vae.factor))
            asked = size_in_words((self.frames, self.settings.height, self.settings.width))
            raise InputError(f"this model was tuned on {size}, and starts from them; {asked} were asked for")
        if self.settings.steps != tuned.get("steps", self.settings.steps):
            self.notes.append(
                f"the video was inverted in {tuned['steps']} steps; {self.settings.steps} start at another timestep, "
                "so expect less of it"
            )

    def _check_tensors(self) -> None:
        """Refuse masks and a flow that do not fit, and settings that a flow replaces."""
        settings, m, masks, flow = self.settings, self.frames, self.masks, self.flow
        for name, value in (("masks", masks), ("flow", flow)):
            if value is not None and not isinstance(value, Tensor):
                raise InputError(f"{name} must be a tensor; got a {type(value).__name__}: torch.as_tensor makes one")
        if masks is not None and (masks.ndim != 4 or masks.shape[0] not in (1, m) or masks.shape[1] != 1):
            raise InputError(
                f"masks must have shape ({m} or 1, 1, H, W), white (1) where the foreground is; "
                f"got {tuple(masks.shape)}"
            )
        if masks is not None and not bool(((masks >= 0) & (masks <= 1)).all()):
            raise InputError("masks must lie between 0, background, and 1, foreground; divide pixels by 255")
        if flow is None:
            return
        expected = (m, 2, self.height, self.width)
        if tuple(flow.shape) != expected:
            raise InputError(
                f"flow must have shape {expected}, latent cells (x, y) for every frame; got {tuple(flow.shape)}"
            )
        if not bool(torch.isfinite(flow).all()):
            raise InputError("flow holds a NaN or an infinity; displacements are finite numbers of latent cells")
        camera = settings.zoom != 1 or settings.rotation != 0
        if camera or settings.initial_noise != type(settings).initial_noise:
            raise InputError("a flow replaces motion, zoom, rotation and initial noise; leave those at their defaults")

    def _say_what_has_no_effect(self) -> None:
        """Notes on settings that do nothing, or less than they promise."""
        settings, masks, chunk = self.settings, self.masks, self.settings.chunk
        if chunk is not None and chunk < self.frames and looks_ahead(settings.attention, self.frames):
            self.notes.append(
                f'attention "{settings.attention}" looks at later frames too, so chunk is ignored and memory '
                "grows with m"
            )
        if chunk is not None and chunk < self.frames and self.sd.unet.config.temporal_attention:
            self.notes.append("this model's temporal attention looks at all frames at once, so chunk is ignored")
        if settings.smooth_background == 0 and (masks is not None or settings.foreground is not None):
            self.notes.append("masks and foreground words have no effect without smooth_background (0.6 in the paper)")
        elif masks is not None and settings.foreground is not None:
            self.notes.append("foreground words have no effect beside masks")
        if self.grid[0] < 700:
            self.notes.append(
                f"{settings.steps} steps start at timestep {self.grid[0]}, where a picture is not pure "
                "noise yet; expect a pale one (50 steps start at 981)"
            )


def for_video(settings: Settings, size: tuple[int, int, int], name: str) -> Settings:
    """The settings with a video's height and width where they have none. size: its frames, height, width; name: which.

    Raises InputError if they are for another size.
    """
    settings = settings.with_sides(*size[1:])
    asked = settings.frames, settings.height, settings.width
    if size != asked:
        raise InputError(
            f"the settings are for {size_in_words(asked)}, the {name} has {size_in_words(size)}; give the "
            "video they were made for"
        )
    return settings


def size_in_words(size: tuple[int, int, int]) -> str:
    """(8, 48, 32) -> "8 frames of 32×48"."""
    frames, height, width = size
    return f"{frames} frames of {width}×{height}"
