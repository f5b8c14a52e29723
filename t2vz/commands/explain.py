"""`t2vz explain`: one HTML page that walks through Algorithm 1 for one generation, picture by picture."""

import argparse
import os
import shlex
import time
from dataclasses import fields
from pathlib import Path

from .generate import parse_motion
from .machine import add_model_arguments, load_model
from .output import ProgressBar, free_name, say

HELP = "a page that shows how a video is made, step by step"
DESCRIPTION = """Make a video from a prompt, and one HTML page that walks through it: frame 1's way down, each warp with
its arrow, the noise added again, the clean picture every step had in mind, where each frame looks in frame 1, which
words were read where, and the same video without cross-frame attention. Beside each picture stand its equation and the
function that computed it. The page needs nothing but a browser."""
EXAMPLES = """examples:
  t2vz explain "a red ball on a green meadow" --open
  t2vz explain "a blue fish in the sea" --frames 8 --motion 20,0 --out fish.html
  t2vz explain "a white cat in a room" --point 0.5,0.4 --point 0.1,0.9      where these two points look
  t2vz explain "a horse galloping" --weights v1-5-pruned-emaonly.safetensors --tokenizer DIR --device cuda
"""
FRAMES = 6


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """explain's arguments. Settings have no default here: what is not given comes from Settings."""
    parser.add_argument("prompt", metavar="PROMPT", help="what the video shows")
    _add_video_arguments(parser.add_argument_group("the video"))
    add = parser.add_argument_group("the page").add_argument
    add("-o", "--out", metavar="PAGE.html", help="where the page goes (named after the prompt)")
    add(
        "--point",
        action="append",
        type=_point,
        metavar="X,Y",
        help="from where to follow cross-frame attention, 0,0 "
        "is left and top, 1,1 right and bottom; may be given several times (one on the subject, one in the background)",
    )
    add(
        "--link-base",
        metavar="URL",
        help="where links to the code lead: the address of the source tree's root (the "
        "installed one, relative to the page)",
    )
    add("--overwrite", action="store_true", help="replace a page that exists")
    add("--open", action="store_true", help="show the page in the browser")
    add("-q", "--quiet", action="store_true", help="no progress bar, no notes")
    add_model_arguments(parser, repeats=False)


def _add_video_arguments(group) -> None:
    def add(flag, help, **options):
        group.add_argument(flag, default=argparse.SUPPRESS, help=help, **options)

    add("--frames", f"number of frames ({FRAMES})", type=int, metavar="M")
    add("--height", "pixels, a multiple of 8 (the model's own)", type=int)
    add("--width", "pixels, a multiple of 8", type=int)
    add("--fps", "frames per second (4)", type=float)
    add("--seed", "same seed, same video (0)", type=int)
    add("--negative-prompt", "what to keep away from (nothing)", metavar="TEXT")
    add("--steps", "denoising steps (50)", type=int)
    add("--guidance-scale", "how strictly to follow the prompt (7.5)", type=float, metavar="W")
    add(
        "--motion",
        "camera motion per frame in 1/512ths of the frame, or off (12,12)",
        type=parse_motion,
        metavar="DX,DY",
    )
    add("--zoom", "camera zoom per frame, 1.02 moves in (1)", type=float)
    add("--rotation", "turn per frame, clockwise (0)", type=float, metavar="DEGREES")
    add("--t-prime", "timestep T' where motion is added (881)", type=int, metavar="T'")
    add("--t", "timestep T that frames are noised up to again (941)", type=int, metavar="T")
    add(
        "--attention",
        "which frames a frame attends to: first, own, previous, first_previous, causal, all (first)",
        metavar="WHICH",
    )
    add("--smooth-background", "E13's α, paper 0.6 (0: off)", type=float, metavar="ALPHA")
    add(
        "--foreground",
        "the prompt's words that are foreground (a guess)",
        type=lambda text: tuple(text.split()),
        metavar='"WORDS"',
    )
    add("--chunk", "frames computed at a time: less memory, the same video (all)", type=int, metavar="N")


def run(args: argparse.Namespace) -> None:
    """Check what can be checked, then load, make the two videos, and write the page."""
    from ..errors import InputError
    from ..pipelines.settings import Settings

    names = {field.name for field in fields(Settings)}
    values = {"frames": FRAMES, **{name: value for name, value in vars(args).items() if name in names}}
    settings = Settings(**values)
    if settings.frames < 2:
        raise InputError("an explanation follows one frame to the next; --frames must be at least 2")
    out = _out_path(args)
    _check_installed()
    command = _command(args, settings)  # before the model is loaded, which settles what "auto" is
    sd = load_model(args)
    for side in ("height", "width"):
        values.setdefault(side, sd.default_size)
    _explain(args, Settings(**values), sd, out, command)


def _explain(args: argparse.Namespace, settings, sd, out: Path, command: str) -> None:
    """Make, write, and if asked for show the page."""
    from ..files import write_bytes
    from ..lab.explain import explain
    from ..lab.explain_page import page

    plan = (
        f"{args.weights or 'embedded model'} on {sd.device}, {args.dtype}: two videos of {settings.frames} frames, "
        f"{settings.width}×{settings.height}, {settings.steps} steps, seed {settings.seed}"
    )
    began = time.perf_counter()
    with ProgressBar(args, plan) as progress:
        explained = explain(sd, settings, args.point, progress)
    for note in explained.video.notes:
        say(args, f"note: {note}")
    base = _link_base(out) if args.link_base is None else args.link_base
    html = page(explained, sd, base, command)
    write_bytes(out, html.encode())
    print(f"{out}: {settings.frames} frames explained, {len(html) / 1e6:.1f} MB, {time.perf_counter() - began:.1f} s")
    if args.open:
        import webbrowser

        webbrowser.open(out.resolve().as_uri())


def _check_installed() -> None:
    """The page needs two packages that not everyone has; say so before minutes of work."""
    from importlib.util import find_spec

    from ..errors import InputError

    for package in ("jinja2", "matplotlib"):
        if find_spec(package) is None:
            raise InputError(f"the page needs {package}, which is not installed; run: pip install 't2vz[lab]'")


def _out_path(args: argparse.Namespace) -> Path:
    """The page's path, checked."""
    from ..errors import InputError

    out = Path(args.out) if args.out else Path(free_name(args.prompt, (".html",)))
    if out.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"--out {out}: the page is HTML; give it a name that ends in .html")
    if out.is_dir():
        raise InputError(f"--out {out}: is a folder; give the page a name in it")
    if out.exists() and not args.overwrite:
        raise InputError(f"{out} exists already; choose another --out, or pass --overwrite")
    return out


def _link_base(out: Path) -> str:
    """The source tree's root, as seen from the page."""
    from ..lab.page import ROOT

    try:
        return Path(os.path.relpath(ROOT, out.resolve().parent)).as_posix()
    except ValueError:  # on another drive
        return ROOT.as_uri()


def _command(args: argparse.Namespace, settings) -> str:
    """The command line that makes the same page again: what differs from the defaults."""
    words = ["t2vz", "explain", settings.prompt]
    given = {name: value for name, value in settings.to_dict().items() if name != "prompt" and hasattr(args, name)}
    for name, value in {
        **given,
        "point": args.point,
        "weights": args.weights,
        "tokenizer": args.tokenizer,
        "vae": args.vae,
        "dtype": None if args.dtype == "auto" else args.dtype,
    }.items():
        for one in value if name == "point" and value else [value]:
            if one is not None or name == "motion":
                words += [f"--{name.replace('_', '-')}", _as_typed(name, one)]
    for path, weight in args.lora or []:
        words += ["--lora", f"{path}:{weight:g}"]
    return shlex.join(words)


def _as_typed(name: str, value) -> str:
    """A setting's value as one types it: "12,12", "off", "red ball"."""
    if value is None:
        return "off"
    if name == "foreground":
        return " ".join(value)
    if isinstance(value, (list, tuple)):
        return ",".join(f"{part:g}" for part in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _point(text: str) -> tuple[float, float]:
    """ "0.5,0.4" -> (0.5, 0.4), both from 0 to 1."""
    try:
        x, y = (float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not X,Y (two numbers, for example 0.5,0.4)") from None
    if not (0 <= x <= 1 and 0 <= y <= 1):
        raise argparse.ArgumentTypeError(f"{text!r} lies outside the frame; both numbers are from 0 to 1")
    return x, y
