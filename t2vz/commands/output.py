"""What every command that writes a video shares: names, checks before the work, a progress bar, remarks.

A command says its remarks on stderr and its one line of result on stdout. Beside every video it writes a run file
(see runfile.py); beside those, on request, a contact sheet and the latents.
"""

import argparse
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..errors import InputError

# what may stand beside a video NAME.mp4, by what it is
ENDINGS = {"run": ".json", "sheet": "-sheet.png", "latents": "-latents.safetensors"}

SHEET_FRAMES = 32  # of a long video on its contact sheet


def add_output_arguments(group) -> None:
    """--out, --sheet, --latents, --overwrite, --from, --quiet. args then has out, sheet, latents, …, from_, quiet."""
    add = group.add_argument
    add("-o", "--out", metavar="PATH", help="NAME.mp4, NAME.gif, or a folder/ of PNGs (named after the prompt, .mp4)")
    add("--sheet", action="store_true", help="also write all frames on one picture, NAME-sheet.png")
    add("--latents", action="store_true", help="also write the latents, NAME-latents.safetensors")
    add("--overwrite", action="store_true", help="replace files that exist")
    add("--from", dest="from_", metavar="RUN.json", help="repeat a run; flags given beside it replace its settings")
    add("-q", "--quiet", action="store_true", help="no progress bar, no notes")


def output_paths(args: argparse.Namespace, words: str, fps: float) -> dict[str, str | Path]:
    """Where everything goes: "video", as it was typed (the ending, or a final /, says which kind), "run", and "sheet"
    and "latents" if asked for. words: what the video is named after without --out.

    Raises InputError or FailedError for what could not be written there: worth calling before minutes of work.
    """
    from ..files import check_name
    from ..video import check_output

    out = args.out or free_name(words)
    kind = check_output(out, overwrite=args.overwrite, fps=fps)
    stem = Path(out) if kind == "folder" else Path(out).with_suffix("")
    wanted = {"run": True, "sheet": args.sheet, "latents": args.latents}
    paths = {name: stem.with_name(stem.name + ENDINGS[name]) for name, asked in wanted.items() if asked}
    for path in paths.values():
        check_name(path)
        if path.exists() and not args.overwrite:
            raise InputError(f"{path} exists already; choose another --out, or pass --overwrite")
    return {"video": out, **paths}


def free_name(words: str, endings: tuple[str, ...] = (".mp4", *ENDINGS.values())) -> str:
    """A name from the first words that no file has yet: a-red-ball-on-a-green-meadow.mp4, then …-2.mp4.

    endings: what may stand there, the name's own first.
    """
    stem = "-".join(re.findall(r"[a-z0-9]+", words.lower())[:8])[:60] or "video"
    number, name = 1, stem
    while any(Path(name + ending).exists() for ending in endings):
        number += 1
        name = f"{stem}-{number}"
    return name + endings[0]


def say(args: argparse.Namespace, line: str) -> None:
    """A remark for the user, on stderr, unless --quiet."""
    if not args.quiet:
        print(line, file=sys.stderr, flush=True)


class ProgressBar:
    """A pipeline's `progress(done, total, stage)` as a bar on stderr; leave the `with` block to remove it.

    plan: one line, said at the first call, when the work begins and everything was found in order; "" says nothing.
    """

    def __init__(self, args: argparse.Namespace, plan: str = "", unit: str = "frame step"):
        self.args, self.plan, self.unit = args, plan, unit
        self.bar = None

    def __enter__(self) -> "ProgressBar":
        return self

    def __call__(self, done: int, total: int, stage: str) -> None:
        if self.bar is None:
            from tqdm import tqdm

            if self.plan:
                say(self.args, self.plan)
            # Where stderr is no terminal a bar would be a mess of lines (disable=None asks tqdm to see for itself).
            self.bar = tqdm(
                total=total, unit=self.unit, disable=True if self.args.quiet else None, leave=False, file=sys.stderr
            )
        self.bar.set_description(stage, refresh=False)
        self.bar.update(done - self.bar.n)

    def __exit__(self, *exception) -> None:
        if self.bar is not None:
            self.bar.close()


def write_streamed(
    args: argparse.Namespace, paths: dict, frames: Iterable, count: int, fps: float, caption: str
) -> None:
    """Write a video of `count` frames as they are made, and a contact sheet if `paths` (of `output_paths`) has one.

    frames: uint8 (H, W, 3) each. Only a GIF keeps them all; a sheet of a long video shows SHEET_FRAMES, evenly spaced.
    """
    import numpy as np

    from ..video import check_output, write_frames
    from ..video.sheet import contact_sheet
    from ..video.write import write_image

    shown = set(np.linspace(0, count - 1, min(count, SHEET_FRAMES)).round().astype(int)) if "sheet" in paths else ()
    kept = []

    def watched() -> Iterator:
        for k, frame in enumerate(frames):
            if k in shown:
                kept.append(frame)
            yield frame

    check_output(paths["video"], args.overwrite, fps)  # again: minutes have passed
    write_frames(paths["video"], watched(), fps)
    if kept:
        write_image(paths["sheet"], contact_sheet(np.stack(kept), caption=caption))


def write_latents(path: Path, latents) -> None:
    """The latents as denoised, (m, 4, H/8, W/8), under the name "latents"."""
    from safetensors.torch import save_file

    from ..files import atomic_path

    with atomic_path(path) as temporary:
        save_file({"latents": latents.contiguous()}, temporary)
