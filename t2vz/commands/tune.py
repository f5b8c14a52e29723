"""`t2vz tune`: a model tuned on one video, written as a checkpoint folder that `t2vz generate` takes."""

import argparse
import os
import time
from pathlib import Path

from ..checkpoints import embedded_weights, save_folder
from ..errors import InputError
from ..files import check_replaceable_folder
from ..pipelines.settings import TuneSettings
from ..pipelines.tune import tune
from .inputs import check_clip, load_model, open_source, tokenizer_to_save
from .output import check_free, progress_bar
from .request import resolve


def run(args: argparse.Namespace) -> None:
    """Check everything that can be checked first; then load, read, tune, and write."""
    if args.dtype == "auto":  # half precision would round tuning's small steps away
        args.dtype = "float32"
    request = resolve(args, TuneSettings)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError("tuning is one process's work; start it without torchrun")
    _check_out(request.out, request.overwrite)
    tokenizer = tokenizer_to_save(request.weights or embedded_weights(), request.tokenizer)
    check_clip(request)
    sd = load_model(request)
    losses, began = [], time.perf_counter()
    with open_source(request, sd.default_size) as clip, progress_bar(request, unit="step") as progress:
        tuned = tune(sd, clip, request.settings, progress, losses.append)
        seconds, shape = time.perf_counter() - began, f"{len(clip)} frames of {clip.width}×{clip.height}"
    networks = tuned.unet, tuned.vae, tuned.text_encoder
    facts = tuned.words, tuned.defaults, tuned.inverted
    save_folder(request.out, *networks, tokenizer, tuned.schedule, tuned.dtype, request.overwrite, *facts)
    first, last = (sum(part) / len(part) for part in (losses[:20], losses[-20:]))
    print(
        f"{request.out}: tuned on {shape} in {len(losses)} steps, {seconds:.0f} s, loss {first:.4f} to {last:.4f}; "
        f't2vz generate "…" --weights {request.out} makes it from another prompt'
    )


def _check_out(out: str | None, overwrite: bool) -> None:
    """Before minutes of work: a name for a folder that may be written there."""
    if out is None:
        raise InputError("name the folder that the tuned model goes to: --out tuned")
    if Path(out).suffix == ".safetensors":
        raise InputError(f"--out {out}: a tuned model is a folder; give a name without an ending")
    check_free(out, overwrite)
    check_replaceable_folder(out, lambda folder: (folder / "model_index.json").is_file())
