"""Everything that decides a text-to-video generation, checked once, and written to its run file."""

import math
from dataclasses import asdict, dataclass, fields

from ..attention import VARIANTS, frames_seen
from ..errors import InputError
from ..motion import NOISES
from ..motion.flow import CONVENTIONS

LARGEST_SIDE = 4096  # pixels; beyond it a typing error is likelier than a wish


@dataclass(frozen=True)
class Settings:
    """The arguments of `text_to_video` that are numbers and words (see there); raises InputError for impossible ones.

    height, width: pixels, multiples of 8 (the VAE's factor). Sizes that are not multiples of 64 work too: the UNet's
    levels round odd sizes up on the way down, and back on the way up.
    """

    prompt: str
    frames: int = 8
    steps: int = 50
    guidance_scale: float = 7.5
    negative_prompt: str = ""
    seed: int = 0
    height: int = 512
    width: int = 512
    motion: tuple[float, float] | None = (12.0, 12.0)
    zoom: float = 1.0
    rotation: float = 0.0
    t_prime: int = 881
    t: int = 941
    attention: str = "first"
    smooth_background: float = 0.0
    foreground: tuple[str, ...] | None = None
    initial_noise: str = "independent"
    noise_strength: float = 1.0
    eta: float = 0.0
    chunk: int | None = None
    jump_convention: str = "release"
    flow_convention: str = "release"
    background_convention: str = "release"
    fps: float = 4.0

    def __post_init__(self):
        if not isinstance(self.prompt, str) or not self.prompt.strip():
            raise InputError('the prompt is empty; say what the video shows, for example "a red ball on a green meadow"')
        for name, least in (("frames", 1), ("steps", 1), ("chunk", 1)):
            value = getattr(self, name)
            if value is None and name == "chunk":
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise InputError(f"{name} = {value}: a whole number of at least {least} is needed")
        if not isinstance(self.seed, int) or not 0 <= self.seed < 2**64:
            raise InputError(f"seed = {self.seed}: a whole number from 0 to 2⁶⁴ − 1 is needed")
        for side in ("height", "width"):
            check_side(side, getattr(self, side))
        for name in ("t", "t_prime"):
            if not isinstance(getattr(self, name), int):
                raise InputError(f"{name} = {getattr(self, name)}: a timestep is needed, a whole number from 0 to 999")
        if self.t > 999:
            raise InputError(f"t = {self.t}: the noisiest timestep is 999 (the paper's T is 941)")
        if not 0 <= self.t_prime <= self.t:
            raise InputError(
                f"t_prime = {self.t_prime} and t = {self.t}: motion is added at T' and noised up to T, so 0 ≤ T' ≤ T is needed "
                "(the paper's: 881 and 941)"
            )
        for name in ("guidance_scale", "eta", "smooth_background", "zoom", "rotation", "noise_strength", "fps"):
            if not _is_number(getattr(self, name)):
                raise InputError(f"{name} = {getattr(self, name)}: a finite number is needed")
        if self.motion is not None and not (
            isinstance(self.motion, (tuple, list)) and len(self.motion) == 2 and all(map(_is_number, self.motion))
        ):
            raise InputError(f"motion = {self.motion}: (δ_x, δ_y), two finite numbers, is needed, or None for no motion")
        if self.guidance_scale < 0:
            raise InputError(f"guidance_scale = {self.guidance_scale}: 0 or more is needed (1 is no guidance, 7.5 usual)")
        for name in ("eta", "smooth_background"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} = {getattr(self, name)}: a number from 0 to 1 is needed")
        if self.zoom <= 0 or self.fps <= 0:
            raise InputError(f"zoom = {self.zoom}, fps = {self.fps}: both must be above 0")
        if self.motion is None and (self.zoom != 1 or self.rotation != 0):
            raise InputError(
                f"zoom = {self.zoom} and rotation = {self.rotation} move the camera, but motion is off; "
                "motion = (0, 0) goes with them"
            )
        frames_seen(self.attention, 0, 1)  # raises for a variant that does not exist
        if self.initial_noise not in NOISES:
            raise InputError(f'initial noise "{self.initial_noise}" does not exist; choose one of: {", ".join(NOISES)}')
        if self.motion is not None and self.initial_noise != "independent":
            raise InputError(f'initial noise "{self.initial_noise}" is for motion off: with motion, frames start from warps of frame 1')
        if self.noise_strength < 0 or (self.initial_noise == "residual" and self.noise_strength > 1):
            raise InputError(f"noise_strength = {self.noise_strength}: 0 or more is needed, and at most 1 for residual noise")
        for name, known in (("jump_convention", ("release", "paper")), ("flow_convention", CONVENTIONS),
                            ("background_convention", ("release", "paper"))):
            if getattr(self, name) not in known:
                raise InputError(f'{name} "{getattr(self, name)}" does not exist; choose one of: {", ".join(known)}')

    def to_dict(self) -> dict:
        """All settings as plain JSON values."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict) -> "Settings":
        """Settings from `to_dict`'s values; a name that does not exist is an InputError."""
        if "prompt" not in values:
            raise InputError("settings hold no prompt")
        unknown = set(values) - {f.name for f in fields(cls)}
        if unknown:
            raise InputError(f'setting "{sorted(unknown)[0]}" does not exist')
        return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


def _is_number(value) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def check_side(name: str, pixels: int, multiple: int = 8) -> None:
    """Raise InputError unless a picture's side is a positive multiple of `multiple`, naming the nearest that are."""
    if not isinstance(pixels, int):
        raise InputError(f"{name} = {pixels}: a whole number of pixels is needed, a multiple of {multiple}")
    if pixels < multiple or pixels > LARGEST_SIDE or pixels % multiple:
        below = min(max(pixels // multiple, 1) * multiple, LARGEST_SIDE)
        near = below if below + multiple > LARGEST_SIDE or below > pixels else f"{below} or {below + multiple}"
        raise InputError(f"{name} = {pixels}: a multiple of {multiple} is needed, from {multiple} to {LARGEST_SIDE}; try {near}")


__all__ = ["Settings", "VARIANTS", "check_side"]
