"""Everything that decides a generation, checked once, and written to its run file.

`Sampling` holds what every pipeline asks for; `Settings`, text_to_video's, adds the method's own. Other pipelines keep
theirs beside their code.
"""

import math
from dataclasses import asdict, dataclass, fields
from numbers import Integral, Real

from ..attention import frames_seen
from ..errors import InputError
from ..motion import NOISES
from ..motion.flow import CONVENTIONS as FLOWS
from ..motion.smoothing import CONVENTIONS as BACKGROUNDS
from ..schedulers.schedule import CONVENTIONS as JUMPS

LARGEST_SIDE = 4096  # pixels; beyond it a typing error is likelier than a wish
ANY = (-math.inf, math.inf)
WHOLE = {  # whole numbers, and their range
    "frames": (1, math.inf),
    "steps": (1, math.inf),
    "chunk": (1, math.inf),
    "seed": (0, 2**64 - 1),
    "t": (0, 999),
    "t_prime": (0, 999),
    "height": ANY,
    "width": ANY,  # sides: see check_side
}


@dataclass(frozen=True)
class Sampling:
    """What every pipeline's settings share; raises InputError for impossible values.

    initial_noise, noise_strength: see `motion.noise.correlate`. chunk: frames per UNet call, None for all.
    fps: of the file written.
    """

    prompt: str
    steps: int = 50
    guidance_scale: float = 7.5
    negative_prompt: str = ""
    seed: int = 0
    attention: str = "first"
    initial_noise: str = "independent"
    noise_strength: float = 1.0
    chunk: int | None = None
    fps: float = 4.0

    def __post_init__(self):
        self._check_words()
        for name in ("steps", "chunk", "seed"):
            self._make_whole(name)
        for name in ("guidance_scale", "noise_strength", "fps"):
            self._make_number(name)
        if self.guidance_scale < 0:
            raise InputError(
                f"guidance_scale = {self.guidance_scale}: 0 or more is needed (1 is no guidance, 7.5 usual)"
            )
        if self.fps <= 0:
            raise InputError(f"fps = {self.fps}: it must be above 0")
        if self.noise_strength < 0 or (self.initial_noise == "residual" and self.noise_strength > 1):
            raise InputError(
                f"noise_strength = {self.noise_strength}: 0 or more is needed, and at most 1 for residual noise"
            )

    def _check_words(self) -> None:
        if not isinstance(self.prompt, str) or not self.prompt.strip():
            raise InputError(
                'the prompt is empty; say what the video shows, for example "a red ball on a green meadow"'
            )
        if not isinstance(self.negative_prompt, str):
            raise InputError(f'negative_prompt = {self.negative_prompt}: words are needed, or "" for none')
        frames_seen(self.attention, 0, 1)  # raises for a variant that does not exist
        self._check_choice("initial_noise", NOISES)

    def _check_choice(self, name: str, known: tuple[str, ...]) -> None:
        if getattr(self, name) not in known:
            raise InputError(f'{name} "{getattr(self, name)}" does not exist; choose one of: {", ".join(known)}')

    def _make_whole(self, name: str) -> None:
        """A whole number of the allowed range; numpy's become Python's."""
        value, (least, most) = getattr(self, name), WHOLE[name]
        if value is None and name == "chunk":
            return
        if not isinstance(value, Integral) or isinstance(value, bool) or not least <= value <= most:
            bounds = f" from {least} to {most}" if most < math.inf else f" of at least {least}"
            allowed = "" if least == -math.inf else bounds
            raise InputError(f"{name} = {value}: a whole number{allowed} is needed")
        object.__setattr__(self, name, int(value))

    def _make_number(self, name: str) -> None:
        if not is_number(getattr(self, name)):
            raise InputError(f"{name} = {getattr(self, name)}: a finite number is needed")
        object.__setattr__(self, name, float(getattr(self, name)))

    def to_dict(self) -> dict:
        """All settings as plain JSON values."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict) -> "Sampling":
        """Settings from `to_dict`'s values; a name that does not exist is an InputError."""
        if "prompt" not in values:
            raise InputError("settings hold no prompt")
        unknown = set(values) - {f.name for f in fields(cls)}
        if unknown:
            raise InputError(f'setting "{sorted(unknown)[0]}" does not exist')
        return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


@dataclass(frozen=True)
class Settings(Sampling):
    """The arguments of `text_to_video` that are numbers and words (see there); raises InputError for impossible ones.

    height, width: pixels, multiples of 8 (the VAE's factor). Sizes that are not multiples of 64 work too: the UNet's
    levels round odd sizes up on the way down, and back on the way up.
    zoom, rotation: camera path beside `motion`, per frame: 1.02 moves in, degrees turn the picture clockwise.
    foreground: words of the prompt (a str is split). eta: 0 DDIM … 1 DDPM. *_convention: the public code's ("release")
    or the paper's, docs/method.md.
    """

    frames: int = 8
    height: int = 512
    width: int = 512
    motion: tuple[float, float] | None = (12.0, 12.0)
    zoom: float = 1.0
    rotation: float = 0.0
    t_prime: int = 881
    t: int = 941
    smooth_background: float = 0.0
    foreground: tuple[str, ...] | None = None
    eta: float = 0.0
    jump_convention: str = "release"
    flow_convention: str = "release"
    background_convention: str = "release"

    def __post_init__(self):
        super().__post_init__()
        if self.foreground is not None:
            words = self.foreground.split() if isinstance(self.foreground, str) else self.foreground
            object.__setattr__(self, "foreground", tuple(words))
            if not words:
                raise InputError(
                    "foreground names no word of the prompt; name the words that say what stands before "
                    "the background, or leave it out"
                )
        for name, known in (
            ("jump_convention", JUMPS),
            ("flow_convention", FLOWS),
            ("background_convention", BACKGROUNDS),
        ):
            self._check_choice(name, known)
        for name in ("frames", "t", "t_prime", "height", "width"):
            self._make_whole(name)
        for name in ("eta", "smooth_background", "zoom", "rotation"):
            self._make_number(name)
        self._check_motion()
        for side in ("height", "width"):
            check_side(side, getattr(self, side))
        if not 0 <= self.t_prime <= self.t <= 999:
            raise InputError(
                f"t_prime = {self.t_prime} and t = {self.t}: motion is added at T' and noised up to T, so "
                "0 ≤ T' ≤ T ≤ 999 is needed (the paper's: 881 and 941)"
            )
        for name in ("eta", "smooth_background"):
            if getattr(self, name) < 0 or getattr(self, name) > 1:
                raise InputError(f"{name} = {getattr(self, name)}: a number from 0 to 1 is needed")
        if self.zoom <= 0:
            raise InputError(f"zoom = {self.zoom}: it must be above 0")

    def _check_motion(self) -> None:
        if self.motion is not None:
            is_pair = isinstance(self.motion, (tuple, list)) and len(self.motion) == 2
            if not (is_pair and all(map(is_number, self.motion))):
                raise InputError(
                    f"motion = {self.motion}: (δ_x, δ_y), two finite numbers, is needed, or None for no motion"
                )
            object.__setattr__(self, "motion", (float(self.motion[0]), float(self.motion[1])))
            if self.initial_noise != type(self).initial_noise:
                raise InputError(
                    f'initial noise "{self.initial_noise}" is for motion off: with motion, frames start '
                    "from warps of frame 1"
                )
        elif self.zoom != 1 or self.rotation != 0:
            raise InputError(
                f"zoom = {self.zoom} and rotation = {self.rotation} move the camera, but motion is off; "
                "motion = (0, 0) goes with them"
            )


def is_number(value) -> bool:
    """Whether value is a finite number (numpy's too), and no truth value."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def check_side(name: str, pixels: int, multiple: int = 8) -> None:
    """Raise InputError unless a picture's side is a positive multiple of `multiple`, naming the nearest that are."""
    if multiple <= pixels <= LARGEST_SIDE and pixels % multiple == 0:
        return
    below = min(max(pixels // multiple, 1) * multiple, LARGEST_SIDE)
    near = below if below + multiple > LARGEST_SIDE or below > pixels else f"{below} or {below + multiple}"
    raise InputError(
        f"{name} = {pixels}: a multiple of {multiple} is needed, from {multiple} to {LARGEST_SIDE}; try {near}"
    )
