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
from ..lab.explain import explain, other_attention
from ..lab.explain_page import page
from ..lab.page import ROOT
from ..pipelines.settings import Settings
from ..pipelines.values import as_typed
from .flags import MODEL, words_of
from .inputs import load_model
from .making import plan_of
from .output import check_free, free_name, note, progress_bar
from .request import Request, resolve


def run(args: argparse.Namespace) -> None:
    """Check what can be checked, then load, make the two videos, and write the page."""
    request = resolve(args, Settings)
    if request.settings.frames < 2:
        raise InputError("an explanation follows one frame to the next; --frames must be at least 2")
    out = _out_path(request)
    sd = load_model(request)
    settings = request.settings.with_sides(sd.default_size, sd.default_size)
    plan = f'{plan_of(request, settings, sd)}; then the same with attention "{other_attention(settings.attention)}"'
    began = time.perf_counter()
    with progress_bar(request, plan) as progress:
        explained = explain(sd, settings, request.point, progress)
    note(request, *explained.video.notes)
    base = _link_base(out) if request.link_base is None else request.link_base
    html = page(explained, sd, base, _command(request))
    write_bytes(out, html.encode(errors="replace"))
    print(f"{out}: {settings.frames} frames explained, {len(html) / 1e6:.1f} MB, {time.perf_counter() - began:.1f} s")
    if request.open:
        webbrowser.open(out.resolve().as_uri())


def _out_path(request: Request) -> Path:
    """The page's path, checked."""
    out = Path(request.out or free_name(request.settings.prompt, (".html",)))
    if out.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"--out {out}: the page is HTML; give it a name that ends in .html")
    if out.is_dir():
        raise InputError(f"--out {out}: is a folder; give the page a name in it")
    check_free(out, request.overwrite)
    return out


def _link_base(out: Path) -> str:
    """The source tree's root, as seen from the page."""
    try:
        return Path(os.path.relpath(ROOT, out.resolve().parent)).as_posix()
    except ValueError:  # on another drive
        return ROOT.as_uri()


def _command(request: Request) -> str:
    """The command line that makes the same page again: all that was typed and decides it."""
    typed = [one.name for one in fields(Settings) if one.name in request.typed and one.name != "prompt"]
    settings = {name: as_typed(getattr(request.settings, name)) for name in typed}
    more = {name: getattr(request, name) for name in ("point", *MODEL) if name != "device"}
    return shlex.join(["t2vz", "explain", request.settings.prompt, *words_of(settings | more)])
