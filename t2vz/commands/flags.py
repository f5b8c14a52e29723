"""How arguments are declared and read: a line each, those of settings as pipelines/settings.py declares them.

A setting's flag has no default: what is not typed comes from the run file, the checkpoint's own defaults, or the
declaration (see request.py). Nothing here imports torch, so that --help is quick.
"""

import argparse
import os
from collections.abc import Callable, Mapping
from dataclasses import Field, fields
from math import isfinite
from types import MappingProxyType

from ..errors import InputError
from ..files import check_name
from ..pipelines.settings import Declarations
from ..pipelines.values import OFF, Choice, Numbers, as_typed, declared, optional

DTYPES = ("float32", "float16", "bfloat16", "float64")
FOLLOWED = ("edges", "pose", "depth", "asis")  # what control can follow
MODEL = ("weights", "tokenizer", "vae", "lora", "device", "dtype")  # the flags of a model


class Parser(argparse.ArgumentParser):
    """argparse, whose errors are InputErrors, whose texts keep their lines, and whose flags are typed in full."""

    def __init__(self, **options):
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **options)

    def error(self, message: str):
        """Say what is wrong and where help is."""
        raise InputError(f"{message}; see: {self.prog} --help")


def adder(parser, title: str = "") -> Callable[..., None]:
    """A function that adds arguments to a parser, in a group of that title if there is one:

    add("-o --out", "PATH", "where it goes", path) adds an option with a value, add("--json", "", "help") a switch.
    """
    group = parser.add_argument_group(title) if title else parser

    def add(names: str, metavar: str, help: str, type: Callable | None = None, **more) -> None:
        kind = {"metavar": metavar, "type": type} if metavar else {"action": "store_true"}
        group.add_argument(*names.split(), help=help, **kind | more)

    return add


def add_settings(
    parser: argparse.ArgumentParser,
    settings: type[Declarations],
    titles: Mapping[str, str],
    defaults: Mapping = MappingProxyType({}),
) -> dict[str, Callable]:
    """A flag for every setting but the prompt, which is positional, and those that a video decides.

    titles: {declared group: its title in the help}. defaults: of this command alone. Returns {group: its `adder`}.
    """
    groups = {name: adder(parser, title) for name, title in titles.items()}
    for one in fields(settings):
        said = declared(one)
        if one.name == "prompt":
            adder(parser)("prompt", "PROMPT", said.help, typed(one), nargs="?", default=argparse.SUPPRESS)
        elif one.name not in settings.OF_THE_SOURCE:
            groups[said.group](
                f"--{flag_of(one)}",
                said.metavar or said.kind.metavar,
                _help(one, defaults.get(one.name, one.default)),
                typed(one),
                dest=one.name,
                default=defaults.get(one.name, argparse.SUPPRESS),
                action="append" if isinstance(said.kind, Numbers) else "store",
            )
    return groups


def _help(one: Field, value) -> str:
    """A setting's help. value: its default."""
    said = declared(one)
    default = said.none if value is None else as_typed(value) or "nothing"
    choices = f": {', '.join(said.kind.phrases)}" if isinstance(said.kind, Choice) else ""
    own = ", or the checkpoint's own" if said.by_checkpoint and "own" not in default else ""
    return f"{said.help}{choices}{'; once, or for each --with' * isinstance(said.kind, Numbers)} ({default}{own})"


def flag_of(one: Field) -> str:
    """The name of a setting on the command line, without its dashes."""
    return (declared(one).flag or one.name).replace("_", "-")


def words_of(values: Mapping) -> list[str]:
    """Flags as they are typed: {"link_base": "x", "points": [(1, 0)]} -> ["--link-base=x", "--points=1,0"].

    A list is a flag that was given several times; one that is None was not given, nor a device or dtype that is auto.
    """
    words = []
    for name, value in values.items():
        for one in value if isinstance(value, list) else [value]:
            if one is not None and (name, one) not in (("device", "auto"), ("dtype", "auto")):
                text = f"{one[0]}:{one[1]}" if name == "lora" else as_typed(one)
                words.append(f"--{name.replace('_', '-')}={text}")
    return words


def typed(one: Field) -> Callable[[str], object]:
    """What argparse makes of a word typed for a setting; "off" is None where a setting may be None."""

    def parse(text: str):
        if optional(one) and text.strip().lower() in OFF:
            return None
        try:
            return declared(one).kind.parse(text)
        except InputError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    parse.__name__ = declared(one).kind.typed  # argparse's message: invalid … value
    return parse


def path(text: str) -> str:
    """A path as typed, with ~ for the home folder: a shell leaves --out=~/x.gif as it is. A final / is kept."""
    if "://" in text:
        raise argparse.ArgumentTypeError(f"{text} is an address; the path of a file is needed (download it first)")
    try:
        check_name(text)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return os.path.expanduser(text)


def lora(text: str) -> tuple[str, float]:
    """ "style.safetensors:0.7" -> ("style.safetensors", 0.7); without a number at the end the weight is 1."""
    file, colon, number = text.rpartition(":")
    try:
        weight = float(number) if colon and file else 1.0
    except ValueError:  # a colon in the path
        return path(text), 1.0
    if not isfinite(weight):
        raise argparse.ArgumentTypeError(f"{text!r}: the weight after the colon must be a finite number")
    return path(file if colon and file else text), weight


def numbers(text: str, form: str, example: str) -> tuple[float, float]:
    """ "100,200" -> (100.0, 200.0). form, example: for the message about anything else."""
    try:
        first, second = (float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not {form} (two numbers, for example {example})") from None
    return first, second


def thresholds(text: str) -> tuple[float, float]:
    """Canny's thresholds."""
    return numbers(text, "LOW,HIGH", "100,200")


def point(text: str) -> tuple[float, float]:
    """A point of a frame, both numbers from 0 to 1."""
    x, y = numbers(text, "X,Y", "0.5,0.4")
    if not (0 <= x <= 1 and 0 <= y <= 1):
        raise argparse.ArgumentTypeError(f"{text!r} lies outside the frame; both numbers are from 0 to 1")
    return x, y


def count(text: str) -> int:
    """A whole number of 1 or more."""
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: 1 or more is needed")
    return int(text)


def kind_and_video(text: str) -> tuple[str, str | None]:
    """What to follow, and of which video: "edges" -> ("edges", None), "asis=~/x.mp4" -> ("asis", "/home/me/x.mp4")."""
    kind, equals, video = text.partition("=")
    if kind not in FOLLOWED or (equals and not video):
        raise argparse.ArgumentTypeError(f"{text} is none of {', '.join(FOLLOWED)}, nor one of them with =VIDEO")
    return kind, path(video) if video else None
