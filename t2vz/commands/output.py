"""What every command that writes shares: names, checks before the work, a progress bar, remarks.

A command says its remarks on stderr and its one line of result on stdout. Beside every video it writes a run file
(see runfile.py); beside those, on request, a contact sheet and the latents.
"""

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from tqdm import tqdm

from ..errors import InputError
from ..files import check_name
from ..video import check_output

# what may stand beside a video NAME.mp4, by what it is
ENDINGS = {"run": ".json", "sheet": "-sheet.png", "latents": "-latents.safetensors"}


def output_paths(request, fps: float) -> dict[str, str | Path]:
    """Where everything goes: "video", as it was typed (the ending, or a final /, says which kind), "run", and "sheet"
    and "latents" if asked for. Without --out it is named after the prompt.

    Raises InputError or FailedError for what could not be written there: worth calling before minutes of work.
    """
    out = request.out or free_name(request.settings.prompt)
    kind = check_output(out, overwrite=request.overwrite, fps=fps)
    stem = Path(out) if kind == "folder" else Path(out).with_suffix("")
    wanted = {"run": True, "sheet": request.sheet, "latents": request.latents}
    paths = {name: stem.with_name(stem.name + ENDINGS[name]) for name, asked in wanted.items() if asked}
    for path in paths.values():
        check_free(path, request.overwrite)
    return {"video": out, **paths}


def free_name(words: str, endings: tuple[str, ...] = (".mp4", *ENDINGS.values())) -> str:
    """A name from the first words that no file has yet: a-red-ball-on-a-green-meadow.mp4, then …-2.mp4.

    endings: what may stand there, the name's own first.
    """
    stem = "-".join(re.findall(r"[a-z0-9]+", words.lower())[:8])[:60] or "video"
    names = (f"{stem}-{number}" if number > 1 else stem for number in count(1))
    return next(name for name in names if not any(Path(name + ending).exists() for ending in endings)) + endings[0]


def check_free(path: str | Path, overwrite: bool) -> None:
    """Raise InputError for a name that no file can have, or that one has, unless it may be replaced."""
    check_name(path)
    if Path(path).exists() and not overwrite:
        raise InputError(f"{path} exists already; choose another name, or pass --overwrite")


def say(asked, line: str) -> None:
    """A remark for the user, on stderr, unless asked.quiet."""
    if not asked.quiet:
        print(line, file=sys.stderr, flush=True)


def note(asked, *notes: str) -> None:
    """Remarks that each begin with "note:"."""
    for one in notes:
        say(asked, f"note: {one}")


def note_change(request, what: str, now: str | None, before: str | None) -> None:
    """Say, quiet or not, that the video will differ from the run file's: a file's or a video's hash is another."""
    if before and now not in (None, before):
        print(f"note: {what} {request.from_}, so the video will differ", file=sys.stderr, flush=True)


@contextmanager
def progress_bar(asked, plan: str = "", unit: str = "frame step") -> Iterator[Callable[[int, int, str], None]]:
    """A pipeline's `progress(done, total, stage)` as a bar on stderr, which goes at the end of the `with` block.

    asked: the Request, which may say quiet, or have a progress of its own (that of t2vz app). plan: one line, said at
    the first call, when the work begins and everything was found in order; "" says nothing.
    """
    bar = None

    def progress(done: int, total: int, stage: str) -> None:
        """Tell the caller, or move the bar, which is made at the first call."""
        nonlocal bar
        if "progress" in asked:
            return asked.progress(done, total, stage)
        if bar is None:
            if plan:
                say(asked, plan)
            # Where stderr is no terminal a bar would be a mess of lines (disable=None asks tqdm to see for itself).
            bar = tqdm(total=total, unit=unit, disable=asked.quiet or None, leave=False, file=sys.stderr)
        bar.set_description(stage, refresh=False)
        bar.update(done - bar.n)

    try:
        yield progress
    finally:
        if bar is not None:
            bar.close()
