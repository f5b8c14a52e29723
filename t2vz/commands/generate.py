"""`t2vz generate`: from a prompt to a video file, a run file beside it, and a contact sheet on request."""

import argparse
from functools import partial

from ..conditions import motion_of_clip
from ..errors import InputError
from ..pipelines.settings import Settings
from ..pipelines.text_to_video import text_job
from ..video import open_clip
from .inputs import load
from .making import make_video
from .output import note, note_change, output_paths
from .request import Request, resolve
from .runfile import absolute


def run(args: argparse.Namespace) -> None:
    """Check everything that can be checked first; then load, generate, and write."""
    request = resolve(args, Settings)
    paths = output_paths(request, request.settings.fps)
    sd = load(request)
    settings = request.settings.with_sides(sd.default_size, sd.default_size)
    flow, notes, source = motion_from(request, settings, sd)
    make_video(request, settings, sd, paths, partial(text_job, sd, settings, flow=flow), notes, motion_from=source)


def motion_from(request: Request, settings: Settings, sd) -> tuple:
    """What --motion-from asks for: the flow, notes, and what the run file records of the clip; nothing without it."""
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
