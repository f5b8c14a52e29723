"""`python -m training STAGE --out DIR`: the embedded models from nothing, run from a checkout."""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import torch

from t2vz.errors import FailedError, InputError
from t2vz.world import STYLES

from . import clip, control, edit, unet, vae
from .export import export, unpack
from .folder import Folder

DESCRIPTION = """Train the small embedded models on painted pictures: a CLIP, an autoencoder, a UNet; then
the autoencoder's decoder once more, a UNet that edits, and a ControlNet that follows edges.

Everything lies in --out and is continued there after an interruption: run the same command again.
Without --minutes and --steps the stages take about 8, 35, 55, 10, 20 and 12 minutes.

examples:
  python -m training all --out runs/embedded --minutes 150    everything, in this time
  python -m training unet --out runs/embedded --device cuda   one stage
  torchrun --nproc-per-node 2 -m training unet --out runs/embedded --threads 1    the same by two processes
  python -m training export --out runs/embedded --to my-weights    what is finished, as checkpoint folders
  python -m training unpack --out more --from weights/embedded
  python -m training unet --out more --further --minutes 60                    and on from there"""


STAGES = {
    "clip": clip.train,
    "vae": vae.train,
    "unet": unet.train,
    "decoder": vae.train_decoder,
    "edit": edit.train,
    "controlnet": control.train,
}
# of the minutes given to all
SHARES = {"clip": 0.06, "vae": 0.26, "unet": 0.38, "decoder": 0.1, "edit": 0.12, "controlnet": 0.08}


def train(folder: Folder, stage: str) -> None:
    """Run a stage, if it is not finished."""
    if not folder.finished(stage):
        STAGES[stage](folder)


def train_all(folder: Folder) -> None:
    """All, one after the other. folder.minutes is the budget of all together, divided by SHARES."""
    for stage, share in SHARES.items():
        train(folder if folder.minutes is None else replace(folder, minutes=folder.minutes * share), stage)


def parser() -> argparse.ArgumentParser:
    """The arguments of `python -m training`."""
    parser = argparse.ArgumentParser(
        prog="python -m training", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add(
        "stage",
        choices=[*STAGES, "all", "export", "unpack"],
        help="what to train; each needs those before it, but for clip and vae; export writes the finished "
        "folders; unpack makes a training folder of such a one",
    )
    add("--out", type=Path, required=True, help="folder of the training: pictures, states, curves, sheets")
    add("--style", choices=list(STYLES), default="bold", help="of the painting; fine: for 256 pixels and more")
    add("--size", type=int, default=128, help="side of the pictures in pixels (default 128)")
    add("--pictures", type=int, default=24_000, help="how many pictures to paint (default 24000)")
    add("--minutes", type=float, help="time for the stage, or for all together with `all`")
    add("--steps", type=int, help="steps of each stage, instead of --minutes")
    add("--seed", type=int, default=0, help="seed of the pictures, the weights and the batches (default 0)")
    add("--device", choices=["cpu", "cuda"], default="cpu", help="where to train (default cpu)")
    add("--threads", type=int, help="CPU threads of each process (default: torch's own choice)")
    add(
        "--to",
        type=Path,
        default=Path("weights/embedded"),
        help="export: the checkpoint folder to write (default weights/embedded); the edit UNet goes to TO-edit, the "
        "ControlNet to TO-control",
    )
    add(
        "--from",
        dest="from_",
        type=Path,
        default=Path("weights/embedded"),
        help="unpack: the checkpoint folder to take apart (default weights/embedded)",
    )
    add("--further", action="store_true", help="train a finished stage on from its weights, not from nothing")
    add("--overwrite", action="store_true", help="export: replace a checkpoint that is there")
    return parser


def run(args: argparse.Namespace) -> None:
    """Run `python -m training` with parsed arguments. Raises InputError and FailedError."""
    if args.minutes is not None and args.steps is not None:
        raise InputError(
            f"--minutes {args.minutes} and --steps {args.steps}: a training ends after one of them; give one"
        )
    if args.stage == "all" and args.further:
        raise InputError(
            "--further is for one stage: clip, unet, decoder, edit or controlnet; after a new clip the unet "
            "has to be trained further, too"
        )
    for name in ("minutes", "steps", "threads"):
        if getattr(args, name) is not None and not getattr(args, name) > 0:
            raise InputError(f"--{name} {getattr(args, name)}: give a number above 0")
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    asked = ("out", "style", "size", "pictures", "minutes", "steps", "seed", "device", "further")
    folder = Folder(**{name: getattr(args, name) for name in asked})
    if args.stage == "export":
        export(folder, args.to, overwrite=args.overwrite)
    elif args.stage == "unpack":
        unpack(args.from_, folder)
    elif args.stage == "all":
        train_all(folder)
    else:
        train(folder, args.stage)


def main(arguments: list[str] | None = None) -> int:
    """Parse and run; the exit code: 0, 2 for wrong use, 1 for a failure, 130 for Ctrl-C."""
    try:
        run(parser().parse_args(arguments))
    except (InputError, FailedError) as error:
        print(f"t2vz: {error}", file=sys.stderr)
        return 2 if isinstance(error, InputError) else 1
    except KeyboardInterrupt:
        print("t2vz: interrupted; the same command continues from the last saved state", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
