"""`t2vz tune`: a model tuned on one video, written as a checkpoint folder that `t2vz generate` takes."""

import argparse
import os
import time
from dataclasses import replace
from pathlib import Path

from ..errors import InputError
from ..files import check_replaceable_folder
from ..pipelines.settings import TuneSettings
from .flags import add_clip, add_model, add_settings, adder, path
from .output import ProgressBar, check_free

DESCRIPTION = """Tune a text-to-image model on VIDEO, which PROMPT describes, with Tune-A-Video (arXiv 2212.11565): a
trained baseline to compare with. What is left in --out is a model that makes VIDEO again from other prompts, starting
from VIDEO's inverted latents."""
EXAMPLES = """examples:
  t2vz example                                                     draws example.mp4
  t2vz tune example.mp4 "a red ball on a green meadow" --out tuned
  t2vz generate "a blue ball on a green meadow" --weights tuned
  t2vz tune dance.mp4 "a man is dancing" --out dance --weights v1-5-pruned-emaonly.safetensors --tokenizer DIR
      --end 3 --fps 8 --resolution 512 --device cuda --steps 500
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """All of tune's arguments."""
    add_clip(parser)
    add_settings(parser, TuneSettings, {"video": "tuning"})
    add = adder(parser, "files")
    add("-o --out", "FOLDER", "the checkpoint folder to write (needed)", path)
    add("--overwrite", "", "replace a checkpoint that is there")
    add("-q --quiet", "", "no progress bar, no notes")
    add_model(parser, repeats=False)


def run(args: argparse.Namespace) -> None:
    """Check everything that can be checked first; then load, read, tune, and write."""
    from ..checkpoints import embedded_weights, save_folder
    from ..pipelines.tune import tune
    from .inputs import check_clip, load_model, open_source, tokenizer_to_save
    from .request import resolve

    give = 'say after the video what it shows: t2vz tune example.mp4 "a red ball on a green meadow" --out tuned'
    request = resolve(args, TuneSettings, give)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError("tuning is one process's work; start it without torchrun")
    _check_out(request.out, request.overwrite)
    tokenizer = tokenizer_to_save(request.weights or embedded_weights(), request.tokenizer)
    check_clip(request)
    if request.dtype == "auto":  # half precision would round tuning's small steps away
        request = replace(request, dtype="float32")
    sd = load_model(request)
    losses, began = [], time.perf_counter()
    with open_source(request, sd.default_size) as clip, ProgressBar(request, unit="step") as progress:
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
