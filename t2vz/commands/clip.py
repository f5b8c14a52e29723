"""The video that a command works on: what VIDEO, --start, --end, --fps and --resolution mean, for control and edit."""

import argparse
from pathlib import Path

from ..errors import InputError
from .output import say

CHOICES = ("video", "start", "end", "fps", "resolution")


def add_clip_arguments(parser: argparse.ArgumentParser) -> None:
    """VIDEO, --start, --end, --fps, --resolution. Call it before the other positional arguments are added."""
    parser.add_argument(
        "video",
        nargs="?",
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


def take_clip_from_run(args: argparse.Namespace, repeated: dict | None) -> None:
    """What the command line does not say about the video comes from the run file, if there is one."""
    recorded = (repeated or {}).get("video") or {}
    if args.video is None and recorded:
        if not Path(recorded["path"]).exists():
            raise InputError(
                f"--from {args.from_}: its video was at {recorded['path']}, which is gone; name where it "
                "is now, before the prompt"
            )
        args.video = recorded["path"]
    for name in CHOICES[1:]:
        if getattr(args, name) is None:
            setattr(args, name, recorded.get(name))


def check_clip(args: argparse.Namespace) -> float:
    """The frame rate of the video asked for: worth calling before a model is loaded.

    Raises what `open_clip` would raise, as far as times and the first frame show it.
    """
    from ..video import open_frames

    if args.video is None:
        raise InputError("give a video; t2vz example draws one to begin with")
    fps, frames, _ = open_frames(args.video, args.start, args.end, args.fps)
    next(frames)
    frames.close()
    return float(fps)


def open_source(args: argparse.Namespace, own_size: int, repeated: dict | None = None):
    """The video asked for as a `Clip`, to be closed; its notes are said. own_size: of the model's pictures."""
    from ..video import open_clip

    resolution = own_size if args.resolution is None else args.resolution
    clip = open_clip(args.video, args.start, args.end, args.fps, resolution)
    for note in clip.notes:
        say(args, f"note: {note}")
    recorded = (repeated or {}).get("video") or {}
    if recorded and recorded.get("sha256") != clip.hash():
        say(args, f"note: these are other frames than those of {args.from_}, so the video will differ")
    return clip


def describe_clip(args: argparse.Namespace, clip) -> dict:
    """What a run file records of the video that came in: where it was, what was taken of it, and a hash of its frames.

    resolution: the larger side before rounding, None for the model's own.
    """
    from .runfile import absolute

    return {
        "path": absolute(args.video),
        **{name: getattr(args, name) for name in CHOICES[1:]},
        "frames": len(clip),
        "sha256": clip.hash(),
    }
