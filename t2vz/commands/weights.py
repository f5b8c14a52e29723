"""`t2vz weights export`: a checkpoint written again, as one file or as a folder, with a VAE or LoRAs merged in."""

import argparse
from pathlib import Path

import torch

from .. import checkpoints as files
from ..checkpoints.tokenizer import check_tokenizer_fits
from ..errors import InputError
from ..text.vocabulary import read_vocabulary
from .inputs import tokenizer_to_save
from .output import check_free, note


def run(args: argparse.Namespace) -> None:
    """Check, open, build, write."""
    out, as_file, beside = Path(args.out), args.out.endswith(".safetensors"), Path(args.out).parent / "tokenizer"
    if not as_file and out.suffix:
        raise InputError(f"{out}: give NAME.safetensors for a single file, or a name without an ending for a folder")
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
