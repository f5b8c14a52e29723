"""`t2vz edit`: a video changed by an instruction, frame by frame from file to file."""

import argparse
import time
from dataclasses import fields

from ..errors import InputError
from .clip import add_clip_arguments, check_clip, describe_clip, open_source, take_clip_from_run
from .machine import add_model_arguments, load_model
from .output import ProgressBar, add_output_arguments, output_paths, say, write_latents, write_streamed

HELP = "change a video by an instruction"
DESCRIPTION = """Change VIDEO as an instruction says, with Video Instruct-Pix2Pix: every frame is edited beside its
source frame, and looks at frame 1, so that all are edited alike. Frame count, rate and duration are VIDEO's. Without
--weights the small embedded edit model is used, which knows a world of simple pictures."""
EXAMPLES = """examples:
  t2vz example                                                    draws example.mp4
  t2vz edit example.mp4 "make it snow"
  t2vz edit example.mp4 "make the ball blue" --image-scale 1.5 --guidance-scale 5 --sheet
  t2vz edit example.mp4 "make it night" --attention own           frame by frame: the paper's comparison
  t2vz edit dance.mp4 "make it a van gogh painting" --weights instruct-pix2pix-00-22000.safetensors --tokenizer DIR
      --end 4 --fps 8 --resolution 512 --device cuda
  t2vz edit --from make-it-snow.json --seed 7                     the same settings, another seed
"""
CHUNK = 8  # frames per UNet call: memory stays that of a short video


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """All of edit's arguments. Settings have no default here: what is not given comes from --from or EditSettings."""
    add_clip_arguments(parser)
    parser.add_argument("prompt", nargs="?", default=argparse.SUPPRESS, metavar="INSTRUCTION", help="what to change")
    _add_edit_arguments(parser.add_argument_group("the edit (paper §3.5)"))
    add_output_arguments(parser.add_argument_group("files"))
    add_model_arguments(parser)


def _add_edit_arguments(group) -> None:
    def add(flag, help, **options):
        group.add_argument(flag, default=argparse.SUPPRESS, help=help, **options)

    add(
        "--image-scale", "E15's s_I: how strictly to hold on to the source; 1.5 keeps more (1)", type=float, metavar="S"
    )
    add("--guidance-scale", "E15's s_T: how strictly to follow the instruction (7.5)", type=float, metavar="S")
    add("--sampler", "euler_ancestral, or ddim, which adds no noise on the way (euler_ancestral)", metavar="WHICH")
    add("--steps", "denoising steps (50)", type=int)
    add("--seed", "same seed, same video (0)", type=int)
    add("--negative-prompt", "what to keep away from (nothing)", metavar="TEXT")
    add(
        "--attention",
        "which frames a frame attends to: own, first, previous, first_previous, causal, all (first)",
        metavar="WHICH",
    )
    add("--initial-noise", "independent, shared, mixed, progressive, residual (independent)", metavar="KIND")
    add("--noise-strength", "ρ or λ of the initial noise (1)", type=float, metavar="X")
    add("--chunk", f"frames computed at a time: less memory, the same video ({CHUNK})", type=int, metavar="N")


def run(args: argparse.Namespace) -> None:
    """Check everything that can be checked first; then load, read, edit, and write."""
    from ..pipelines.settings import EditSettings
    from .runfile import read_run

    names = {field.name for field in fields(EditSettings)} - {"fps"}
    repeated = read_run(args.from_, "edit", EditSettings.from_dict) if args.from_ else None
    given = {name: value for name, value in vars(args).items() if name in names}
    values = {"chunk": CHUNK, **(repeated["settings"] if repeated else {}), **given}
    if "prompt" not in values:
        raise InputError('give an instruction after the video, for example: t2vz edit example.mp4 "make it snow"')
    settings = EditSettings.from_dict(values)
    take_clip_from_run(args, repeated)
    paths = output_paths(args, settings.prompt, check_clip(args))
    sd = load_model(args, repeated, edit=True)
    with open_source(args, sd.default_size, repeated) as clip:
        of_clip = {"frames": len(clip), "height": clip.height, "width": clip.width, "fps": clip.fps}
        _edit(args, EditSettings.from_dict({**values, **of_clip}), sd, clip, paths)


def _edit(args: argparse.Namespace, settings, sd, clip, paths: dict) -> None:
    """Encode and denoise, then decode and write frame by frame; then the run file and what else was asked for."""
    from ..files import write_json
    from ..pipelines.algorithm_1 import algorithm_1
    from ..pipelines.edit import edit_job
    from .runfile import describe_run

    plan = (
        f"{args.weights or 'embedded edit model'} on {sd.device}, {args.dtype}: {len(clip)} frames of "
        f"{clip.width}×{clip.height} of {args.video}, {settings.steps} steps, seed {settings.seed}"
    )
    began = time.perf_counter()
    with ProgressBar(args, plan) as progress:
        job = edit_job(sd, settings, clip, progress=progress)
        latents = algorithm_1(job)
        write_streamed(args, paths, job.pictures(latents), len(clip), clip.fps, settings.prompt)
    seconds = time.perf_counter() - began
    for note in job.notes:
        say(args, f"note: {note}")
    if "latents" in paths:
        write_latents(paths["latents"], latents.cpu())
    described = describe_run(
        "edit", settings.to_dict(), sd, args, seconds, [*clip.notes, *job.notes], video=describe_clip(args, clip)
    )
    write_json(paths["run"], described)
    print(
        f"{paths['video']}: {len(clip)} frames of {clip.width}×{clip.height}, {clip.duration:.1f} s at "
        f"{clip.fps:g} fps, made in {seconds:.1f} s; settings in {paths['run']}"
    )
