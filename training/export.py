"""The trained networks as the checkpoint folder that is shipped: float16, the folder layout, a model card.

Beside what a Stable Diffusion folder holds there is clip/, both towers of the CLIP, for the CLIP score (E16).
Its text tower is the one in text_encoder/ again.
"""

from __future__ import annotations

import os
from pathlib import Path

from safetensors.torch import save_file
from transformers import CLIPModel

from t2vz.checkpoints import save_controlnet, save_folder, save_unet
from t2vz.checkpoints.words import WORDS_FILE
from t2vz.files import atomic_path, write_bytes, write_json
from t2vz.world import BACKGROUNDS, COLOURS, OBJECTS, instruction_words, vocabulary

from .clip import text_tower
from .log import read_log
from .stages import BASE_STAGES, load_clip, load_controlnet, load_edit_unet, load_unet, load_vae
from .state import read_facts

TABLE_HEAD = """| network | parameters | steps | minutes | loss, last 100 steps |
| --- | --- | --- | --- | --- |"""


def export(out: Path, to: Path, overwrite: bool = False) -> None:
    """Write the networks of a finished training folder: the checkpoint folder `to`, and beside it, if they are
    trained, `to`-edit (the edit UNet) and `to`-control (the ControlNet for edges).

    Raises InputError if a stage is not finished or `to` exists (and overwrite is False), FailedError if
    writing fails.
    """
    clip, vae, unet = load_clip(out), load_vae(out), load_unet(out)
    save_folder(to, unet, vae, text_tower(clip), out / "tokenizer", overwrite=overwrite, words=known_words())
    write_clip(clip, to / "clip")
    write_bytes(to / "README.md", model_card(out, to).encode())
    if (out / "edit/edit.safetensors").is_file():
        folder = to.with_name(to.name + "-edit")
        save_unet(folder / "unet", load_edit_unet(out), overwrite=overwrite)
        write_json(folder / WORDS_FILE, known_words(instruction_words()))
        write_bytes(folder / "README.md", edit_card(out, to.name).encode())
    if (out / "controlnet/controlnet.safetensors").is_file():
        folder = to.with_name(to.name + "-control")
        save_controlnet(folder, load_controlnet(out), overwrite=overwrite)
        write_bytes(folder / "README.md", control_card(out, to.name).encode())


def known_words(more: list[str] | None = None) -> dict[str, list[str]]:
    """The picture world's words for words.json: what a prompt can be made of, and all others. more: further ones."""
    groups = {"things": list(OBJECTS), "colours": list(COLOURS), "places": list(BACKGROUNDS)}
    named = {word for group in groups.values() for word in group}
    return groups | {"others": [word for word in sorted({*vocabulary(), *(more or [])}) if word not in named]}


def write_clip(clip: CLIPModel, folder: Path) -> None:
    """The whole CLIP for `CLIPModel.from_pretrained`, float16, in two shards: the text tower's is
    text_encoder's file, so that it is stored once. With what CLIPImageProcessor must know: pixels in [−1, 1],
    no crop."""
    own = "model-00001-of-00002.safetensors"
    shared = "../text_encoder/model.safetensors"
    named = ((key, value) for key, value in clip.state_dict().items() if "position_ids" not in key)
    state = {key: value.half().contiguous() for key, value in named}
    kept = {key: value for key, value in state.items() if not key.startswith("text_model.")}
    size = sum(value.numel() * value.element_size() for value in state.values())
    files = {key: own if key in kept else shared for key in state}
    index = {"metadata": {"total_size": size}, "weight_map": files}
    config = {"architectures": ["CLIPModel"], **clip.config.to_diff_dict()}
    write_json(folder / "config.json", config)
    write_json(folder / "model.safetensors.index.json", index)
    with atomic_path(folder / own) as temporary:
        save_file(kept, temporary, {"format": "pt"})
    side = clip.config.vision_config.image_size
    settings = {
        "image_processor_type": "CLIPImageProcessor",
        "do_resize": True,
        "size": {"height": side, "width": side},
        "resample": 3,
        "do_center_crop": False,
        "do_rescale": True,
        "do_normalize": True,
        "do_convert_rgb": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    }
    write_json(folder / "preprocessor_config.json", settings)


def model_card(out: Path, folder: Path) -> str:
    """README.md: what the model is, how it was made, what was measured."""
    clip, vae = read_facts(out / "clip/clip.safetensors"), read_facts(out / "vae/vae.safetensors")
    unet = read_facts(out / "unet/unet.safetensors")
    rows = [_row(out, name) for name in BASE_STAGES if (out / name).is_dir()]
    later = out / "decoder/decoder.safetensors"
    again = "\n  At last the decoder alone was trained further on the UNet's latents."
    again = again if later.is_file() else ""
    psnr = read_facts(later)["psnr"] if later.is_file() else vae["psnr"]
    size = sum(os.path.getsize(file) for file in folder.rglob("*") if file.is_file()) / 2**20
    return f"""---
license: mit
---
# The embedded model of t2vz

A text-to-image diffusion model with exactly the anatomy of Stable Diffusion 1.5, small enough to ship with
the code ({size:.1f} MiB in float16): a CLIP text tower, a UNet with 16 self-attention layers, a KL
autoencoder (factor 8, 4 channels). It is there to learn and to test with. It knows one small world of
painted scenes.

**Loads** in t2vz (`StableDiffusion.load()`) and in diffusers (`from_pretrained(folder)` of
`StableDiffusionPipeline` and `TextToVideoZeroPipeline`). Pictures are {unet["size"]}×{unet["size"]}.

**Prompts**: "a red ball on a green meadow".
- Things: {", ".join(OBJECTS)}.
- Colours: {", ".join(COLOURS)}.
- Places: {", ".join(BACKGROUNDS)}.
- Counts "two", "three", "a row of", "many"; "small", "big"; "beside" another thing.

## Data
Pictures of `t2vz.world`, a procedural painter: {unet["pictures"]} of them, seed {unet["seed"]}. A tenth
of all (thing, colour, place) combinations was held out. No photograph and no one's artwork was used.

## Recipe
`python -m training clip`, `vae`, `unet`, one after the other (or `all`), here on {unet["hardware"]} that other work
shared. bfloat16; AdamW with warmup and half a cosine over the time; a moving average of the weights.
- CLIP: contrastive, both towers, in batches of pictures that agree in two of thing, colour and place. `clip/` is
  the whole (`CLIPModel.from_pretrained`); its text tower is the file in `text_encoder/`.
- Autoencoder: L1 on pixels, on 2×2, 4×4 and 8×8 means and on gradients, and KL · 1e-6. It starts as a
  codec of mean colours. Scaling factor {vae["config"]["scaling_factor"]:.5f}, measured.{again}
- UNet: noise prediction on {unet["latents"]} cached latents, Stable Diffusion's schedule, a tenth of the
  captions empty; all noise levels weigh about the same (1/ᾱ, and min-SNR with γ = 2), those in the middle of the
  schedule are drawn twice as often, and cells in or beside a thing count three times.

{TABLE_HEAD}
{chr(10).join(rows)}

## Measured
- Autoencoder: {psnr:.2f} dB PSNR on {unet["unseen"]} unseen scenes.
- CLIP: of {clip["of"]} unseen scenes, {100 * clip["retrieval"]:.0f} % are nearest to their own caption.
{measured(out, "quality.md")}
## Limits
It was trained for hours on CPUs, not for days on GPUs, at {unet["size"]} pixels. Places and colours come out as
asked; things have the right colour, size and place, but not always a shape one could name: that takes more training
than this. Fine patterns blur in the autoencoder, "beside" is unreliable, and words outside the world
mean nothing to it (t2vz says which). At guidance 7.5 colours are glaring; 3 to 5 look more natural. Group norms
and heads are fewer than Stable Diffusion's, because widths are small; a single file of it (`t2vz weights
export`) says so in its header, which t2vz alone reads. To do better: `python -m training all --size 256 --device cuda`,
or on from here: `python -m training unpack`, then `python -m training unet --further`.

Licence: MIT, as the code.
"""


def measured(out: Path, name: str) -> str:
    """What a benchmark printed about the finished model, if it was kept in the training folder under this name
    (benchmarks/embedded_quality.py, benchmarks/control_quality.py: --markdown)."""
    kept = out / name
    return kept.read_text(encoding="utf-8").rstrip() + "\n" if kept.is_file() else ""


def edit_card(out: Path, base: str) -> str:
    """README.md of the edit UNet."""
    facts = read_facts(out / "edit/edit.safetensors")
    return f"""---
license: mit
---
# The embedded edit model of t2vz

The UNet of `weights/{base}`, its first convolution widened to 8 channels and trained to edit, as InstructPix2Pix
(arXiv 2211.09800) was: `t2vz edit example.mp4 "make the ball blue"`. Autoencoder, text tower and tokenizer are those of
`weights/{base}`. It knows the same painted world and three kinds of instruction: another colour ("make it blue"),
another thing ("turn the ball into a cat"), another place ("make it snow", "put it on a sandy beach").

Data: {facts["edits"]} pairs of pictures, before and after an edit, from the painter (`t2vz.world.edits`).
Instruction, picture, or both were left out one time in twenty each. Made by `python -m training edit`, after `unet`.

{TABLE_HEAD}
{_row(out, "edit")}
{measured(out, "edit.md")}
Licence: MIT, as the code.
"""


def control_card(out: Path, base: str) -> str:
    """README.md of the ControlNet."""
    return f"""---
license: mit
---
# The embedded ControlNet of t2vz: edges

Steers `weights/{base}` by the edges of a picture (Canny, thresholds 100 and 200):
`t2vz control example.mp4 "a blue ball on a sandy beach"`. It loads in diffusers (`ControlNetModel.from_pretrained`).

Made by `python -m training controlnet`, after `unet`: a copy of the UNet's half that goes down and zero convolutions
(arXiv 2302.05543), the UNet frozen, half of the captions empty; the edges are those of the training pictures.

{TABLE_HEAD}
{_row(out, "controlnet")}
{measured(out, "control.md")}
Licence: MIT, as the code.
"""


def _row(out: Path, name: str) -> str:
    log, facts = read_log(out / name), read_facts(out / name / f"{name}.safetensors")
    size = facts["parameters"] / 1e6
    if not log:  # unpacked from a checkpoint, and not trained since
        return f"| {name} | {size:.2f} M | as it was | | |"
    last = [row["loss"] for row in log[-5:]]
    spent = facts.get("spent", {"steps": log[-1]["step"], "minutes": log[-1]["seconds"] / 60})
    return f"| {name} | {size:.2f} M | {spent['steps']} | {spent['minutes']:.0f} | {sum(last) / len(last):.3f} |"
