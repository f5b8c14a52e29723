"""`t2vz control`: a video that follows another one's edges, poses or depth, and shows what the prompt says.

What is followed is read from VIDEO, or from another video, into condition pictures, and these by a ControlNet each.
"""

import argparse
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from .. import conditions
from ..checkpoints import checkpoint_hash, embedded_controlnet
from ..conditions.edges import HIGH, LOW, load_opencv
from ..errors import InputError
from ..model import check_controlnet, load_controlnet
from ..pipelines.control import control_job
from ..pipelines.settings import ControlSettings
from ..video import Clip, FramesOnDisk, check_output, open_clip, write_frames
from .inputs import check_clip, choose_machine, load, of_source, open_source
from .making import make_video
from .output import note, note_change, output_paths, progress_bar
from .request import Request, resolve
from .runfile import absolute


def run(args: argparse.Namespace) -> None:
    """Check everything that can be checked first; then load, read, find the conditions, generate, and write."""
    request = resolve(args, ControlSettings)
    follows = what_to_follow(request)
    paths = output_paths(request, check_clip(request))
    shown = control_paths(request, len(follows), paths["video"])
    finders = [finder(request, one.kind) for one in follows]
    sd = load(request)
    nets = [load_controlnet(one.file, sd.dtype, sd.device, sd.unet) for one in follows]
    for net in nets:
        check_controlnet(sd, net)
    recorded = describe(request, follows)
    with ExitStack() as stack:
        clip = stack.enter_context(open_source(request, sd.default_size))
        found = [pictures(request, stack, clip, *one) for one in zip(follows, finders, strict=True)]
        finders.clear()  # a depth model's memory is wanted back
        for file, frames in zip(shown, found):
            write_frames(file, (frames[k] for k in range(len(frames))), clip.fps)
        settings = of_source(request.settings, clip)
        make_video(request, settings, sd, paths, partial(control_job, sd, settings, found, nets), clip=clip, **recorded)


@dataclass(frozen=True)
class Follow:
    """One thing to follow: what is read from which video (None: VIDEO itself), by which ControlNet (None: embedded)."""

    kind: str
    video: str | None
    controlnet: str | None

    @property
    def file(self) -> str | Path:
        """The ControlNet's file or folder."""
        return self.controlnet or embedded_controlnet()


def what_to_follow(request: Request) -> list[Follow]:
    """What --with and --controlnet ask for. Raises InputError for what does not go together."""
    nets = request.controlnet or [None] * len(request.with_)
    if len(nets) != len(request.with_):
        raise InputError(f"{len(nets)} --controlnet for {len(request.with_)} --with; give one for each, in order")
    follows = [Follow(*one, net) for one, net in zip(request.with_, nets, strict=True)]
    for one in follows:
        if one.controlnet is None and one.kind not in ("edges", "asis"):
            ask = "give one that was trained for it, --controlnet PATH, and the model it belongs to, --weights"
            raise InputError(f"the embedded ControlNet reads edges; for --with {one.kind} {ask}")
    for name in request.settings.NUMBERS:
        request.settings.for_each(name, len(follows))  # raises if there are neither one nor so many
    return follows


def finder(request: Request, kind: str) -> Callable | None:
    """The function that makes a frame's condition picture; None where the video shows it already."""
    if kind == "edges":
        load_opencv()
        low, high = request.edge_thresholds or (LOW, HIGH)
        return lambda frame: conditions.edges(frame, low, high)
    if kind == "depth":
        if request.depth_model is None:
            raise InputError(
                "--with depth needs --depth-model NAME, a transformers depth-estimation model such as "
                "LiheYoung/depth-anything-small-hf; of a depth video ready-made use --with asis"
            )
        return conditions.DepthFinder.load(request.depth_model, choose_machine(request.device)[0])
    if kind == "pose" and request.pose_model is not None:
        return conditions.PoseFinder.load(request.pose_model, choose_machine(request.device)[0])
    return None


def pictures(request: Request, stack: ExitStack, clip: Clip, follow: Follow, find: Callable | None):
    """The condition pictures of all frames, (m, H, W, 3) on disk: made one after the other, or the video as it is."""
    source = clip
    if follow.video is not None:
        size = (clip.height, clip.width)
        source = stack.enter_context(open_clip(follow.video, request.start, request.end, request.fps, size=size))
        note(request, *source.notes)
        if len(source) != len(clip):
            raise InputError(
                f"{follow.video} has {len(source)} frames and {request.video} {len(clip)}: a control video "
                "has one for each; cut them to one length (--start, --end) and rate (--fps)"
            )
    if find is None:
        return source
    with progress_bar(request, unit="frame") as progress:

        def watched():
            for k, picture in enumerate(conditions.condition_frames(source, find), start=1):
                progress(k, len(source), follow.kind)
                yield picture

        return stack.enter_context(FramesOnDisk(watched()))


def describe(request: Request, follows: list[Follow]) -> dict:
    """What a run file records of what was followed; it is said if a ControlNet has changed since --from."""
    controls = []
    for one in follows:
        sha256 = checkpoint_hash(Path(one.file))
        places = {"video": absolute(one.video), "controlnet": absolute(one.controlnet)}
        controls.append({"kind": one.kind, **places, "sha256": sha256})
        before = {was["controlnet"]: was["sha256"] for was in request.run_file.get("controls", [])}
        note_change(request, f"the ControlNet {one.file} has changed since", sha256, before.get(places["controlnet"]))
    return {"controls": controls, "edge_thresholds": request.edge_thresholds} | {
        name: _place(getattr(request, name)) for name in ("depth_model", "pose_model")
    }


def _place(name: str | None) -> str | None:
    """A model's folder from the root, so that a run file works from anywhere; a name on the hub as it is."""
    return absolute(name) if name and Path(name).exists() else name


def control_paths(request: Request, count: int, video: str) -> list[str]:
    """Where --save-control writes: PATH, and for a second thing to follow PATH with -2 in its name.

    Raises what writing there would raise, as far as it shows beforehand. video: where the video itself goes.
    """
    if not request.save_control:
        return []
    first, slash = Path(request.save_control), "/" if request.save_control.endswith("/") else ""
    more = [str(first.with_name(f"{first.stem}-{k}{first.suffix}")) + slash for k in range(2, count + 1)]
    for file in (files := [request.save_control, *more]):
        check_output(file, request.overwrite)
        if Path(file).resolve() == Path(video).resolve():
            raise InputError(f"--save-control {file}: the video itself is to be written there; choose another name")
    return files
