"""`python -m training STAGE --out DIR`: the embedded models from nothing, run from a checkout."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from t2vz.errors import FailedError, InputError
from t2vz.world import STYLES

DESCRIPTION = """Train the small embedded models on painted pictures: a CLIP, an autoencoder, a UNet; then
the autoencoder's decoder once more, a UNet that edits, and a ControlNet that follows edges.

Everything lies in --out and is continued there after an interruption: run the same command again.
Without --minutes and --steps the stages take about 8, 35, 55, 10, 20 and 12 minutes.

examples:
  python -m training all --out training --minutes 150         everything, in this time
  python -m training unet --out training --device cuda        one stage
  torchrun --nproc-per-node 2 -m training unet --out training --threads 1    the same by two processes
  python -m training export --out training --to my-weights    what is finished, as checkpoint folders
  python -m training unpack --out more --from weights/embedded
  python -m training unet --out more --further --minutes 60                    and on from there"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `python -m training`."""
    parser.description = DESCRIPTION
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "stage",
        choices=["clip", "vae", "unet", "decoder", "edit", "controlnet", "all", "export", "unpack"],
        help="what to train; each needs those before it, but for clip and vae; export writes the finished "
        "folders; unpack makes a training folder of such a one",
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of the training: pictures, states, curves, sheets"
    )
    parser.add_argument(
        "--style", choices=list(STYLES), default="bold", help="of the painting; fine: for 256 pixels and more"
    )
    parser.add_argument("--size", type=int, default=128, help="side of the pictures in pixels (default 128)")
    parser.add_argument("--pictures", type=int, default=24_000, help="how many pictures to paint (default 24000)")
    parser.add_argument("--minutes", type=float, help="time for the stage, or for all together with `all`")
    parser.add_argument("--steps", type=int, help="steps of each stage, instead of --minutes")
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of the pictures, the weights and the batches (default 0)"
    )
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default cpu)")
    parser.add_argument(
        "--threads", type=int, help="CPU threads; by default the fastest number is found while training"
    )
    parser.add_argument(
        "--to",
        type=Path,
        default=Path("weights/embedded"),
        help="export: the checkpoint folder to write (default weights/embedded); the edit UNet goes to TO-edit, the "
        "ControlNet to TO-control",
    )
    parser.add_argument(
        "--from",
        dest="from_",
        type=Path,
        default=Path("weights/embedded"),
        help="unpack: the checkpoint folder to take apart (default weights/embedded)",
    )
    parser.add_argument(
        "--further", action="store_true", help="train a finished stage on from its weights, not from nothing"
    )
    parser.add_argument("--overwrite", action="store_true", help="export: replace a checkpoint that is there")


def run(args: argparse.Namespace) -> int:
    """Run `python -m training` with parsed arguments; returns 0. Raises InputError and FailedError."""
    from . import ranks
    from .export import export
    from .stages import STAGES, Options, train_all
    from .unpack import unpack

    if args.minutes is not None and args.steps is not None:
        raise InputError(
            f"--minutes {args.minutes} and --steps {args.steps}: a training ends after one of them; give one"
        )
    if args.stage == "all" and args.further:
        raise InputError(
            "--further is for one stage: clip, unet, decoder, edit or controlnet; after a new clip the unet "
            "has to be trained further, too"
        )
    for name in ("minutes", "steps"):
        if getattr(args, name) is not None and not getattr(args, name) > 0:
            raise InputError(f"--{name} {getattr(args, name)}: give a number above 0")
    if args.stage == "export":
        export(args.out, args.to, overwrite=args.overwrite)
        return 0
    ranks.join()
    options = Options(
        out=args.out,
        size=args.size,
        pictures=args.pictures,
        minutes=args.minutes,
        steps=args.steps,
        seed=args.seed,
        style=args.style,
        device=ranks.device_of(args.device),
        threads=args.threads,
        further=args.further,
    )
    if args.stage == "unpack":
        unpack(args.from_, options)
        return 0
    (train_all if args.stage == "all" else STAGES[args.stage])(options)
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Parse and run; the exit code: 0, 2 for wrong use, 1 for a failure, 130 for Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m training")
    add_arguments(parser)
    try:
        return run(parser.parse_args(arguments))
    except InputError as error:
        print(f"t2vz: {error}", file=sys.stderr)
        return 2
    except FailedError as error:
        print(f"t2vz: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("t2vz: interrupted; the same command continues from the last saved state", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
