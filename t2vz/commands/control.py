"""`t2vz control`: a video that follows another one's edges, poses or depth, and shows what the prompt says."""

import argparse
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from ..pipelines.settings import ControlSettings
from .flags import OF_THE_SOURCE, add_clip, add_masks, add_model, add_output, add_settings, pair, path

DESCRIPTION = """Make a video that shows what the prompt says and moves as VIDEO does: its edges, poses or depth steer
every frame through a ControlNet. Frame count, rate and duration are VIDEO's. Without --weights and --controlnet the
small embedded models are used, which know a world of simple pictures, and edges."""
EXAMPLES = """examples:
  t2vz example                                                            draws example.mp4
  t2vz control example.mp4 "a blue ball on the beach"
  t2vz control example.mp4 "a green ball in the snow" --scale 0.7 --save-control edges.mp4 --sheet
  t2vz control dance.mp4 "an astronaut on the moon" --with pose --pose-model usyd-community/vitpose-base-simple
      --weights v1-5-pruned-emaonly.safetensors --controlnet control_openpose/ --end 4 --fps 8 --resolution 512
  t2vz control skeletons.gif "a robot dancing" --with pose --weights … --controlnet …      skeletons ready-made
  t2vz control room.mp4 "a room in winter" --with edges --with depth --depth-model LiheYoung/depth-anything-small-hf
      --controlnet canny/ --controlnet depth/ --scale 0.5 --scale 1 --weights …            two at once
  t2vz control --from a-blue-ball-on-the-beach.json --seed 7              the same settings, another seed
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """All of control's arguments."""
    add_clip(parser)
    titles = {"follow": "what it follows", "video": "how it is made", "method": "the method (paper §3.3)"}
    groups = add_settings(parser, ControlSettings, titles, without=OF_THE_SOURCE)
    _add_what_to_follow(groups["follow"])
    add_masks(groups["method"])
    add_output(parser)
    add_model(parser)


def _add_what_to_follow(add: Callable) -> None:
    words = (
        "edges: by Canny; depth: by --depth-model; pose: by --pose-model, or without one VIDEO shows skeletons; "
        "asis: VIDEO shows condition pictures already; =VIDEO: of another video. Repeat it to follow several (edges)"
    )
    add("--with", "KIND[=VIDEO]", words, _kind_and_path, action="append", dest="with_")
    words = "a folder or a .safetensors file, one for each --with (the embedded one, for edges)"
    add("--controlnet", "PATH", words, path, action="append")
    add("--edge-thresholds", "LOW,HIGH", "Canny's (100,200)", pair("LOW,HIGH", "100,200"))
    model = "a transformers {} model: a folder, or a name on the hub"
    add("--depth-model", "NAME", model.format("depth-estimation"), path)
    add("--pose-model", "NAME", model.format("pose (VitPose)"), path)
    add("--save-control", "PATH", "also write the condition pictures, as --out", path)


def _kind_and_path(text: str) -> str:
    """ "asis=~/edges.mp4" -> "asis=/home/me/edges.mp4"."""
    kind, equals, video = text.partition("=")
    return kind + equals + (path(video) if video else "")


def run(args: argparse.Namespace) -> None:
    """Check everything that can be checked first; then load, read, find the conditions, generate, and write."""
    from ..pipelines.control import control_job
    from ..video import write_frames
    from . import follow
    from .inputs import check_clip, load, of_source, open_source
    from .making import make_video
    from .output import output_paths
    from .request import resolve

    give = 'give a prompt after the video, for example: t2vz control example.mp4 "a blue ball on the beach"'
    request = resolve(args, ControlSettings, give)
    follows = follow.what_to_follow(request)
    paths = output_paths(request, check_clip(request))
    shown = follow.control_paths(request, len(follows), paths["video"])
    finders = [follow.finder(request, one.kind) for one in follows]
    sd = load(request)
    nets = [follow.load(one, sd) for one in follows]
    recorded = follow.describe(request, follows)
    with ExitStack() as stack:
        clip = stack.enter_context(open_source(request, sd.default_size))
        pictures = [follow.pictures(request, stack, clip, *one) for one in zip(follows, finders, strict=True)]
        finders.clear()  # a depth model's memory is wanted back
        for file, frames in zip(shown, pictures):
            write_frames(file, (frames[k] for k in range(len(frames))), clip.fps)
        settings = of_source(request.settings, clip)
        job_of = partial(control_job, sd, settings, pictures, nets)
        make_video(request, settings, sd, paths, job_of, clip=clip, **recorded)
