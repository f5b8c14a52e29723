"""`t2vz score`: measures of any video, as a table or as JSON."""

import argparse
import json
import sys
from dataclasses import fields
from pathlib import Path

from ..pipelines.settings import Settings
from .flags import path, typed
from .machine import choose_machine

MOTION = next(one for one in fields(Settings) if one.name == "motion")
DESCRIPTION = """Measure a video: CLIP score against a prompt (E16), frame consistency, the camera's motion, warp error,
and how still the background is. Prompt and motion are taken from the run file beside a video that t2vz made
(NAME.json), unless they are given. What cannot be measured is listed with what it needs."""
EXAMPLES = """examples:
  t2vz score a-red-ball-on-a-green-meadow.mp4                 prompt and motion from its .json
  t2vz score clip.gif --prompt "a blue fish on the sea" --motion 20,0
  t2vz score frames/ --prompt "a horse galloping" --clip openai/clip-vit-large-patch14
  t2vz score clip.mp4 --masks masks/ --json                   for a program to read
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """All of score's arguments."""
    add = parser.add_argument
    add("video", type=path, metavar="VIDEO", help="a video file, a GIF or picture, or a folder of pictures")
    add("--prompt", metavar="TEXT", help="what the video should show, for the CLIP score")
    add(
        "--clip",
        type=path,
        metavar="PATH",
        help="a CLIP folder, or a hub id such as openai/clip-vit-large-patch14 (embedded: it "
        "knows only the picture world)",
    )
    add(
        "--motion",
        type=typed(MOTION),
        default=argparse.SUPPRESS,
        metavar="DX,DY",
        help="the motion asked for, in 1/512ths of the frame a frame, as t2vz generate takes it; off: none",
    )
    add(
        "--masks",
        type=path,
        metavar="PATH",
        help="foreground masks, white is foreground: a folder of pictures, or a video",
    )
    add("--json", action="store_true", help="print one JSON object in place of the table")
    add("--device", default="cpu", help="where CLIP runs: cpu, cuda, mps, auto (cpu)")


def run(args: argparse.Namespace) -> None:
    """Read the video, take every measure that can be taken, print them."""
    from ..metrics import load_clip, score_video
    from ..video import read_masks, read_video

    video = read_video(args.video)
    prompt, motion, source = _what_was_asked(args)
    masks = read_masks(args.masks, *video.frames.shape[:3]) if args.masks else None
    clip = load_clip(args.clip, choose_machine(args.device, "float32")[0])
    found = score_video(video.frames, clip, prompt, motion, masks)
    if args.json:
        given = {
            "video": args.video,
            "frames": len(video),
            "prompt": prompt,
            "motion": motion,
            "clip": args.clip or "embedded",
        }
        print(json.dumps({**given, "measures": found}, indent=2, ensure_ascii=False))
        return
    if source:
        print(f"prompt and motion are {source}'s", file=sys.stderr)
    print(_table(video, prompt, motion, args.clip, found, masks is not None))


def _what_was_asked(args: argparse.Namespace) -> tuple[str | None, tuple[float, float] | None, Path | None]:
    """(prompt, motion, the run file that gave one of them or None): as typed, else from the run file beside it."""
    path = Path(args.video)
    path = path if path.name else path.resolve()  # "." has no name
    beside = path.with_name(path.name + ".json") if path.is_dir() else path.with_suffix(".json")
    settings = _settings_in(beside)
    prompt, motion = settings.get("prompt"), settings.get("motion")
    if not motion or settings.get("zoom", 1) != 1 or settings.get("rotation", 0) != 0:
        motion = None  # off, or no mere translation
    elif "width" in settings:
        from ..metrics.motion import in_512ths

        motion = in_512ths(motion, settings.get("flow_convention", "release"), settings["height"], settings["width"])
    taken = (args.prompt is None and prompt) or (not hasattr(args, "motion") and motion)
    prompt = prompt if args.prompt is None else args.prompt
    return prompt, getattr(args, "motion", motion), beside if taken else None


def _settings_in(path: Path) -> dict:
    """The settings in a run file of a video that shows what its prompt says; {} if it is none (an edit's instructs)."""
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    settings = run.get("settings") if isinstance(run, dict) else None
    known = isinstance(settings, dict) and run.get("command", "generate") in ("generate", "control")
    return settings if known else {}


def _table(video, prompt: str | None, motion, clip: str | None, found: dict, masked: bool) -> str:
    """One line for each measure that was taken, then what the others need."""
    from ..metrics import MEASURES

    m, height, width, _ = video.frames.shape
    lines = [f"{m} frames of {width}×{height}; CLIP: {clip or 'embedded'}"]
    missing = {}
    given = {"prompt": prompt is not None, "motion": motion is not None, "masks": masked, "frames": m > 1}
    for name, measure in MEASURES.items():
        if found[name] is not None:
            best = f"{measure.scale}, {measure.best} is better" if measure.best else measure.scale
            lines.append(f"  {measure.label:<40} {found[name]:>9.3f}   {best}")
        else:
            needs = [need for need in measure.needs if not given[need]]
            what = NEEDS[needs[0]] if needs else "anything in common with frame 1"
            missing.setdefault(what, []).append(measure.label)
    lines += [f"  not measured without {what}: {'; '.join(labels)}" for what, labels in missing.items()]
    return "\n".join(lines)


NEEDS = {"prompt": "--prompt", "motion": "--motion", "masks": "--masks", "frames": "a second frame"}
