"""`t2vz control`: a video that follows another one's edges, poses or depth, and shows what the prompt says."""

import argparse
import time
from contextlib import ExitStack
from dataclasses import dataclass, fields
from pathlib import Path

from ..errors import InputError
from .clip import add_clip_arguments, check_clip, describe_clip, open_source, take_clip_from_run
from .generate import add_method_arguments
from .machine import add_model_arguments, load_model
from .output import ProgressBar, add_output_arguments, output_paths, say, write_latents, write_streamed

HELP = "make a video that follows another one's edges, poses or depth"
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
KINDS = ("edges", "pose", "depth", "asis")
CHUNK = 8  # frames per UNet call: memory stays that of a short video


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """All of control's arguments. Settings have no default here: what is not given comes from --from or the release."""
    add_clip_arguments(parser)
    parser.add_argument("prompt", nargs="?", default=argparse.SUPPRESS, metavar="PROMPT", help="what the video shows")
    _add_control_arguments(parser.add_argument_group("what it follows"))
    _add_sampling_arguments(parser.add_argument_group("how it is made"))
    add_method_arguments(parser.add_argument_group("the method"), motion="off", noise="shared", chunk=str(CHUNK))
    add_output_arguments(parser.add_argument_group("files"))
    add_model_arguments(parser)


def _add_control_arguments(group) -> None:
    add = group.add_argument
    add(
        "--with",
        dest="with_",
        action="append",
        metavar="KIND[=VIDEO]",
        help="edges: by Canny; depth: by "
        "--depth-model; pose: by --pose-model, or without one VIDEO shows skeletons; asis: VIDEO shows condition "
        "pictures already; =VIDEO: of another video. Repeat it to follow several (edges)",
    )
    add(
        "--controlnet",
        action="append",
        metavar="PATH",
        help="a folder or a .safetensors file, one for each --with (the embedded one, for edges)",
    )
    for name, words in (
        ("scale", "s of E14: how strongly to follow (1)"),
        ("control-start", "share of the steps after which to follow (0)"),
        ("control-end", "share of the steps up to which to follow (1)"),
    ):
        add(
            f"--{name}",
            action="append",
            type=float,
            metavar="X",
            dest=f"control_{name.removeprefix('control-')}",
            default=argparse.SUPPRESS,
            help=f"{words}; once, or for each --with",
        )
    add("--edge-thresholds", type=_pair, metavar="LOW,HIGH", help="Canny's (100,200)")
    add("--depth-model", metavar="NAME", help="a transformers depth-estimation model: a folder, or a name on the hub")
    add("--pose-model", metavar="NAME", help="a transformers pose model (VitPose): a folder, or a name on the hub")
    add("--save-control", metavar="PATH", help="also write the condition pictures, as --out")


def _add_sampling_arguments(group) -> None:
    def add(flag, help, **options):
        group.add_argument(flag, default=argparse.SUPPRESS, help=help, **options)

    add("--seed", "same seed, same video (0)", type=int)
    add("--negative-prompt", "what to keep away from (nothing)", metavar="TEXT")
    add("--steps", "denoising steps (20)", type=int)
    add("--guidance-scale", "E5's w: how strictly to follow the prompt (9)", type=float, metavar="W")
    add("--eta", "0 is DDIM, 1 as noisy as DDPM (0)", type=float)


@dataclass
class Follow:
    """One thing to follow: what is read from which video (None: VIDEO itself), by which ControlNet (None: embedded)."""

    kind: str
    video: str | None = None
    controlnet: str | None = None
    sha256: str | None = None  # of the ControlNet's weights


def run(args: argparse.Namespace) -> None:
    """Check everything that can be checked first; then load, read, find the conditions, generate, and write."""
    from ..pipelines.settings import ControlSettings
    from .runfile import read_run

    names = {field.name for field in fields(ControlSettings)} - {"fps"}
    repeated = read_run(args.from_, "control", ControlSettings.from_dict) if args.from_ else None
    given = {name: value for name, value in vars(args).items() if name in names}
    values = {"chunk": CHUNK, **(repeated["settings"] if repeated else {}), **given}
    if "prompt" not in values:
        raise InputError(
            'give a prompt after the video, for example: t2vz control example.mp4 "a blue ball on the beach"'
        )
    settings = ControlSettings.from_dict(values)
    if args.masks and settings.smooth_background == 0:
        raise InputError("--masks are for background smoothing; add --smooth-background 0.6")
    _take_from_run(args, repeated, settings)
    take_clip_from_run(args, repeated)
    follows = _follows(args, repeated)
    for name in ControlSettings.NUMBERS:
        settings.for_each(name, len(follows))  # raises if there are neither one nor so many
    paths = output_paths(args, settings.prompt, check_clip(args))
    _check_control_paths(args, len(follows), paths["video"])
    find = [_finder(args, follow.kind) for follow in follows]
    sd = load_model(args, repeated)
    controlnets = [_load_controlnet(args, follow, sd) for follow in follows]
    with ExitStack() as stack:
        clip = stack.enter_context(open_source(args, sd.default_size, repeated))
        pictures = [_pictures(args, stack, clip, *pair) for pair in zip(follows, find, strict=True)]
        find.clear()  # a depth model's memory is wanted back
        settings = ControlSettings.from_dict(
            {**values, "frames": len(clip), "height": clip.height, "width": clip.width, "fps": clip.fps}
        )
        _save_control(args, pictures, clip.fps)
        _generate(args, settings, sd, clip, pictures, controlnets, follows, paths)


def _take_from_run(args: argparse.Namespace, repeated: dict | None, settings) -> None:
    """What only this command knows, and the command line does not say, comes from the run file."""
    if repeated:
        for name in ("edge_thresholds", "depth_model", "pose_model"):
            if getattr(args, name) is None:
                setattr(args, name, repeated.get(name))
        if settings.smooth_background > 0:
            args.masks = args.masks or repeated.get("masks")


def _follows(args: argparse.Namespace, repeated: dict | None) -> list[Follow]:
    """What --with and --controlnet ask for, or the run file. Raises InputError for what does not go together."""
    recorded = [Follow(**one) for one in (repeated or {}).get("controls", [])]
    if args.with_ is None and args.controlnet is None and recorded:
        return recorded
    follows = [Follow(*_kind_and_video(word)) for word in args.with_ or ["edges"]]
    if args.with_ is None and recorded:
        follows = [Follow(one.kind, one.video) for one in recorded]
    nets = args.controlnet or [None] * len(follows)
    if len(nets) != len(follows):
        raise InputError(f"{len(nets)} --controlnet for {len(follows)} --with; give one for each, in the same order")
    for follow, path in zip(follows, nets, strict=True):
        if path is None and follow.kind not in ("edges", "asis"):
            raise InputError(
                f"the embedded ControlNet reads edges; for --with {follow.kind} give one that was trained "
                "for it, --controlnet PATH (and the Stable Diffusion it belongs to, --weights)"
            )
        follow.controlnet = path
    return follows


def _kind_and_video(word: str) -> tuple[str, str | None]:
    """ "edges" -> ("edges", None); "asis=dance.mp4" -> ("asis", "dance.mp4")."""
    kind, equals, video = word.partition("=")
    if kind not in KINDS or (equals and not video):
        raise InputError(f"--with {word}: what to follow is {', '.join(KINDS)}, or one of them with =VIDEO")
    return kind, video or None


def _finder(args: argparse.Namespace, kind: str):
    """The function that makes a frame's condition picture; None where the video shows it already."""
    from .. import conditions
    from ..conditions.edges import HIGH, LOW, load_opencv
    from .machine import choose_machine

    if kind == "edges":
        load_opencv("edges")
        low, high = args.edge_thresholds or (LOW, HIGH)
        return lambda frame: conditions.edges(frame, low, high)
    if kind == "depth":
        if args.depth_model is None:
            raise InputError(
                "--with depth needs --depth-model NAME, a transformers depth-estimation model such as "
                "LiheYoung/depth-anything-small-hf; of a depth video ready-made use --with asis"
            )
        return conditions.DepthFinder.load(args.depth_model, choose_machine(args.device, "float32")[0])
    if kind == "pose" and args.pose_model is not None:
        return conditions.PoseFinder.load(args.pose_model, choose_machine(args.device, "float32")[0])
    return None


def _load_controlnet(args: argparse.Namespace, follow: Follow, sd):
    """The ControlNet of one thing to follow, checked against the model; its hash goes into the run file."""
    from ..checkpoints import checkpoint_hash
    from ..model import check_controlnet, embedded_controlnet, load_controlnet

    path = follow.controlnet or embedded_controlnet()
    network = load_controlnet(path, sd.dtype, sd.device, sd.unet)
    check_controlnet(sd, network)
    found = checkpoint_hash(Path(path))
    if follow.sha256 not in (None, found):
        say(args, f"note: the ControlNet {path} has changed since {args.from_}, so the video will differ")
    follow.sha256 = found
    return network


def _pictures(args: argparse.Namespace, stack: ExitStack, clip, follow: Follow, find):
    """The condition pictures of all frames, (m, H, W, 3) on disk: made one after the other, or the video as it is."""
    from ..conditions import condition_frames
    from ..video import frames_on_disk, open_clip

    source = clip
    if follow.video is not None:
        size = (clip.height, clip.width)
        source = stack.enter_context(open_clip(follow.video, args.start, args.end, args.fps, size=size))
        for note in source.notes:
            say(args, f"note: {note}")
        if len(source) != len(clip):
            raise InputError(
                f"{follow.video} has {len(source)} frames and {args.video} {len(clip)}: a control video "
                "has one for each; cut them to one length (--start, --end) and rate (--fps)"
            )
    if find is None:
        return source
    with ProgressBar(args, unit="frame") as progress:

        def watched():
            for k, picture in enumerate(condition_frames(source, find), start=1):
                progress(k, len(source), follow.kind)
                yield picture

        return stack.enter_context(frames_on_disk(watched()))


def _generate(
    args: argparse.Namespace, settings, sd, clip, pictures: list, controlnets: list, follows: list[Follow], paths: dict
) -> None:
    """Denoise, then decode and write frame by frame; then the run file and what else was asked for."""
    from ..files import write_json
    from ..pipelines.algorithm_1 import algorithm_1
    from ..pipelines.control import control_job
    from ..video import read_masks

    masks = read_masks(args.masks, settings.frames, settings.height, settings.width) if args.masks else None
    plan = (
        f"{args.weights or 'embedded model'} on {sd.device}, {args.dtype}: {settings.frames} frames of "
        f"{settings.width}×{settings.height} that follow {' and '.join(follow.kind for follow in follows)} of "
        f"{args.video}, {settings.steps} steps, seed {settings.seed}"
    )
    began = time.perf_counter()
    with ProgressBar(args, plan) as progress:
        job = control_job(sd, settings, pictures, controlnets, masks=masks, progress=progress)
        latents = algorithm_1(job)
        write_streamed(args, paths, job.pictures(latents), len(clip), clip.fps, settings.prompt)
    seconds = time.perf_counter() - began
    for note in job.notes:
        say(args, f"note: {note}")
    if "latents" in paths:
        write_latents(paths["latents"], latents.cpu())
    write_json(paths["run"], _describe(args, settings, sd, clip, follows, seconds, [*clip.notes, *job.notes]))
    print(
        f"{paths['video']}: {settings.frames} frames of {settings.width}×{settings.height}, {clip.duration:.1f} s at "
        f"{clip.fps:g} fps, made in {seconds:.1f} s; settings in {paths['run']}"
    )


def _describe(
    args: argparse.Namespace, settings, sd, clip, follows: list[Follow], seconds: float, notes: list[str]
) -> dict:
    """The run file: what every command records, the video, and what was followed in it."""
    from .runfile import absolute, describe_run

    controls = [
        {"kind": one.kind, "video": absolute(one.video), "controlnet": absolute(one.controlnet), "sha256": one.sha256}
        for one in follows
    ]
    return describe_run(
        "control",
        settings.to_dict(),
        sd,
        args,
        seconds,
        notes,
        video=describe_clip(args, clip),
        controls=controls,
        edge_thresholds=args.edge_thresholds,
        masks=absolute(args.masks),
        depth_model=args.depth_model,
        pose_model=args.pose_model,
    )


def _control_paths(args: argparse.Namespace, count: int) -> list[str]:
    """Where --save-control writes: PATH, and for a second thing to follow PATH with -2 in its name."""
    if not args.save_control:
        return []
    path, slash = Path(args.save_control), "/" if args.save_control.endswith("/") else ""
    more = [str(path.with_name(f"{path.stem}-{k}{path.suffix}")) + slash for k in range(2, count + 1)]
    return [args.save_control, *more]


def _check_control_paths(args: argparse.Namespace, count: int, video: str) -> None:
    """Raise what writing the condition pictures would raise, as far as it shows beforehand."""
    from ..video import check_output

    for path in _control_paths(args, count):
        check_output(path, args.overwrite)
        if Path(path).resolve() == Path(video).resolve():
            raise InputError(f"--save-control {path}: the video itself is to be written there; choose another name")


def _save_control(args: argparse.Namespace, pictures: list, fps: float) -> None:
    """Write the condition pictures, if --save-control asks for them."""
    from ..video import write_frames

    for path, frames in zip(_control_paths(args, len(pictures)), pictures):
        write_frames(path, (frames[k] for k in range(len(frames))), fps)


def _pair(text: str) -> tuple[float, float]:
    """ "100,200" -> (100.0, 200.0)."""
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not LOW,HIGH (two numbers, for example 100,200)") from None
    return low, high
