"""`t2vz weights export`: a checkpoint written again, as one file or as a folder, with a VAE or LoRAs merged in."""

import argparse
from pathlib import Path

from ..errors import InputError
from .flags import add_weights, path
from .output import say

DESCRIPTION = """Export a checkpoint, the embedded model if none is named: OUT.safetensors is a single file in the
original naming, OUT without an ending a folder in diffusers' layout. Nothing is lost: weights keep the float type they
are stored in. LoRAs and another VAE that are named are in what is written; their own files stay as they are."""
EXAMPLES = """examples:
  t2vz weights export embedded.safetensors                                the embedded model as a single file
  t2vz weights export sd15-folder --weights v1-5-pruned-emaonly.safetensors --tokenizer DIR
  t2vz weights export styled.safetensors --weights sd15-folder --lora style.safetensors:0.7
"""
DTYPES = ("float32", "float16", "bfloat16")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The one action, export, and its arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    export = actions.add_parser(
        "export",
        help="write a checkpoint again",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    export.add_argument("out", type=path, metavar="OUT", help="NAME.safetensors, or a folder")
    add_weights(export.add_argument_group("the model"))
    export.add_argument(
        "--dtype", default="auto", choices=["auto", *DTYPES], help="of the weights written (auto: as they are stored)"
    )
    export.add_argument("--overwrite", action="store_true", help="replace what exists")
    export.add_argument("-q", "--quiet", action="store_true", help="no remarks")


def run(args: argparse.Namespace) -> None:
    """Check, open, build, write."""
    import torch

    from .. import checkpoints
    from ..checkpoints.tokenizer import check_tokenizer_fits
    from ..text.vocabulary import read_vocabulary

    out, as_file, beside = Path(args.out), args.out.endswith(".safetensors"), Path(args.out).parent / "tokenizer"
    _check_out(out, as_file, args.overwrite)
    path = Path(args.weights) if args.weights else checkpoints.embedded_weights()
    edit = checkpoints.open_checkpoint(path, needs=("unet",)).kind == "instruct-pix2pix"
    checkpoint = checkpoints.assemble(path, args.vae, args.lora or (), edit)
    if as_file and checkpoint.unet.config.temporal_attention:
        raise InputError(f"{path}: a tuned model is kept as a folder; give a name without an ending")
    tokenizer = checkpoints.find_tokenizer(checkpoint.path, args.tokenizer)
    if tokenizer is not None:
        check_tokenizer_fits(read_vocabulary(tokenizer).size, checkpoint.text.config, tokenizer, path)
    elif not as_file:
        raise InputError(
            f"{path} holds no tokenizer, and a folder needs one; name it with --tokenizer DIR (the folder "
            "with vocab.json and merges.txt)"
        )
    is_own = as_file and tokenizer is not None and not checkpoints.is_clips_tokenizer(tokenizer)
    if is_own and beside.exists() and not checkpoints.same_tokenizer(tokenizer, beside) and not args.overwrite:
        raise InputError(
            f"{beside} is another model's tokenizer, and this model's belongs there; choose another folder for "
            f"{out.name}, or pass --overwrite"
        )
    dtype = checkpoints.stored_dtype(checkpoint) if args.dtype == "auto" else args.dtype
    stored = getattr(torch, dtype)
    networks = [checkpoints.build(part, stored) for part in (checkpoint.unet, checkpoint.vae, checkpoint.text)]
    said = (checkpoints.read_words(checkpoint.path), checkpoints.read_defaults(checkpoint.path))
    inverted = checkpoints.read_inverted(checkpoint.path)
    if is_own:
        checkpoints.save_tokenizer(tokenizer, beside, checkpoint.text.config.max_position_embeddings, args.overwrite)
        say(
            args,
            f"note: a single file holds no tokenizer, and this model's is not CLIP's: it is in {beside}; keep the two "
            "together",
        )
    if as_file:
        checkpoints.save_single_file(out, *networks, stored, args.overwrite, checkpoint.schedule, *said)
    else:
        checkpoints.save_folder(out, *networks, tokenizer, checkpoint.schedule, stored, args.overwrite, *said, inverted)
    print(f"{args.out}: {path}, {'one file' if as_file else 'a folder'}, {dtype}")


def _check_out(out: Path, as_file: bool, overwrite: bool) -> None:
    """What can be said about OUT before minutes of work."""
    if not as_file and out.suffix:
        raise InputError(
            f"{out}: its ending is not .safetensors; give NAME.safetensors for a single file, or a name "
            "without an ending for a folder"
        )
    if out.exists() and not overwrite:
        raise InputError(f"{out} exists already; choose another name, or pass --overwrite")
