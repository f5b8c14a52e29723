"""Everything that decides a generation, declared once: name, default, range, help, and words for reports.

    Settings            text_to_video's: Algorithm 1
    ControlSettings     control_video's: Algorithm 1 with ControlNets (paper §3.4)
    EditSettings        edit_video's (paper §3.5)
    TuneSettings        tune's: Tune-A-Video

A settings object is checked when it is made (InputError, one line), frozen, and survives JSON. The flags of the
commands, run files and the reports' words follow from the declarations below. So a new setting is one entry here, and
the line that uses it. What is left out takes the checkpoint's own default, where it has one (checkpoints/attached.py),
else the default below: `resolve` and `for_model` do that.
"""

from collections.abc import Mapping
from dataclasses import MISSING, Field, asdict, dataclass, fields, replace
from difflib import get_close_matches
from functools import partial
from typing import ClassVar

from ..errors import InputError
from .values import (
    Choice,
    Number,
    Numbers,
    Pair,
    Side,
    Text,
    Whole,
    Words,
    as_typed,
    declared,
    optional,
    setting,
    with_default,
)

ATTENTION = {  # attention.VARIANTS; the names are repeated here so that --help need not import torch
    "own": "each frame attends to itself: the network as it was trained",
    "first": "every frame attends to frame 1: cross-frame attention (E12)",
    "previous": "every frame attends to the frame before it",
    "first_previous": "every frame attends to frame 1 and the frame before it",
    "causal": "every frame attends to itself and all before it",
    "all": "every frame attends to all frames",
}
NOISE = {  # motion.NOISES
    "independent": "every frame starts from noise of its own",
    "shared": "all frames start from the same noise",
    "mixed": "each frame's noise is a mixture of shared and own noise (PYoCo)",
    "progressive": "each frame's noise is a mixture of the frame before's and new noise (PYoCo)",
    "residual": "each frame's noise is shared noise plus a remainder of its own (VideoFusion)",
    "inverted": "frames start from the inverted video that the model was tuned on (E17, t2vz tune)",
}
START = {
    "release": "frame 1 is denoised to T from the first timestep, as in the public code",
    "paper": "frame 1's noise is drawn at T, as in the paper",
}
JUMP = {"release": "forward jump as in the public code", "paper": "forward jump as in the paper"}
FLOW = {
    "release": "flow shifted by half a pixel as in the public code",
    "exact": "flow without the public code's shift",
}
BACKGROUND = {"release": "background found as in the public code", "paper": "background found as in the paper"}
SAMPLER = {"euler_ancestral": "Euler-ancestral sampling (E4)", "ddim": "DDIM sampling (E3)"}
method = partial(setting, group="method")  # Algorithm 1's own
SOURCE = ("frames", "height", "width", "fps")
DIFFERENT = "where paper and public code differ (docs/method.md)"


@dataclass(frozen=True)
class Declarations:
    """What all settings share: they are checked when made, resolved once, and survive JSON."""

    TASK: ClassVar[str] = ""  # the pipeline's name: in a checkpoint's defaults, in studies, and its command
    OF_THE_SOURCE: ClassVar[tuple[str, ...]] = ()  # settings that a video that comes in decides

    def __post_init__(self):
        for one in fields(self):
            value = getattr(self, one.name)
            value = value.tolist() if hasattr(value, "tolist") else value  # the numbers of an array or a tensor
            if value is not None or not optional(one):
                object.__setattr__(self, one.name, declared(one).kind.check(one.name, value))

    def to_dict(self) -> dict:
        """All settings as plain JSON values."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping) -> "Declarations":
        """Settings from `to_dict`'s values; a name that does not exist is an InputError."""
        if "prompt" not in values:
            raise InputError("settings hold no prompt")
        unknown = set(values) - {one.name for one in fields(cls)}
        if unknown:
            raise InputError(f'setting "{sorted(unknown)[0]}" does not exist')
        return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})

    @classmethod
    def resolve(cls, given: Mapping, defaults: Mapping | None = None) -> "Declarations":
        """All settings: what is given, else the checkpoint's own `defaults` ({task: {setting: value}}), else ours.

        given: ... counts as left out, and so does None, unless it says something itself (motion: off).
        """
        known = {one.name: one for one in fields(cls)}
        given = {k: value for k, value in given.items() if k not in known or not _left_out(known[k], value)}
        return cls.from_dict({**cls._defaults_of(defaults or {}), **given})

    @classmethod
    def of_arguments(cls, arguments: Mapping, **decided) -> "Declarations":
        """`for_model` from the arguments of a function, its `locals()`: each setting is the argument of its name, one
        of the function's `more`, or what was decided of it. Raises TypeError for what else is in `more`.
        """
        names = {one.name for one in fields(cls)}
        for name in arguments["more"]:
            if name not in names - set(decided):
                near = ["instruction"] if name == "prompt" else get_close_matches(name, names - set(decided), n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise TypeError(f"there is no argument {name!r}{hint}")
        values = {**arguments, **arguments["more"], **decided}
        return cls.for_model(arguments["sd"], **{name: value for name, value in values.items() if name in names})

    @classmethod
    def for_model(cls, sd, **given) -> "Declarations":
        """`resolve` for a StableDiffusion: its checkpoint's defaults, and its pictures' side where none is given."""
        check_model(sd)
        return cls.resolve(given, sd.defaults).with_sides(sd.default_size, sd.default_size)

    def with_sides(self, height: int, width: int) -> "Declarations":
        """The same settings, with these pixels for a height or width that is None."""
        sides = {"height": height, "width": width}
        unknown = {name: side for name, side in sides.items() if getattr(self, name, side) is None}
        return replace(self, **unknown) if unknown else self

    @classmethod
    def _defaults_of(cls, defaults: Mapping) -> dict:
        """A checkpoint's defaults for this task, if it may say them. Raises InputError for a name it may not."""
        allowed = [one.name for one in fields(cls) if declared(one).by_checkpoint]
        own = dict(defaults.get(cls.TASK, {}))
        for name in own:
            if name not in allowed:
                raise InputError(
                    f'the checkpoint\'s own default for {cls.TASK}, "{name}", is none it may have; mend its '
                    f"defaults.json: it may hold {', '.join(allowed)}"
                )
        return own


def check_model(sd) -> None:
    """Raise InputError for what is no StableDiffusion."""
    if not hasattr(sd, "default_size"):
        raise InputError(f"sd is a {type(sd).__name__}; StableDiffusion.load(path) gives a model")


def _left_out(one: Field, value) -> bool:
    """Whether a setting was not given: ..., or a None that is no value of its own (a side's None is "not known")."""
    return value is ... or (value is None and (not optional(one) or isinstance(declared(one).kind, Side)))


@dataclass(frozen=True)
class Settings(Declarations):
    """The arguments of `text_to_video` that are numbers and words (see there); the other pipelines add to them.

    height, width: pixels, multiples of 8 (the VAE's factor). Sizes that are not multiples of 64 work too: the UNet's
    levels round odd sizes up on the way down, and back on the way up. None: not known yet, the model's own.
    Raises InputError for impossible values.
    """

    TASK: ClassVar[str] = "generate"

    prompt: str = setting(
        MISSING,
        Text('the prompt is empty; say what the video shows, for example "a red ball on a green meadow"'),
        "what the video shows",
        "prompt: {}",
    )
    steps: int = setting(50, Whole(1), "denoising steps", "{} denoising steps", by_checkpoint=True)
    guidance_scale: float = setting(
        7.5, Number(0), "E5's w: how strictly to follow the prompt, 1 is no guidance", by_checkpoint=True
    )
    negative_prompt: str = setting(
        "", Text(), "what to keep away from", "negative prompt: {}", off="no negative prompt"
    )
    seed: int = setting(0, Whole(0, 2**64 - 1), "same seed, same video")
    attention: str = method("first", Choice(ATTENTION), "which frames a frame attends to", by_checkpoint=True)
    initial_noise: str = method(
        "independent", Choice(NOISE), "how the frames' pure noise is related", by_checkpoint=True
    )
    noise_strength: float = method(1.0, Number(0), "ρ or λ of the initial noise")
    chunk: int | None = method(
        None,
        Whole(1),
        "frames computed at a time: less memory, the same video",
        "{} frames at a time",
        off="all frames at once",
        none="all",
    )
    token_merging: float = method(
        0.0,
        Number(0, 0.75),
        "an approximation: the share of tokens that are merged before attention, 0 is exact",
        "token merging: {} of the tokens (ToMe)",
        off="no token merging",
    )
    deep_cache: int = method(
        1,
        Whole(1),
        "an approximation: the deep UNet at every N-th step only, 1 is exact",
        "the deep half of the UNet at every {}th step (DeepCache)",
    )
    temporal_shift: float = method(
        0.0,
        Number(0, 1),
        "the share of channels that frames exchange with their neighbours, as in Latent-Shift",
        "temporal shift of {} of the channels (Latent-Shift)",
        off="no temporal shift",
    )
    fps: float = setting(
        4.0, Number(above=0), "frames per second of the file", "{} frames per second", by_checkpoint=True
    )

    frames: int = setting(8, Whole(1), "number of frames", "{} frames", metavar="M", by_checkpoint=True)
    height: int | None = setting(
        None,
        Side(),
        "pixels, a multiple of 8",
        "{} pixels high",
        off="as high as the model's own",
        none="the model's own",
        by_checkpoint=True,
    )
    width: int | None = setting(
        None,
        Side(),
        "pixels, a multiple of 8",
        "{} pixels wide",
        off="as wide as the model's own",
        none="the model's own",
        by_checkpoint=True,
    )
    motion: tuple[float, float] | None = method(
        (12.0, 12.0),
        Pair(),
        "camera motion per frame in 1/512ths of the frame, 12,12 moves it right and down; off: frames start from pure "
        "noise, see --initial-noise",
        "motion dynamics: the camera moves by ({})/512 of the frame every frame (E7–E9)",
        off="no motion dynamics: every frame starts from pure noise",
        none="off",
        by_checkpoint=True,
    )
    zoom: float = method(
        1.0, Number(above=0), "camera zoom per frame, 1.02 moves in", "the camera zooms by a factor {} a frame"
    )
    rotation: float = method(
        0.0, Number(), "turn per frame, clockwise", "the camera turns by {}° a frame", metavar="DEGREES"
    )
    t_prime: int = method(
        881,
        Whole(0, 999),
        "timestep T' where motion is added",
        "motion is added at timestep T' = {}",
        metavar="T'",
        by_checkpoint=True,
    )
    t: int = method(
        941,
        Whole(0, 999),
        "timestep T that frames are noised up to again",
        "all frames are denoised together from timestep T = {}",
        metavar="T",
        by_checkpoint=True,
    )
    smooth_background: float = method(
        0.0,
        Number(0, 1),
        "E13's α, paper 0.6, 0 is off",
        "background smoothing, α = {} (E13)",
        off="no background smoothing",
    )
    foreground: tuple[str, ...] | None = method(
        None,
        Words(),
        "the prompt's words that are foreground, for masks from attention",
        "foreground: {}",
        off="foreground: a guess",
        none="a guess",
    )
    eta: float = setting(0.0, Number(0, 1), "0 is DDIM, 1 as noisy as DDPM", "η = {}: 0 is DDIM, 1 is DDPM")
    start_convention: str = method("release", Choice(START), DIFFERENT)
    jump_convention: str = method("release", Choice(JUMP), DIFFERENT)
    flow_convention: str = method("release", Choice(FLOW), DIFFERENT)
    background_convention: str = method("release", Choice(BACKGROUND), DIFFERENT)
    sampler: ClassVar[str] = "ddim"  # a setting of edits alone

    def __post_init__(self):
        super().__post_init__()
        if self.initial_noise == "residual" and self.noise_strength > 1:
            raise InputError(f"noise_strength = {self.noise_strength}: at most 1 is possible with residual noise")
        if not self.t_prime <= self.t:
            raise InputError(
                f"t_prime = {self.t_prime} and t = {self.t}: motion is added at T' and noised up to T, so "
                "0 ≤ T' ≤ T ≤ 999 is needed; give both (one left out is the checkpoint's own default, else "
                f"{type(self).t_prime} and {type(self).t})"
            )
        if self.motion is None and (self.zoom != 1 or self.rotation != 0):
            raise InputError(
                f"zoom = {self.zoom} and rotation = {self.rotation} move the camera, but motion is off; "
                "motion = (0, 0) goes with them"
            )
        if self.motion is not None and self.initial_noise != type(self).initial_noise:
            raise InputError(
                f'initial noise "{self.initial_noise}" is for motion off: with motion, frames start '
                "from warps of frame 1"
            )


@dataclass(frozen=True)
class ControlSettings(Settings):
    """The arguments of `control_video` that are numbers and words; steps, guidance and chunk as in the release.

    frames, height, width, fps: those of the control video. control_scale, control_start, control_end: a number for all
    ControlNets, or one for each; kept as a tuple of one or of several.
    """

    TASK: ClassVar[str] = "control"
    OF_THE_SOURCE: ClassVar[tuple[str, ...]] = SOURCE
    NUMBERS: ClassVar[tuple[str, ...]] = ("control_scale", "control_start", "control_end")

    steps: int = with_default(Settings, "steps", 20)
    guidance_scale: float = with_default(Settings, "guidance_scale", 9.0)
    motion: tuple[float, float] | None = with_default(Settings, "motion", None)
    initial_noise: str = with_default(Settings, "initial_noise", "shared")
    chunk: int | None = with_default(Settings, "chunk", 8)
    control_scale: float | tuple[float, ...] = setting(
        1.0,
        Numbers(),
        "s of E14: how strongly to follow",
        "ControlNet's residuals times {}",
        group="follow",
        by_checkpoint=True,
        flag="scale",
    )
    control_start: float | tuple[float, ...] = setting(
        0.0,
        Numbers(),
        "share of the steps after which to follow",
        "ControlNet steers from {} of the steps on",
        group="follow",
    )
    control_end: float | tuple[float, ...] = setting(
        1.0,
        Numbers(),
        "share of the steps up to which to follow",
        "ControlNet steers up to {} of the steps",
        group="follow",
    )

    def __post_init__(self):
        super().__post_init__()
        count = max(len(getattr(self, name)) for name in self.NUMBERS)
        for start, end in zip(self.for_each("control_start", count), self.for_each("control_end", count), strict=True):
            if not start < end <= 1:
                raise InputError(
                    f"control_start = {start:g} and control_end = {end:g}: shares of the steps, 0 ≤ start < end ≤ 1"
                )

    def for_each(self, name: str, count: int) -> tuple[float, ...]:
        """A setting's value for each of `count` ControlNets."""
        numbers = getattr(self, name)
        if len(numbers) not in (1, count):
            raise InputError(
                f"{name} holds {len(numbers)} numbers for {count} ControlNet{'s' * (count != 1)}; give "
                "one for all, or one for each"
            )
        return numbers * count if len(numbers) == 1 else numbers


@dataclass(frozen=True)
class EditSettings(Settings):
    """The arguments of `edit_video` that are numbers and words. prompt: the instruction. guidance_scale: s_T of E15.

    frames, height, width, fps: those of the source video. With motion, T' = T where denoising begins, as in the paper.
    """

    TASK: ClassVar[str] = "edit"
    OF_THE_SOURCE: ClassVar[tuple[str, ...]] = SOURCE

    prompt: str = setting(
        MISSING,
        Text('the instruction is empty; say what to change, for example "make it snow"'),
        "what to change",
        "instruction: {}",
    )
    guidance_scale: float = setting(
        7.5, Number(0), "E15's s_T: how strictly to follow the instruction", by_checkpoint=True
    )
    motion: tuple[float, float] | None = with_default(Settings, "motion", None)
    t_prime: int = with_default(Settings, "t_prime", 999)
    t: int = with_default(Settings, "t", 999)
    chunk: int | None = with_default(Settings, "chunk", 8)
    image_scale: float = setting(
        1.0,
        Number(0),
        "E15's s_I: how strictly to hold on to the source; 1.5 keeps more",
        "image guidance {}",
        by_checkpoint=True,
    )
    sampler: str = setting(
        "euler_ancestral", Choice(SAMPLER), "how to denoise; ddim adds no noise on the way", by_checkpoint=True
    )

    def __post_init__(self):
        super().__post_init__()
        if self.sampler != "ddim" and (self.eta, self.t_prime, self.t) != (0, 999, 999):
            raise InputError(
                f'eta = {self.eta}, t_prime = {self.t_prime} and t = {self.t} are for the sampler "ddim"; '
                f'"{self.sampler}" adds noise by itself, and with motion it is the first noise that is warped'
            )


@dataclass(frozen=True)
class TuneSettings(Declarations):
    """The arguments of `tune` that are numbers and words; their defaults are Tune-A-Video's."""

    TASK: ClassVar[str] = "tune"

    prompt: str = with_default(Settings, "prompt", MISSING)
    steps: int = setting(500, Whole(1), "steps of tuning", by_checkpoint=True)
    learning_rate: float = setting(3e-5, Number(above=0), "of AdamW", by_checkpoint=True)
    inversion_steps: int = setting(50, Whole(1, 1000), "steps of the inversion (E17), and of the videos made later")
    seed: int = with_default(Settings, "seed", 0)


TASKS = {settings.TASK: settings for settings in (Settings, ControlSettings, EditSettings)}


def in_words(name: str, value, settings: type[Declarations] | None = None) -> str:
    """One setting as a phrase for reports: ("attention", "own") -> "each frame attends to itself: …".

    settings: the class that declares it, if it is none of TASKS.
    """
    tasks = (settings,) if settings else TASKS.values()
    one = next(declared(one) for settings in tasks for one in fields(settings) if one.name == name)
    if isinstance(one.kind, Choice):
        return one.kind.phrases[value]
    if one.off and not value:
        return one.off
    words = one.words or f"{name.replace('_', ' ')} {{}}"
    return words.format(", ".join(map(as_typed, value)) if isinstance(value, (list, tuple)) else as_typed(value))
