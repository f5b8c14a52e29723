"""One generation under way: what its stages need, made once, and checked before the work.

`Generation` is what all pipelines share: the model, noise on the device, remarks, the work done and left. `Run` adds
what Algorithm 1 needs.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from ..attention import Look
from ..errors import InputError
from ..motion import correlate, global_motion, similarity_flow, translation_flow
from .denoise import NoisePredictor, Step, denoise
from .kinds import check_side
from .masks import subject_positions
from .randomness import Noise
from .settings import Sampling, Settings
from .trace import enter, observe, observe_step

# work done, work in all (frames × steps, and frames to decode), what is done
Progress = Callable[[int, int, str], None]


class Generation:
    """What every pipeline's stages work with. Raises InputError for what cannot work, before any work.

    frames: m. height, width: of the video in pixels; as attributes, in latent cells. latent: the shape of one frame's
    latent. notes: remarks for the user. total: the work of the whole generation, set by the pipeline before the first
    `tell`, so that a progress bar can tell the time left. NOISE: the draws a caller may replace.
    """

    NOISE = Noise.NAMES

    def __init__(
        self,
        sd,
        settings: Sampling,
        frames: int,
        height: int,
        width: int,
        noise: dict[str, Tensor] | None,
        progress: Progress | None,
        on_step: Callable | None,
    ):
        self.sd, self.settings, self.frames, self.progress, self.on_step = sd, settings, frames, progress, on_step
        for name, side in (("height", height), ("width", width)):
            check_side(name, side, sd.vae.factor)
        self.height, self.width = height // sd.vae.factor, width // sd.vae.factor
        self.latent = (sd.unet.config.out_channels, self.height, self.width)
        self.draws = Noise(settings.seed, noise, self.NOISE)
        self.notes = sd.prompt_notes(settings.prompt) + sd.prompt_notes(settings.negative_prompt)
        if settings.attention == "all" and settings.chunk is not None and settings.chunk < frames:
            self.notes.append(
                'attention "all" looks at every frame at once, so chunk is ignored and memory grows with m'
            )
        self.done = self.total = 0

    def noise(self, name: str, indices: range) -> Tensor:
        """The named noise of some frames, (len(indices), c, h, w), on the device, in the latents' type."""
        noise = self.as_latents(self.draws.frames(name, indices, self.latent))
        observe(f"noise/{name}", noise)
        return noise

    def initial_noise(self) -> Tensor:
        """Pure noise for every frame (m, c, h, w), correlated as the setting `initial_noise` says."""
        independent, shared = self.noise("initial", range(self.frames)), self.noise("shared", range(1))
        return correlate(independent, shared, self.settings.initial_noise, self.settings.noise_strength)

    def check_initial_noise(self) -> None:
        """Refuse the caller's tensor for a draw that the setting `initial_noise` does without."""
        kind = self.settings.initial_noise
        unused = {"independent": "shared", "progressive": "shared", "shared": "initial"}.get(kind)
        if unused in self.draws.given:
            raise InputError(f'noise "{unused}" has no use with initial noise "{kind}"')

    def step_noise(self, name: str, i: int, t: float, frames: int) -> Tensor:
        """The fresh noise (frames, c, h, w) of step i, from timestep t; frame 1 gets the same in every stage."""
        if name in self.draws.given:
            return self.as_latents(self.draws.given[name][i, :frames])
        return self.as_latents(self.draws.frames(f"{name} at {t:.0f}", range(frames), self.latent))

    def check_step_noise(self, name: str, steps: int) -> None:
        """Refuse the caller's tensor for `step_noise` if it is not (steps, m, c, h, w)."""
        expected = (steps, self.frames, *self.latent)
        if name in self.draws.given and tuple(self.draws.given[name].shape) != expected:
            raise InputError(f'noise "{name}" must have shape {expected}; got {tuple(self.draws.given[name].shape)}')

    def as_latents(self, x: Tensor) -> Tensor:
        """x on the device, in float32, or float64 if the model is: latents are never kept in half precision."""
        return x.to(self.sd.device, torch.promote_types(self.sd.dtype, torch.float32))

    def walk(self, x: Tensor, steps: Iterator[Step], stage: str) -> Tensor:
        """Take denoising steps from x (f, c, h, w) on, report each, and return where the last one ends."""
        self.tell(0, stage)
        enter(stage)
        for step in steps:
            x = step.x_s
            observe_step(step)
            if self.on_step is not None:
                self.on_step(step)
            self.tell(len(x), stage)
        return x

    def tell(self, work: int, stage: str) -> None:
        """Report that so much more work is done."""
        self.done += work
        if self.progress is not None:
            self.progress(self.done, self.total, stage)


class Run(Generation):
    """Algorithm 1's settings turned into what its stages work with.

    T, T_prime: on the grid of `steps` timesteps; start: the grid's first. flow (m, 2, h, w): E7's.
    moves: whether there are motion dynamics (E6–E9) or all frames start from noise of their own. unet: ε_θ, where it is
    another than sd's (one steered by ControlNets).
    """

    def __init__(
        self,
        sd,
        settings: Settings,
        noise: dict[str, Tensor] | None,
        masks: Tensor | None,
        flow: Tensor | None,
        progress: Progress | None,
        on_step: Callable | None,
        unet: Callable | None = None,
    ):
        check_makes_from_text(sd)
        settings = settings.with_sides(sd.default_size, sd.default_size)
        super().__init__(sd, settings, settings.frames, settings.height, settings.width, noise, progress, on_step)
        self.masks = masks
        self.moves = settings.motion is not None or flow is not None
        self.grid = sd.schedule.timesteps(settings.steps)
        self.start = self.grid[0]
        self.T, self.T_prime = self._snap() if self.moves else (self.start, self.start)
        self.flow = self._camera_path(flow)
        observe("flow", self.flow)
        self._check_given(noise or {}, flow)
        self.finds_foreground = settings.smooth_background > 0 and masks is None
        self.subject = subject_positions(sd.tokenizer, settings) if self.finds_foreground else []
        context = sd.encode_text([settings.negative_prompt, settings.prompt])
        unet = sd.unet if unet is None else unet
        self.predict = NoisePredictor(unet, context, settings.guidance_scale, settings.attention, settings.chunk)
        alone = sum(t > self.T_prime for t in self.grid) if self.moves else 0
        together = self.frames * sum(t <= self.T for t in self.grid) * (2 if self.finds_foreground else 1)
        self.total = alone + together + self.frames

    def denoise(self, x: Tensor, start: int, stop: int | None, stage: str, look: Look | None = None) -> Tensor:
        """x (f, c, h, w) at timestep `start` -> x at `stop`, or at the grid's end (None). look: a hook."""
        stretch = [t for t in self.grid if t <= start and (stop is None or t > stop)]
        steps = denoise(
            lambda x, t: self.predict(x, t, look),
            x,
            stretch,
            self.settings.steps,
            self.sd.schedule,
            stage,
            self.settings.eta,
            lambda t: self.step_noise("eta", self.grid.index(t), t, len(x)),
        )
        return self.walk(x, steps, stage)

    def _snap(self) -> tuple[int, int]:
        """T and T' on the sampler's grid; what was moved is said in the notes."""
        asked, steps = self.settings, self.settings.steps
        T, T_prime = self.sd.schedule.snap(asked.t, steps), self.sd.schedule.snap(asked.t_prime, steps)
        if (T, T_prime) != (asked.t, asked.t_prime):
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

    def _camera_path(self, given: Tensor | None) -> Tensor:
        """E7 as a flow (m, 2, h, w): the caller's, or translation, zoom and rotation that grow with k; zero if off."""
        m, h, w, settings = self.frames, self.height, self.width, self.settings
        if given is not None:
            if tuple(given.shape) != (m, 2, h, w):
                raise InputError(
                    f"flow must have shape {(m, 2, h, w)}, latent cells (x, y) for every frame; "
                    f"got {tuple(given.shape)}"
                )
            if not bool(torch.isfinite(given).all()):
                raise InputError("flow holds a NaN or an infinity; displacements are finite numbers of latent cells")
            return given
        if settings.motion is None:
            return torch.zeros(m, 2, h, w)
        flow = translation_flow(global_motion(settings.motion, m), h, w, settings.flow_convention)
        k = torch.arange(m, dtype=torch.float64)
        return flow + similarity_flow(settings.zoom**k, settings.rotation * k, h, w)

    def _check_given(self, noise: dict[str, Tensor], flow: Tensor | None) -> None:
        """Refuse tensors that would be ignored or do not fit; note settings that have no effect."""
        settings, m = self.settings, self.frames
        idle = set(noise) & ({"initial", "shared"} if self.moves else {"x_T", "forward"})
        if idle:
            raise InputError(f'noise "{sorted(idle)[0]}" has no use with motion {"on" if self.moves else "off"}')
        self.check_initial_noise()
        if "eta" in noise and settings.eta == 0:
            raise InputError('noise "eta" has no use with eta = 0, which adds none')
        self.check_step_noise("eta", len(self.grid))
        camera = settings.zoom != 1 or settings.rotation != 0
        if flow is not None and (camera or settings.initial_noise != type(settings).initial_noise):
            raise InputError("a flow replaces motion, zoom, rotation and initial noise; leave those at their defaults")
        masks = self.masks
        if masks is not None and (masks.ndim != 4 or masks.shape[0] not in (1, m) or masks.shape[1] != 1):
            raise InputError(
                f"masks must have shape ({m} or 1, 1, H, W), white (1) where the foreground is; "
                f"got {tuple(masks.shape)}"
            )
        if settings.smooth_background == 0 and (masks is not None or settings.foreground is not None):
            self.notes.append("masks and foreground words have no effect without smooth_background (0.6 in the paper)")
        elif masks is not None and settings.foreground is not None:
            self.notes.append("foreground words have no effect beside masks")
        if self.start < 700:
            self.notes.append(
                f"{settings.steps} steps start at timestep {self.start}, where a picture is not pure "
                "noise yet; expect a pale one (50 steps start at 981)"
            )


def check_makes_from_text(sd) -> None:
    """Raise InputError for a model whose UNet reads more than noisy latents: InstructPix2Pix needs a source video."""
    if sd.unet.config.in_channels != sd.unet.config.out_channels:
        raise InputError(
            f"{sd.path or 'this model'}: its UNet reads {sd.unet.config.in_channels} channels, a source "
            "video's among them; use it with edit_video (t2vz edit), or load a Stable Diffusion 1.x model"
        )
