"""The kinds of values that settings have: how a value is typed on a command line, and which values are possible.

`setting(default, kind, help, words)` declares a field of a settings class (settings.py); flags, checks and reports read
the declaration. Nothing here imports torch, so that `--help` is quick.
"""

import math
from collections.abc import Mapping
from dataclasses import Field, dataclass, field
from numbers import Integral, Real
from typing import Any, ClassVar, get_args

from ..errors import InputError

LARGEST_SIDE = 4096  # pixels; beyond it a typing error is likelier than a wish
OFF = ("off", "none")  # how None is typed, where a setting may be None


@dataclass(frozen=True)
class Declared:
    """What a field says of its setting besides name, type and default.

    words: the phrase of reports, with {} for the value ("": name and value). off: the phrase for None and 0, where it
    is another one. none: what None means, in help texts. metavar: in place of the kind's. group: of the flags.
    by_checkpoint: whether a checkpoint may have a default of its own for it (checkpoints/attached.py). flag: its name
    on the command line, if another.
    """

    kind: "ValueKind"
    help: str
    words: str = ""
    off: str = ""
    none: str = ""
    metavar: str | None = None
    group: str = "video"
    by_checkpoint: bool = False
    flag: str | None = None


def setting(default, kind: "ValueKind", help: str, words: str = "", **more) -> Any:
    """A dataclass field that declares a setting. default: MISSING for none. more: other fields of `Declared`."""
    return field(default=default, metadata={"declared": Declared(kind, help, words, **more)})


def with_default(settings: Any, name: str, default) -> Any:
    """The field of that name of another settings class, with another default."""
    return field(default=default, metadata=settings.__dataclass_fields__[name].metadata)


def declared(one: Field) -> Declared:
    """What a field says of its setting."""
    return one.metadata["declared"]


def optional(one: Field) -> bool:
    """Whether a setting may be None."""
    return type(None) in get_args(one.type)


class ValueKind:
    """A kind of value. typed: what messages about the command line call it. metavar: its place in help texts.

    python: the type that a word of the command line becomes.
    """

    typed: ClassVar[str] = "word"
    metavar: ClassVar[str] = "WORD"
    python: ClassVar[type] = str

    def parse(self, text: str):
        """The value that a word of the command line means. Raises InputError or ValueError."""
        return self.python(text)

    def check(self, name: str, value):
        """The value in its plain Python type; InputError if it is impossible. name: of the setting."""
        raise NotImplementedError


@dataclass(frozen=True)
class Text(ValueKind):
    """Words in any language. empty: the error for none, where some are needed."""

    metavar: ClassVar[str] = "TEXT"
    empty: str = ""

    def check(self, name: str, value) -> str:
        """A str that can be written as UTF-8."""
        if self.empty and (value is None or isinstance(value, str) and not value.strip()):
            raise InputError(self.empty)
        if not isinstance(value, str):
            raise InputError(f"{name} = {value!r}: words in one str are needed; call once for each {name}")
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise InputError(
                f"the {name} is no valid UTF-8 (from letter {error.start + 1} on); type it again"
            ) from error
        return value


@dataclass(frozen=True)
class Choice(ValueKind):
    """One of a few words, each with its phrase for reports."""

    metavar: ClassVar[str] = "WHICH"
    phrases: Mapping[str, str]

    def check(self, name: str, value) -> str:
        """One of the words."""
        if not isinstance(value, str) or value not in self.phrases:
            raise InputError(f'{name} "{value}" does not exist; choose one of: {", ".join(self.phrases)}')
        return value


@dataclass(frozen=True)
class Number(ValueKind):
    """A finite number, from least to most, and larger than `above`; numpy's become Python's."""

    typed: ClassVar[str] = "number"
    metavar: ClassVar[str] = "X"
    python: ClassVar[type] = float
    least: float = -math.inf
    most: float = math.inf
    above: float = -math.inf

    def check(self, name: str, value) -> float:
        """A float of the range."""
        if not is_number(value):
            raise InputError(f"{name} = {value!r}: a finite number is needed")
        return float(self.within(name, value))

    def within(self, name: str, value):
        """The number itself, of the range."""
        if value <= self.above:
            raise InputError(f"{name} = {value}: it must be above {self.above:g}")
        if not self.least <= value <= self.most:
            bounds = f"from {self.least} to {self.most}" if self.most < math.inf else f"of at least {self.least}"
            raise InputError(f"{name} = {value}: a {self.typed} {bounds} is needed")
        return value


class Whole(Number):
    """A whole number."""

    typed = "whole number"
    metavar = "N"
    python = int

    def check(self, name: str, value) -> int:
        """An int of the range."""
        if not isinstance(value, Integral) or isinstance(value, bool):
            raise InputError(f"{name} = {value!r}: a whole number is needed")
        return int(self.within(name, value))


class Side(Whole):
    """A picture's side in pixels."""

    metavar: ClassVar[str] = "PIXELS"

    def check(self, name: str, value) -> int:
        """A multiple of 8 from 8 to LARGEST_SIDE."""
        pixels = super().check(name, value)
        check_side(name, pixels)
        return pixels


class Pair(ValueKind):
    """Two finite numbers, of x and y."""

    metavar = "DX,DY"

    def parse(self, text: str) -> tuple[float, float]:
        """ "12,12" -> (12.0, 12.0)."""
        try:
            x, y = (float(part) for part in text.split(","))
        except ValueError:
            raise InputError(f"{text!r} is not DX,DY (two numbers, for example 12,12) or off") from None
        return x, y

    def check(self, name: str, value) -> tuple[float, float]:
        """Two floats."""
        if not isinstance(value, (tuple, list)) or len(value) != 2 or not all(map(is_number, value)):
            raise InputError(f"{name} = {value!r}: (δ_x, δ_y), two finite numbers, is needed, or None for none")
        return float(value[0]), float(value[1])


class Words(ValueKind):
    """Single words, at least one; a str is split."""

    metavar = '"WORDS"'

    def check(self, name: str, value) -> tuple[str, ...]:
        """A tuple of str."""
        words = value.split() if isinstance(value, str) else value
        if not isinstance(words, (tuple, list)) or not words or not all(isinstance(word, str) for word in words):
            raise InputError(
                f"{name} names no word of the prompt; name the words that say what stands before the background, or "
                "leave it out"
            )
        return tuple(words)


class Numbers(ValueKind):
    """A number of 0 or more for all ControlNets, or one for each."""

    typed = "number"
    metavar = "X"
    python = float

    def check(self, name: str, value) -> tuple[float, ...]:
        """A tuple of floats."""
        numbers = tuple(value) if isinstance(value, (tuple, list)) else (value,)
        if not numbers or not all(is_number(number) and number >= 0 for number in numbers):
            raise InputError(f"{name} = {value!r}: a number of 0 or more is needed, or one for each ControlNet")
        return tuple(map(float, numbers))


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


def as_typed(value) -> str:
    """A setting's value as one types it: "12,12", "off", "red ball", "0.5"."""
    if value is None:
        return OFF[0]
    if isinstance(value, (list, tuple)):
        return (" " if value and isinstance(value[0], str) else ",").join(map(as_typed, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
