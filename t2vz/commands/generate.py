"""`t2vz generate`: from a prompt to a video file, a run file beside it, and a contact sheet on request."""

import argparse
import time
from dataclasses import fields
from pathlib import Path

from .machine import add_model_arguments, load_model
from .output import ProgressBar, add_output_arguments, output_paths, say, write_latents, write_streamed

HELP = "make a video from a prompt"
DESCRIPTION = """Make a video from a prompt with Text2Video-Zero. Without --weights the small embedded model is used,
which knows a world of simple pictures: "a red ball on a green meadow"."""
EXAMPLES = """examples:
  t2vz generate "a red ball on a green meadow"
  t2vz generate "a blue fish in the sea" --frames 16 --motion 20,0 --out fish.gif --sheet
  t2vz generate "a horse galloping" --weights v1-5-pruned-emaonly.safetensors --tokenizer DIR --device cuda
  t2vz generate "a white cat in a room" --attention own --motion off      without the paper's two ideas
  t2vz generate --from fish.json --seed 7                                 the same settings, another seed
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """All of generate's arguments. Settings have no default here: what is not given comes from --from or Settings."""
    parser.add_argument("prompt", nargs="?", default=argparse.SUPPRESS, metavar="PROMPT", help="what the video shows")
    _add_video_arguments(parser.add_argument_group("the video"))
    add_method_arguments(parser.add_argument_group("the method (paper §3.3)"))
    add_output_arguments(parser.add_argument_group("files"))
    add_model_arguments(parser)


def _add_video_arguments(group) -> None:
    def add(flag, help, **options):
        group.add_argument(flag, default=argparse.SUPPRESS, help=help, **options)

    add("--frames", "number of frames (8)", type=int, metavar="M")
    add("--height", "pixels, a multiple of 8 (the model's own: 512 for SD 1.5)", type=int)
    add("--width", "pixels, a multiple of 8", type=int)
    add("--fps", "frames per second of the file (4)", type=float)
    add("--seed", "same seed, same video (0)", type=int)
    add("--negative-prompt", "what to keep away from (nothing)", metavar="TEXT")
    add("--steps", "denoising steps (50)", type=int)
    add("--guidance-scale", "E5's w: how strictly to follow the prompt (7.5)", type=float, metavar="W")
    add("--eta", "0 is DDIM, 1 as noisy as DDPM (0)", type=float)


def add_method_arguments(group, motion: str = "12,12", noise: str = "independent", chunk: str = "all") -> None:
    """Algorithm 1's arguments. motion, noise, chunk: what the help names as their defaults."""

    def add(flag, help, **options):
        group.add_argument(flag, default=argparse.SUPPRESS, help=help, **options)

    add(
        "--motion",
        "camera motion per frame in 1/512ths of the frame, 12,12 moves it right and down; off: frames "
        f"start from pure noise, see --initial-noise ({motion})",
        type=parse_motion,
        metavar="DX,DY",
    )
    add("--zoom", "camera zoom per frame, 1.02 moves in (1)", type=float)
    add("--rotation", "turn per frame, clockwise (0)", type=float, metavar="DEGREES")
    add("--t-prime", "timestep T' where motion is added (881)", type=int, metavar="T'")
    add("--t", "timestep T that frames are noised up to again (941)", type=int, metavar="T")
    add(
        "--attention",
        "which frames a frame attends to: own, first, previous, first_previous, causal, all (first)",
        metavar="WHICH",
    )
    add("--smooth-background", "E13's α, paper 0.6 (0: off)", type=float, metavar="ALPHA")
    group.add_argument(
        "--masks",
        metavar="PATH",
        help="foreground masks for smoothing: a folder of PNGs or a video "
        "(default: taken from the model's own attention)",
    )
    add(
        "--foreground",
        "the prompt's words that are foreground, for masks from attention (a guess)",
        type=lambda text: tuple(text.split()),
        metavar='"WORDS"',
    )
    add(
        "--initial-noise",
        f"with --motion off: independent, shared, mixed, progressive, residual ({noise})",
        metavar="KIND",
    )
    add("--noise-strength", "ρ or λ of the initial noise (1)", type=float, metavar="X")
    for name, words in (("jump", "release or paper"), ("flow", "release or exact"), ("background", "release or paper")):
        add(f"--{name}-convention", f"{words}: where paper and public code differ (release)", metavar="WHICH")
    add("--chunk", f"frames computed at a time: less memory, the same video ({chunk})", type=int, metavar="N")


def run(args: argparse.Namespace) -> None:
    """Check everything that can be checked first, then load, generate, and write."""
    from ..errors import InputError
    from ..pipelines.settings import Settings
    from .runfile import read_run

    names = {field.name for field in fields(Settings)}
    repeated = read_run(args.from_, "generate", Settings.from_dict) if args.from_ else None
    values = {**(repeated["settings"] if repeated else {}), **{k: v for k, v in vars(args).items() if k in names}}
    if "prompt" not in values:
        raise InputError('give a prompt, for example: t2vz generate "a red ball on a green meadow"')
    settings = Settings.from_dict(values)
    if args.masks and settings.smooth_background == 0:
        raise InputError("--masks are for background smoothing; add --smooth-background 0.6")
    if repeated and settings.smooth_background > 0:
        args.masks = args.masks or repeated.get("masks")
    paths = output_paths(args, settings.prompt, settings.fps)
    sd = load_model(args, repeated)
    for side in ("height", "width"):
        values.setdefault(side, sd.default_size)
    _generate(args, Settings.from_dict(values), sd, paths)


def _generate(args: argparse.Namespace, settings, sd, paths: dict[str, Path]) -> None:
    """Denoise, then decode and write frame by frame; then the run file and what else was asked for."""
    from ..files import write_json
    from ..pipelines.algorithm_1 import algorithm_1
    from ..pipelines.text_to_video import text_job
    from ..video import read_masks

    masks = read_masks(args.masks, settings.frames, settings.height, settings.width) if args.masks else None
    plan = (
        f"{args.weights or 'embedded model'} on {sd.device}, {args.dtype}: {settings.frames} frames of "
        f"{settings.width}×{settings.height}, {settings.steps} steps, seed {settings.seed}"
    )
    began = time.perf_counter()
    with ProgressBar(args, plan) as progress:
        job = text_job(sd, settings, masks=masks, progress=progress)
        latents = algorithm_1(job)
        write_streamed(args, paths, job.pictures(latents), settings.frames, settings.fps, settings.prompt)
    seconds = time.perf_counter() - began
    for note in job.notes:
        say(args, f"note: {note}")
    if "latents" in paths:
        write_latents(paths["latents"], latents.cpu())
    write_json(paths["run"], _describe(job, args, seconds))
    print(
        f"{paths['video']}: {settings.frames} frames of {settings.width}×{settings.height}, {seconds:.1f} s; "
        f"settings in {paths['run']}"
    )


def _describe(job, args: argparse.Namespace, seconds: float) -> dict:
    """The run file: what every command records, the timesteps used, and the masks."""
    from .runfile import absolute, describe_run

    return describe_run(
        "generate",
        job.settings.to_dict(),
        job.sd,
        args,
        seconds,
        job.notes,
        timesteps={"T": job.T, "T_prime": job.T_prime} if job.moves else None,
        masks=absolute(args.masks),
    )


def parse_motion(text: str) -> tuple[float, float] | None:
    """ "12,12" -> (12.0, 12.0); "off" -> None."""
    if text.strip().lower() in ("off", "none"):
        return None
    try:
        x, y = (float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not DX,DY (two numbers, for example 12,12) or off") from None
    return x, y
