"""`t2vz generate`: from a prompt to a video file, a run file beside it, and a contact sheet on request."""

import argparse
import re
import sys
import time
from pathlib import Path

HELP = "make a video from a prompt"
DESCRIPTION = """Make a video from a prompt with Text2Video-Zero. Without --weights the small embedded model is used,
which knows a world of simple pictures: "a red ball on a green meadow"."""
EXAMPLES = """examples:
  t2vz generate "a red ball on a green meadow"
  t2vz generate "a blue fish in the sea" --frames 16 --motion 20,0 --out fish.gif --sheet
  t2vz generate "a horse galloping on a street" --weights v1-5-pruned-emaonly.safetensors --tokenizer DIR --device cuda
  t2vz generate "a white cat in a room" --attention own --motion off      without the paper's two ideas
  t2vz generate --from fish.json --seed 7                                 the same settings, another seed
"""
NOT_SETTINGS = ("out", "sheet", "from_", "weights", "tokenizer", "device", "dtype", "masks", "overwrite", "quiet", "command", "run")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """All of generate's arguments. Settings have no default here: what is not given comes from --from, else Settings."""
    from .machine import add_machine_arguments

    unset = argparse.SUPPRESS
    parser.add_argument("prompt", nargs="?", default=unset, metavar="PROMPT", help="what the video shows")
    video = parser.add_argument_group("the video")
    video.add_argument("--frames", type=int, default=unset, metavar="M", help="number of frames (8)")
    video.add_argument("--height", type=int, default=unset, help="pixels, a multiple of 8 (the model's own: 512 for SD 1.5)")
    video.add_argument("--width", type=int, default=unset, help="pixels, a multiple of 8")
    video.add_argument("--fps", type=float, default=unset, help="frames per second of the file (4)")
    video.add_argument("--seed", type=int, default=unset, help="same seed, same video (0)")
    video.add_argument("--negative-prompt", default=unset, metavar="TEXT", help="what to keep away from (empty)")
    video.add_argument("--steps", type=int, default=unset, help="denoising steps (50)")
    video.add_argument("--guidance-scale", type=float, default=unset, metavar="W", help="E5's w: how strictly to follow the prompt (7.5)")
    video.add_argument("--eta", type=float, default=unset, help="0 is DDIM, 1 as noisy as DDPM (0)")

    method = parser.add_argument_group("the method (paper §3.3)")
    method.add_argument("--motion", type=_motion, default=unset, metavar="DX,DY",
                        help="camera motion per frame in 1/512ths of the frame; off: frames start from noise of their own (12,12)")
    method.add_argument("--zoom", type=float, default=unset, help="camera zoom per frame, 1.02 moves in (1)")
    method.add_argument("--rotation", type=float, default=unset, metavar="DEGREES", help="turn per frame, clockwise (0)")
    method.add_argument("--t-prime", type=int, default=unset, metavar="T'", help="timestep where motion is added (881)")
    method.add_argument("--t", type=int, default=unset, metavar="T", help="timestep that frames are noised up to again (941)")
    method.add_argument("--attention", default=unset, metavar="WHICH",
                        help="which frames a frame attends to: own, first, previous, first_previous, causal, all (first)")
    method.add_argument("--smooth-background", type=float, default=unset, metavar="ALPHA", help="E13's α, paper 0.6 (0: off)")
    method.add_argument("--masks", metavar="PATH", help="foreground masks for smoothing: a folder of PNGs or a video (default: the model's own attention)")
    method.add_argument("--foreground", type=lambda text: tuple(text.split()), default=unset, metavar='"WORDS"',
                        help="the prompt's words that are foreground, for masks from attention (a guess)")
    method.add_argument("--initial-noise", default=unset, metavar="KIND",
                        help="with --motion off: independent, shared, mixed, progressive, residual (independent)")
    method.add_argument("--noise-strength", type=float, default=unset, help="ρ or λ of the initial noise (1)")
    for flag, words in (("jump", "release or paper"), ("flow", "release or exact"), ("background", "release or paper")):
        method.add_argument(f"--{flag}-convention", default=unset, metavar="WHICH",
                            help=f"{words}: where paper and public code differ (release)")
    method.add_argument("--chunk", type=int, default=unset, metavar="N", help="frames computed at a time: less memory, the same video (all)")

    files = parser.add_argument_group("files")
    files.add_argument("--out", metavar="PATH", help="NAME.mp4, NAME.gif, or a folder/ of PNGs (default: named after the prompt, .mp4)")
    files.add_argument("--sheet", nargs="?", const="", metavar="PNG", help="also write all frames on one picture")
    files.add_argument("--overwrite", action="store_true", help="replace files that exist")
    files.add_argument("--from", dest="from_", metavar="RUN.json", help="repeat a run; flags given beside it replace its settings")
    files.add_argument("--weights", metavar="PATH", help="a .safetensors file or a folder with unet/ vae/ text_encoder/ (default: embedded)")
    files.add_argument("--tokenizer", metavar="DIR", help="folder with vocab.json and merges.txt, if the weights carry none")
    files.add_argument("--quiet", action="store_true", help="no progress bar, no notes")
    add_machine_arguments(parser)


def run(args: argparse.Namespace) -> None:
    """Check everything that can be checked first, then load, generate, and write."""
    from ..errors import InputError
    from ..pipelines.settings import Settings
    from .runfile import read_run

    given = {name: value for name, value in vars(args).items() if name not in NOT_SETTINGS}
    repeated = read_run(args.from_) if args.from_ else None
    values = {**(repeated["settings"] if repeated else {}), **given}
    if "prompt" not in values:
        raise InputError('give a prompt, for example: t2vz generate "a red ball on a green meadow"')
    settings = Settings.from_dict(values)
    if args.masks and settings.smooth_background == 0:
        raise InputError("--masks are for background smoothing; add --smooth-background 0.6")
    paths = _output_paths(args, settings)
    sd = _load(args, repeated)
    for side in ("height", "width"):
        values.setdefault(side, sd.default_size)
    _generate(args, Settings.from_dict(values), sd, paths, repeated)


def _load(args: argparse.Namespace, repeated: dict | None):
    """The model that was asked for, or the run file's; a run file's must still be the same one."""
    from ..errors import InputError
    from ..model import StableDiffusion
    from .machine import choose_machine

    weights = args.weights
    if repeated and weights is None and repeated["weights"].get("path") != "embedded":
        weights = repeated["weights"].get("path")
    if repeated and args.dtype == "auto":
        args.dtype = repeated["dtype"]
    device, dtype = choose_machine(args.device, args.dtype)
    args.dtype = str(dtype).removeprefix("torch.")
    sd = StableDiffusion.load(weights, dtype, device, args.tokenizer)
    if repeated and args.weights is None and sd.hash() != repeated["weights"].get("sha256"):
        raise InputError(
            f"--from {args.from_}: its checkpoint ({repeated['weights'].get('path')}) has changed since, so the video would "
            "differ; to use today's all the same, name it with --weights"
        )
    args.weights = weights
    return sd


def _generate(args: argparse.Namespace, settings, sd, paths: dict[str, Path], repeated: dict | None) -> None:
    """Make the video and write it, its run file, and its sheet."""
    from tqdm import tqdm

    from ..pipelines.text_to_video import generate
    from ..video import read_masks
    from ..files import write_json
    from .runfile import describe_run

    mask_path = args.masks or (repeated.get("masks") if repeated and settings.smooth_background else None)
    masks = read_masks(mask_path, settings.frames, settings.height, settings.width) if mask_path else None
    began = time.perf_counter()
    # Where stderr is no terminal a bar would be a mess of lines (disable=None asks tqdm to see for itself).
    with tqdm(total=None, unit="frame step", disable=True if args.quiet else None, leave=False, file=sys.stderr) as bar:

        def progress(done: int, total: int, stage: str) -> None:
            bar.total = total
            bar.set_description(stage, refresh=False)
            bar.update(done - bar.n)

        video = generate(sd, settings, masks=masks, progress=progress)
    seconds = time.perf_counter() - began
    if not args.quiet:
        for note in video.notes:
            print(f"note: {note}", file=sys.stderr)
    weights = str(Path(args.weights).resolve()) if args.weights else "embedded"
    record = describe_run(video, sd, weights, str(sd.device), args.dtype, mask_path and str(Path(mask_path).resolve()), seconds)
    video.save(paths["video"], overwrite=args.overwrite)
    write_json(paths["run"], record)
    if "sheet" in paths:
        video.save_sheet(paths["sheet"])
    print(f"{paths['video']}: {settings.frames} frames of {settings.width}×{settings.height}, {seconds:.1f} s; settings in {paths['run']}")


def _output_paths(args: argparse.Namespace, settings) -> dict[str, Path]:
    """Where video, run file and sheet go; all are checked before minutes of work."""
    from ..errors import InputError
    from ..video import check_output

    out = args.out or _free_name(settings.prompt)
    check_output(out, overwrite=args.overwrite)
    stem = Path(out).with_suffix("") if Path(out).suffix else Path(out)
    paths = {"video": out, "run": stem.with_name(stem.name + ".json")}
    if args.sheet is not None:
        paths["sheet"] = Path(args.sheet) if args.sheet else stem.with_name(stem.name + "-sheet.png")
        if paths["sheet"].suffix.lower() not in (".png", ".jpg", ".webp"):
            raise InputError(f"--sheet {paths['sheet']}: the ending must be .png, .jpg or .webp")
    for name in ("run", "sheet"):
        if name in paths and paths[name].exists() and not args.overwrite:
            raise InputError(f"{paths[name]} exists already; choose another --out, or pass --overwrite")
    return paths


def _free_name(prompt: str) -> str:
    """A file name from the prompt's first words that no file has yet: a-red-ball-on-a-green-meadow.mp4, then …-2.mp4."""
    words = re.findall(r"[a-z0-9]+", prompt.lower())[:8]
    stem = "-".join(words)[:60] or "video"
    number = 1
    name = stem
    while Path(f"{name}.mp4").exists() or Path(f"{name}.json").exists():
        number += 1
        name = f"{stem}-{number}"
    return f"{name}.mp4"


def _motion(text: str) -> tuple[float, float] | None:
    """"12,12" -> (12.0, 12.0); "off" -> None."""
    if text.strip().lower() in ("off", "none"):
        return None
    try:
        x, y = (float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not DX,DY (two numbers, for example 12,12) or off") from None
    return x, y
