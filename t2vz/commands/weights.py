"""`t2vz weights export`: a checkpoint written again, as one file or as a folder, with a VAE or LoRAs merged in."""

import argparse
from pathlib import Path

from ..errors import InputError
from .flags import add_weights
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
    export.add_argument("out", metavar="OUT", help="NAME.safetensors, or a folder")
    add_weights(export.add_argument_group("the model"))
    export.add_argument(
        "--dtype", default="auto", choices=["auto", *DTYPES], help="of the weights written (auto: as they are stored)"
    )
    export.add_argument("--overwrite", action="store_true", help="replace what exists")
    export.add_argument("-q", "--quiet", action="store_true", help="no remarks")


def run(args: argparse.Namespace) -> None:
    """Check, open, build, write."""
    from ..checkpoints import (
        assemble,
        embedded_weights,
        find_tokenizer,
        is_clips_tokenizer,
        open_checkpoint,
        read_defaults,
        read_words,
        stored_dtype,
    )
    from ..checkpoints.tokenizer import check_tokenizer_fits
    from ..text.vocabulary import read_vocabulary

    out, as_file = Path(args.out), args.out.endswith(".safetensors")
    _check_out(args.out, as_file, args.overwrite)
    path = Path(args.weights) if args.weights else embedded_weights()
    edit = open_checkpoint(path, needs=("unet",)).kind == "instruct-pix2pix"
    checkpoint = assemble(path, args.vae, args.lora or (), edit)
    path = checkpoint.path
    tokenizer = find_tokenizer(path, args.tokenizer)
    if tokenizer is None and not as_file:
        raise InputError(
            f"{path} holds no tokenizer, and a folder needs one; name it with --tokenizer DIR (the folder "
            "with vocab.json and merges.txt)"
        )
    if tokenizer is not None:
        check_tokenizer_fits(read_vocabulary(tokenizer).size, checkpoint.text.config, tokenizer, path)
    beside = tokenizer if as_file and tokenizer is not None and not is_clips_tokenizer(tokenizer) else None
    _check_tokenizer(beside, out, args.overwrite)
    dtype = stored_dtype(checkpoint) if args.dtype == "auto" else args.dtype
    _write(checkpoint, out, as_file, tokenizer, beside, dtype, args.overwrite, (read_words(path), read_defaults(path)))
    if beside is not None:
        say(
            args,
            f"note: a single file holds no tokenizer, and this model's is not CLIP's: it is in "
            f"{out.parent / 'tokenizer'}; keep the two together",
        )
    print(f"{args.out}: {path}, {'one file' if as_file else 'a folder'}, {dtype}")


def _check_out(out: str, as_file: bool, overwrite: bool) -> None:
    """What can be said about OUT before minutes of work."""
    if not as_file and Path(out).suffix:
        raise InputError(
            f"{out}: its ending is not .safetensors; give NAME.safetensors for a single file, or a name "
            "without an ending for a folder"
        )
    if Path(out).exists() and not overwrite:
        raise InputError(f"{out} exists already; choose another name, or pass --overwrite")


def _check_tokenizer(tokenizer: Path | None, out: Path, overwrite: bool) -> None:
    """Another model's tokenizer beside OUT is not replaced unasked."""
    from ..checkpoints import same_tokenizer

    there = out.parent / "tokenizer"
    if tokenizer is None or not there.exists() or same_tokenizer(tokenizer, there) or overwrite:
        return
    raise InputError(
        f"{there} is another model's tokenizer, and this model's belongs there; choose another folder for "
        f"{out.name}, or pass --overwrite"
    )


def _write(
    checkpoint,
    out: Path,
    as_file: bool,
    tokenizer: Path | None,
    beside: Path | None,
    dtype: str,
    overwrite: bool,
    said: tuple,
) -> None:
    """Build the networks in their stored type, and save them. said: the words it knows, and its own defaults."""
    import torch

    from ..checkpoints import build, save_folder, save_single_file, save_tokenizer

    stored = getattr(torch, dtype)
    networks = [build(part, stored) for part in (checkpoint.unet, checkpoint.vae, checkpoint.text)]
    if not as_file:
        save_folder(out, *networks, tokenizer, checkpoint.schedule, stored, overwrite, *said)
        return
    if beside is not None:
        save_tokenizer(beside, out.parent / "tokenizer", checkpoint.text.config.max_position_embeddings, overwrite)
    save_single_file(out, *networks, stored, overwrite, checkpoint.schedule, *said)
