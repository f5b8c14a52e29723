"""`t2vz weights export`: a checkpoint written again, as one file or as a folder, with a VAE or LoRAs merged in."""

import argparse
from pathlib import Path

from ..errors import InputError
from .flags import add_weights, adder, path
from .output import check_free, note

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
    add = adder(export)
    add("out", "OUT", "NAME.safetensors, or a folder", path)
    add_weights(export)
    words = f"of the weights written: {', '.join(DTYPES)} (auto: as they are stored)"
    add("--dtype", "WHICH", words, default="auto", choices=["auto", *DTYPES])
    add("--overwrite", "", "replace what exists")
    add("-q --quiet", "", "no remarks")


def run(args: argparse.Namespace) -> None:
    """Check, open, build, write."""
    import torch

    from .. import checkpoints as files
    from ..checkpoints.tokenizer import check_tokenizer_fits
    from ..text.vocabulary import read_vocabulary
    from .inputs import tokenizer_to_save

    out, as_file, beside = Path(args.out), args.out.endswith(".safetensors"), Path(args.out).parent / "tokenizer"
    if not as_file and out.suffix:
        raise InputError(
            f"{out}: its ending is not .safetensors; give NAME.safetensors for a single file, or a name "
            "without an ending for a folder"
        )
    check_free(out, args.overwrite)
    path = Path(args.weights) if args.weights else files.embedded_weights()
    edit = files.open_checkpoint(path, needs=("unet",)).kind == "instruct-pix2pix"
    checkpoint = files.assemble(path, args.vae, args.lora or (), edit)
    if as_file and checkpoint.unet.config.temporal_attention:
        raise InputError(f"{path}: a tuned model is kept as a folder; give a name without an ending")
    tokenizer = (files.find_tokenizer if as_file else tokenizer_to_save)(checkpoint.path, args.tokenizer)
    if tokenizer is not None:
        check_tokenizer_fits(read_vocabulary(tokenizer).size, checkpoint.text.config, tokenizer, path)
    dtype = files.stored_dtype(checkpoint) if args.dtype == "auto" else args.dtype
    stored = getattr(torch, dtype)
    is_own = as_file and tokenizer is not None and not files.is_clips_tokenizer(tokenizer)
    if is_own and beside.exists() and not files.same_tokenizer(tokenizer, beside) and not args.overwrite:
        raise InputError(
            f"{beside} is another model's tokenizer, and this model's belongs there; choose another folder for "
            f"{out.name}, or pass --overwrite"
        )
    networks = [files.build(part, stored) for part in (checkpoint.unet, checkpoint.vae, checkpoint.text)]
    said = files.read_words(checkpoint.path), files.read_defaults(checkpoint.path)
    if is_own:
        files.save_tokenizer(tokenizer, beside, checkpoint.text.config.max_position_embeddings, args.overwrite)
        words = f"a single file holds no tokenizer, and this model's is not CLIP's: it is in {beside}"
        note(args, f"{words}; keep the two together")
    if as_file:
        files.save_single_file(out, *networks, stored, args.overwrite, checkpoint.schedule, *said)
    else:
        said = *said, files.read_inverted(checkpoint.path)
        files.save_folder(out, *networks, tokenizer, checkpoint.schedule, stored, args.overwrite, *said)
    print(f"{args.out}: {path}, {'one file' if as_file else 'a folder'}, {dtype}")
