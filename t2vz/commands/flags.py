"""The flags that several commands share. Those of settings follow from the declarations in pipelines/settings.py.

A setting's flag has no default here: what is not typed comes from the run file, the checkpoint's own defaults, or the
declaration (see request.py). Nothing here imports torch, so that --help is quick.
"""

import argparse
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import Field, fields
from math import isfinite
from types import MappingProxyType

from ..errors import InputError
from ..files import check_name
from ..pipelines.kinds import OFF, Choice, Numbers, as_typed, declared, optional
from ..pipelines.settings import Declarations

DTYPES = ("float32", "float16", "bfloat16", "float64")
OF_THE_SOURCE = ("frames", "height", "width", "fps")  # settings that a video that comes in decides


def add_settings(
    parser: argparse.ArgumentParser,
    settings: type[Declarations],
    titles: Mapping[str, str],
    without: Iterable[str] = (),
    defaults: Mapping = MappingProxyType({}),
) -> dict:
    """A flag for every setting but the prompt, which is positional. titles: {declared group: its title in the help}.

    without: settings that get no flag. defaults: of this command alone. Returns the groups, for further flags.
    """
    one = next(one for one in fields(settings) if one.name == "prompt")
    parser.add_argument(
        "prompt", nargs="?", default=argparse.SUPPRESS, metavar="PROMPT", type=typed(one), help=declared(one).help
    )
    groups = {name: parser.add_argument_group(title) for name, title in titles.items()}
    for one in fields(settings):
        if one.name not in ("prompt", *without):
            _add_setting(groups[declared(one).group], one, defaults)
    return groups


def _add_setting(group, one: Field, defaults: Mapping) -> None:
    said = declared(one)
    value = defaults.get(one.name, one.default)
    default = said.none if value is None else as_typed(value) or "nothing"
    choices = f": {', '.join(said.kind.phrases)}" if isinstance(said.kind, Choice) else ""
    own = ", or the checkpoint's own" if said.by_checkpoint and "own" not in default else ""
    several = isinstance(said.kind, Numbers)
    group.add_argument(
        f"--{(said.flag or one.name).replace('_', '-')}",
        dest=one.name,
        default=defaults.get(one.name, argparse.SUPPRESS),
        type=typed(one),
        action="append" if several else "store",
        metavar=said.metavar or said.kind.metavar,
        help=f"{said.help}{choices}{'; once, or for each --with' * several} ({default}{own})",
    )


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


def add_model(parser: argparse.ArgumentParser, repeats: bool = True) -> None:
    """--weights, --tokenizer, --vae, --lora, --device, --dtype. repeats: is there a --from?"""
    add_weights(parser.add_argument_group("the model"), " (off: none, where --from names one)" if repeats else "")
    add = parser.add_argument_group("machine").add_argument
    add("--device", default="auto", help="auto (CUDA, else MPS, else CPU), cpu, cuda, cuda:1, mps (default: auto)")
    add(
        "--dtype",
        default="auto",
        choices=["auto", *DTYPES],
        help="auto is float16 on CUDA and MPS, float32 on the CPU (default: auto)",
    )


def add_weights(group, more: str = "") -> None:
    """--weights, --tokenizer, --vae, --lora. more: said of the last two."""
    add = group.add_argument
    add(
        "--weights",
        type=path,
        metavar="PATH",
        help="a .safetensors file or a folder with unet/ vae/ text_encoder/ (embedded)",
    )
    add(
        "--tokenizer", type=path, metavar="DIR", help="folder with vocab.json and merges.txt, if the weights carry none"
    )
    add("--vae", type=path, metavar="PATH", help=f"another VAE: its folder or .safetensors file{more}")
    add(
        "--lora",
        metavar="PATH[:WEIGHT]",
        action="append",
        type=lora,
        help=f"a LoRA file to merge into the model, and how strongly (1); may be given several times{more}",
    )


def add_output(parser: argparse.ArgumentParser) -> None:
    """--out, --sheet, --latents, --overwrite, --from, --quiet."""
    add = parser.add_argument_group("files").add_argument
    add(
        "-o",
        "--out",
        type=path,
        metavar="PATH",
        help="NAME.mp4, NAME.gif, or a folder/ of PNGs (named after the prompt, .mp4)",
    )
    add("--sheet", action="store_true", help="also write all frames on one picture, NAME-sheet.png")
    add("--latents", action="store_true", help="also write the latents, NAME-latents.safetensors")
    add("--overwrite", action="store_true", help="replace files that exist")
    add(
        "--from",
        dest="from_",
        type=path,
        metavar="RUN.json",
        help="repeat a run; flags given beside it replace its settings",
    )
    add("-q", "--quiet", action="store_true", help="no progress bar, no notes")


def add_masks(group) -> None:
    """--masks."""
    group.add_argument(
        "--masks",
        type=path,
        metavar="PATH",
        help="foreground masks for smoothing: a folder of PNGs or a video (default: from the model's own attention)",
    )


def add_clip(parser: argparse.ArgumentParser) -> None:
    """VIDEO, --start, --end, --fps, --resolution. Call it before the other positional arguments are added."""
    parser.add_argument(
        "video",
        nargs="?",
        type=path,
        metavar="VIDEO",
        help="a video file, a GIF, or a folder of pictures (t2vz example draws one)",
    )
    add = parser.add_argument_group("the video that comes in").add_argument
    add("--start", type=float, metavar="SECONDS", help="leave out what comes before (0)")
    add("--end", type=float, metavar="SECONDS", help="leave out what comes after (the video's end)")
    add("--fps", type=float, help="resample to this many frames per second (as they are; 4 for a folder of pictures)")
    add(
        "--resolution",
        type=int,
        metavar="PIXELS",
        help="the larger side; both are rounded to multiples of 8 (the model's own: 512 for SD 1.5)",
    )


def pair(form: str, example: str) -> Callable[[str], tuple[float, float]]:
    """What argparse makes of two numbers: pair("LOW,HIGH", "100,200")("100,200") -> (100.0, 200.0)."""

    def parse(text: str) -> tuple[float, float]:
        try:
            first, second = (float(part) for part in text.split(","))
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not {form} (two numbers, for example {example})") from None
        return first, second

    return parse
