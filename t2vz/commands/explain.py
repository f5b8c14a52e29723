"""`t2vz explain`: one HTML page that walks through Algorithm 1 for one generation, picture by picture."""

import argparse
import os
import shlex
import time
import webbrowser
from dataclasses import fields
from pathlib import Path

from ..errors import InputError
from ..files import write_bytes
from ..pipelines.kinds import as_typed
from ..pipelines.settings import Settings
from .flags import MODEL, add_model, add_settings, adder, pair, path, words_of
from .output import ProgressBar, check_free, check_installed, free_name, note

DESCRIPTION = """Make a video from a prompt, and one HTML page that walks through it: frame 1's way down, each warp with
its arrow, the noise added again, the clean picture every step had in mind, where each frame looks in frame 1, which
words were read where, and the same video without cross-frame attention. Beside each picture stand its equation and the
function that computed it. The page needs nothing but a browser."""
EXAMPLES = """examples:
  t2vz explain "a red ball on a green meadow" --open
  t2vz explain "a blue fish on the sea" --frames 8 --motion 20,0 --out fish.html
  t2vz explain "a white cat in a room" --point 0.5,0.4 --point 0.1,0.9      where these two points look
  t2vz explain "a horse galloping" --weights v1-5-pruned-emaonly.safetensors --tokenizer DIR --device cuda
"""
FRAMES = 6  # unless it is said: a page is read in one sitting


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """All of explain's arguments."""
    titles = {"video": "the video", "method": "the method (paper §3.3)"}
    add_settings(parser, Settings, titles, defaults={"frames": FRAMES})
    add = adder(parser, "the page")
    add("-o --out", "PAGE.html", "where the page goes (named after the prompt)", path)
    words = (
        "from where to follow cross-frame attention, 0,0 is left and top, 1,1 right and bottom; may be given several "
        "times (one on the subject, one in the background)"
    )
    add("--point", "X,Y", words, _point, action="append")
    words = "where links to the code lead: the source tree's root (the installed one, relative to the page)"
    add("--link-base", "URL", words)
    add("--overwrite", "", "replace a page that exists")
    add("--open", "", "show the page in the browser")
    add("-q --quiet", "", "no progress bar, no notes")
    add_model(parser, repeats=False)


def run(args: argparse.Namespace) -> None:
    """Check what can be checked, then load, make the two videos, and write the page."""
    from ..lab.explain import explain
    from ..lab.explain_page import page
    from .inputs import load_model
    from .request import resolve

    request = resolve(args, Settings, 'give a prompt, for example: t2vz explain "a red ball on a green meadow"')
    if request.settings.frames < 2:
        raise InputError("an explanation follows one frame to the next; --frames must be at least 2")
    out = _out_path(args, request.settings.prompt)
    check_installed("the page", "lab", "jinja2", "matplotlib")
    sd = load_model(request)
    settings = request.settings.with_sides(sd.default_size, sd.default_size)
    plan = (
        f"{request.weights or 'embedded model'} on {sd.device}: two videos of {settings.frames} frames, "
        f"{settings.width}×{settings.height}, {settings.steps} steps, seed {settings.seed}"
    )
    began = time.perf_counter()
    with ProgressBar(request, plan) as progress:
        explained = explain(sd, settings, args.point, progress)
    note(request, *explained.video.notes)
    base = _link_base(out) if args.link_base is None else args.link_base
    html = page(explained, sd, base, _command(args, request))
    write_bytes(out, html.encode(errors="replace"))
    print(f"{out}: {settings.frames} frames explained, {len(html) / 1e6:.1f} MB, {time.perf_counter() - began:.1f} s")
    if args.open:
        webbrowser.open(out.resolve().as_uri())


def _out_path(args: argparse.Namespace, prompt: str) -> Path:
    """The page's path, checked."""
    out = Path(args.out or free_name(prompt, (".html",)))
    if out.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"--out {out}: the page is HTML; give it a name that ends in .html")
    if out.is_dir():
        raise InputError(f"--out {out}: is a folder; give the page a name in it")
    check_free(out, args.overwrite)
    return out


def _link_base(out: Path) -> str:
    """The source tree's root, as seen from the page."""
    from ..lab.page import ROOT

    try:
        return Path(os.path.relpath(ROOT, out.resolve().parent)).as_posix()
    except ValueError:  # on another drive
        return ROOT.as_uri()


def _command(args: argparse.Namespace, request) -> str:
    """The command line that makes the same page again: all that was typed and decides it."""
    settings = {one.name: as_typed(getattr(args, one.name)) for one in fields(Settings) if one.name in request.typed}
    more = {name: getattr(args, name) for name in ("point", *MODEL) if name != "device"}
    prompt = settings.pop("prompt")
    return shlex.join(["t2vz", "explain", prompt, *words_of(settings | more)])


def _point(text: str) -> tuple[float, float]:
    """ "0.5,0.4" -> (0.5, 0.4), both from 0 to 1."""
    x, y = pair("X,Y", "0.5,0.4")(text)
    if not (0 <= x <= 1 and 0 <= y <= 1):
        raise argparse.ArgumentTypeError(f"{text!r} lies outside the frame; both numbers are from 0 to 1")
    return x, y
