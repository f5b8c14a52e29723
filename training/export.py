"""The trained networks as the checkpoint folder that is shipped: float16, the folder layout, a model card.

Beside what a Stable Diffusion folder holds there is clip/, both towers of the CLIP, for the CLIP score (E16).
Its text tower is the one in text_encoder/ again.
"""

import os
import shutil
from dataclasses import asdict
from pathlib import Path

from safetensors.torch import save_file
from transformers import CLIPModel

from t2vz.checkpoints import save_folder, save_part
from t2vz.checkpoints.attached import DEFAULTS_FILE, WORDS_FILE
from t2vz.errors import InputError
from t2vz.files import atomic_path, write_bytes, write_json
from t2vz.model import StableDiffusion, load_controlnet
from t2vz.world import BACKGROUNDS, COLOURS, KINDS, OBJECTS, STYLES, instruction_words, vocabulary

from .clip import load_clip, measure_retrieval, sizes_of, text_tower
from .fit import read_facts, save_network
from .folder import Folder
from .log import read_log
from .vae import load_vae, measure_psnr

# What the small models were made for, as looked at. On latents of 16×16 cells less noise hides as much as on 64×64
# (benchmarks/README.md): T' = 521 and T = 561, of the 25-step grid, stand for the paper's 881 and 941.
DEFAULTS = {
    "generate": {"steps": 25, "guidance_scale": 4.0, "t_prime": 521, "t": 561},
    "control": {"guidance_scale": 4.0, "control_scale": 1.5, "t_prime": 551, "t": 651},
    "tune": {"steps": 150, "learning_rate": 1e-3},
}
EDIT_DEFAULTS = {"edit": {"steps": 25, "guidance_scale": 5.0, "image_scale": 2.2, "sampler": "ddim"}}


def export(folder: Folder, to: Path, overwrite: bool = False) -> None:
    """Write the networks of a finished training: the checkpoint folder `to`, and beside it, if they are trained,
    `to`-edit (the edit UNet) and `to`-control (the ControlNet for edges).

    Raises InputError if a stage is not finished or `to` exists (and overwrite is False), FailedError if
    writing fails.
    """
    clip, vae, unet = load_clip(folder), load_vae(folder), folder.load("unet")
    tokenizer = folder.out / "tokenizer"
    said = {"words": known_words(style=folder.style), "defaults": DEFAULTS}
    save_folder(to, unet, vae, text_tower(clip), tokenizer, overwrite=overwrite, **said)
    write_clip(clip, to / "clip")
    write_bytes(to / "README.md", model_card(folder, to).encode())
    if folder.path("edit").is_file():
        edits = beside(to, "edit")
        save_part(edits / "unet", folder.load("edit"), overwrite=overwrite)
        write_json(edits / WORDS_FILE, known_words(instruction_words(), folder.style))
        write_json(edits / DEFAULTS_FILE, EDIT_DEFAULTS)
        write_bytes(edits / "README.md", edit_card(folder, to.name).encode())
    if folder.path("controlnet").is_file():
        control = beside(to, "control")
        save_part(control, folder.load("controlnet"), overwrite=overwrite)
        write_bytes(control / "README.md", control_card(folder, to.name).encode())


def unpack(checkpoint: Path, folder: Folder) -> None:
    """Write the networks of a checkpoint that `export` wrote as finished stages, to train them further: CLIP, VAE and
    UNet; the UNet that edits and the ControlNet, where there are such beside it.

    What is known of the networks is measured anew on unseen pictures; how long they were trained before is not.
    Raises InputError if the checkpoint holds no CLIP, or the folder has stages already.
    """
    taken = [name for name in ("clip", "vae", "unet", "tokenizer") if (folder.out / name).exists()]
    if taken:
        raise InputError(f"{folder.out} holds {taken[0]}/ already; choose another --out")
    if not (checkpoint / "clip/config.json").is_file():
        raise InputError(
            f"{checkpoint}: holds no clip/; only what `python -m training export` wrote can be trained further"
        )
    sd = StableDiffusion.load(checkpoint)
    clip = CLIPModel.from_pretrained(checkpoint / "clip").float().eval()
    shutil.copytree(checkpoint / "tokenizer", folder.out / "tokenizer")
    unseen = folder.paint("unseen", folder.unseen)
    retrieval = measure_retrieval(clip, folder.tokenizer(), unseen)
    facts = {"sizes": asdict(sizes_of(clip)), "retrieval": retrieval, "of": len(unseen)}
    save_network(folder.path("clip"), clip, facts)
    save_network(folder.path("vae"), sd.vae, {"config": asdict(sd.vae.config), "psnr": measure_psnr(sd.vae, unseen)})
    facts = {**folder.facts(), "config": asdict(sd.unet.config), "latents": folder.latents}
    save_network(folder.path("unet"), sd.unet, facts)
    if beside(checkpoint, "edit").is_dir():
        edits = StableDiffusion.load(checkpoint, edit=True).unet
        save_network(folder.path("edit"), edits, {"config": asdict(edits.config), "edits": folder.edits})
    if beside(checkpoint, "control").is_dir():
        controlnet = load_controlnet(beside(checkpoint, "control"))
        save_network(folder.path("controlnet"), controlnet, {"config": asdict(controlnet.config)})


def beside(checkpoint: Path, name: str) -> Path:
    """Where the edit UNet ("edit") or the ControlNet ("control") of a checkpoint lies."""
    return checkpoint.with_name(f"{checkpoint.name}-{name}")


def things(style: str) -> list[str]:
    """The things that the random scenes of a style show."""
    return [kind for kind in OBJECTS if kind not in STYLES[style].leave_out]


def known_words(more: list[str] | None = None, style: str = "bold") -> dict[str, list[str]]:
    """The picture world's words for words.json: what a prompt can be made of, and all others. more: further ones."""
    groups = {"things": things(style), "colours": list(COLOURS), "places": list(BACKGROUNDS)}
    left_out = {word for kind in STYLES[style].leave_out for word in (kind, KINDS[kind].plural)}
    named = {word for group in groups.values() for word in group} | left_out
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
    processor = {"image_processor_type": "CLIPImageProcessor", "size": {"height": side, "width": side}}
    processor |= {"do_center_crop": False, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    write_json(folder / "preprocessor_config.json", processor)


CARD = """---
license: mit
---
# The embedded {title} of t2vz

{what}

| network | parameters | steps | minutes | loss, last 100 steps |
| --- | --- | --- | --- | --- |
{rows}
{measured}
Licence: MIT, as the code.
"""
MODEL = """\
A text-to-image diffusion model with exactly the anatomy of Stable Diffusion 1.5, small enough to ship with the code
({mebibytes:.1f} MiB in float16): a CLIP text tower, a UNet with 16 self-attention layers, a KL autoencoder (factor 8,
4 channels). It is there to learn and to test with, and knows one small world of painted scenes, {size}×{size} pixels.

**Loads** in t2vz (`StableDiffusion.load()`) and in diffusers:

```python
from diffusers import StableDiffusionPipeline, TextToVideoZeroPipeline

pipe = StableDiffusionPipeline.from_pretrained("weights/{name}")
pipe = TextToVideoZeroPipeline.from_pretrained(
    "weights/{name}", safety_checker=None, feature_extractor=None, requires_safety_checker=False
)
```

`clip/` is the whole CLIP (`CLIPModel.from_pretrained`); its text tower is the file in
`text_encoder/`.

**Prompts**: "a red ball on a green meadow".
- Things: {things}.
- Colours: {colours}.
- Places: {places}.
- Counts "two", "three", "a row of"; "small", "big".

**Data**: {pictures} pictures of the painter `t2vz.world`, seed {seed}. A tenth of all (thing, colour, place)
combinations was held out. No photograph and no one's artwork was used.

**Made by** `python -m training all` on {hardware}, in bfloat16 ([how](../../training/__init__.py)). Scaling factor
{scaling_factor:.5f}, measured.

**Limits**: it was trained for hours on CPUs, not for days on GPUs. Places and colours come out as asked, and one thing
alone nearly always; small things in a row often lose their shape. Fine patterns blur in the autoencoder, and
words outside the world mean nothing to it (t2vz says which). At guidance 7.5 colours are glaring; `defaults.json`,
which only t2vz reads, says what looks best. Group norms and heads are fewer than Stable Diffusion's, because widths
are small; a single file of it (`t2vz weights export`) says so in its header, which t2vz alone reads. To do better:
`python -m training all --size 256 --device cuda`, or on from here: `python -m training unpack`, then `python -m
training unet --further`."""
MEASURED = """
## Measured
- Autoencoder: {psnr:.2f} dB PSNR on {of} unseen scenes.
- CLIP: of {of} unseen scenes, {found:.0f} % are nearest to their own caption.
"""
EDIT = """\
The UNet of `weights/{base}`, its first convolution widened to 8 channels and trained to edit, as InstructPix2Pix
(arXiv 2211.09800) was: `t2vz edit example.mp4 "make the ball blue"`. Autoencoder, text tower and tokenizer are those of
`weights/{base}`. It knows the same painted world and three kinds of instruction: another colour ("make it blue"),
another thing ("turn the ball into a cat"), another place ("make it snow", "put it on a sandy beach").

Data: {edits} pairs of pictures, before and after an edit, from the painter (`t2vz.world.edits`). Made by
`python -m training edit`, after `unet`."""
CONTROL = """\
Steers `weights/{base}` by the edges of a picture (Canny, thresholds 100 and 200):
`t2vz control example.mp4 "a blue ball on a sandy beach"`. It loads in diffusers (`ControlNetModel.from_pretrained`).

Made by `python -m training controlnet`, after `unet` (arXiv 2302.05543), on the edges of the training pictures."""


def model_card(folder: Folder, checkpoint: Path) -> str:
    """README.md of the checkpoint: what the model is, how it was made, what was measured."""
    clip, vae, unet = (read_facts(folder.path(stage)) for stage in ("clip", "vae", "unet"))
    psnr = (read_facts(folder.path("decoder")) if folder.path("decoder").is_file() else vae)["psnr"]
    size = sum(os.path.getsize(file) for file in checkpoint.rglob("*") if file.is_file()) / 2**20
    words = {"things": things(folder.style), "colours": COLOURS, "places": BACKGROUNDS}
    words = {name: ", ".join(group) for name, group in words.items()}
    what = MODEL.format(
        name=checkpoint.name, mebibytes=size, scaling_factor=vae["config"]["scaling_factor"], **words, **unet
    )
    measured = MEASURED.format(psnr=psnr, of=clip["of"], found=100 * clip["retrieval"])
    return card(folder, "model", what, ("clip", "vae", "unet", "decoder"), "quality.md", measured)


def edit_card(folder: Folder, base: str) -> str:
    """README.md of the edit UNet."""
    what = EDIT.format(base=base, **read_facts(folder.path("edit")))
    return card(folder, "edit model", what, ("edit",), "edit.md")


def control_card(folder: Folder, base: str) -> str:
    """README.md of the ControlNet."""
    return card(folder, "ControlNet", CONTROL.format(base=base), ("controlnet",), "control.md")


def card(folder: Folder, title: str, what: str, stages: tuple[str, ...], kept: str, measured: str = "") -> str:
    """A model card. kept: a file of the training folder with what a benchmark printed about the finished model
    (benchmarks/embedded_quality.py, benchmarks/control_quality.py: --markdown)."""
    if (folder.out / kept).is_file():
        measured += (folder.out / kept).read_text(encoding="utf-8").rstrip() + "\n"
    rows = [table_row(folder, stage) for stage in stages if folder.path(stage).is_file()]
    return CARD.format(title=title, what=what, rows="\n".join(rows), measured=measured)


def table_row(folder: Folder, stage: str) -> str:
    """A stage's row of the card's table."""
    log, facts = read_log(folder.path(stage).parent), read_facts(folder.path(stage))
    size = facts["parameters"] / 1e6
    if not log:  # unpacked from a checkpoint, and not trained since
        return f"| {stage} | {size:.2f} M | as it was | | |"
    last = [row["loss"] for row in log[-5:]]
    spent = facts.get("spent", {"steps": log[-1]["step"], "minutes": log[-1]["seconds"] / 60})
    return f"| {stage} | {size:.2f} M | {spent['steps']} | {spent['minutes']:.0f} | {sum(last) / len(last):.3f} |"
