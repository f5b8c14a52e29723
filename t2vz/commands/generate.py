"""`t2vz generate`: from a prompt to a video file, a run file beside it, and a contact sheet on request."""

import argparse
from functools import partial

from ..errors import InputError
from ..pipelines.settings import Settings
from .flags import add_masks, add_model, add_output, add_settings, path

DESCRIPTION = """Make a video from a prompt with Text2Video-Zero. Without --weights the small embedded model is used,
which knows a world of simple pictures: "a red ball on a green meadow"."""
EXAMPLES = """examples:
  t2vz generate "a red ball on a green meadow"
  t2vz generate "a blue fish on the sea" --frames 16 --motion 20,0 --out fish.gif --sheet
  t2vz generate "a horse galloping" --weights v1-5-pruned-emaonly.safetensors --tokenizer DIR --device cuda
  t2vz generate "a white cat in a room" --attention own --motion off      without the paper's two ideas
  t2vz generate "a red car in the city" --motion-from walk.mp4            the camera moves as in walk.mp4
  t2vz generate --from fish.json --seed 7                                 the same settings, another seed
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """All of generate's arguments."""
    add = add_settings(parser, Settings, {"video": "the video", "method": "the method (paper §3.3)"})["method"]
    add_masks(add)
    add("--motion-from", "CLIP", "move the camera as in this video, in place of --motion", path)
    add("--dense", "", "with --motion-from: every part as in the video, by optical flow", default=None)
    add_output(parser)
    add_model(parser)


def run(args: argparse.Namespace) -> None:
    """Check everything that can be checked first; then load, generate, and write."""
    from ..pipelines.text_to_video import text_job
    from .inputs import load
    from .making import make_video
    from .output import output_paths
    from .request import resolve

    request = resolve(args, Settings, 'give a prompt, for example: t2vz generate "a red ball on a green meadow"')
    paths = output_paths(request, request.settings.fps)
    sd = load(request)
    settings = request.settings.with_sides(sd.default_size, sd.default_size)
    flow, notes, source = motion_from(request, settings, sd)
    make_video(request, settings, sd, paths, partial(text_job, sd, settings, flow=flow), notes, motion_from=source)


def motion_from(request, settings: Settings, sd) -> tuple:
    """What --motion-from asks for: the flow, notes, and what the run file records of the clip; nothing without it."""
    from ..conditions import motion_of_clip
    from ..video import open_clip
    from .output import note, note_change
    from .runfile import absolute

    if request.motion_from is None:
        if request.dense:
            raise InputError("--dense goes with --motion-from CLIP")
        return None, [], None
    if "motion" in request.typed:
        raise InputError("--motion and --motion-from both say how the camera moves; give one")
    cells = settings.height // sd.vae.factor, settings.width // sd.vae.factor
    with open_clip(request.motion_from, resolution=512) as clip:
        note(request, *clip.notes)
        flow, notes = motion_of_clip(clip, settings.frames, settings.fps, *cells, bool(request.dense))
        sha256 = clip.hash()
    before = (request.run_file.get("motion_from") or {}).get("sha256")
    note_change(request, f"{request.motion_from} has changed since", sha256, before)
    return flow, notes, {"path": absolute(request.motion_from), "dense": bool(request.dense), "sha256": sha256}
