"""A shipped checkpoint folder as a training folder again, to train its networks further.

python -m training unpack --out DIR --from weights/embedded
python -m training unet --out DIR --further --minutes 60
"""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path

from transformers import CLIPModel

from t2vz.errors import InputError
from t2vz.model import StableDiffusion
from t2vz.text import Tokenizer

from . import clip as clip_training
from . import vae as vae_training
from .stages import Options, hardware
from .state import save_network


def unpack(folder: Path, options: Options) -> None:
    """Write CLIP, VAE and UNet of a folder that `export` wrote as the finished stages of options.out.

    What is known of the networks is measured anew on unseen pictures; how long they were trained before is not.
    Raises InputError if the folder holds no CLIP, or options.out has stages already.
    """
    taken = [name for name in ("clip", "vae", "unet", "tokenizer") if (options.out / name).exists()]
    if taken:
        raise InputError(f"{options.out} holds {taken[0]}/ already; choose another --out")
    if not (folder / "clip/config.json").is_file():
        raise InputError(
            f"{folder}: holds no clip/; only what `python -m training export` wrote can be trained further"
        )
    sd = StableDiffusion.load(folder)
    clip = CLIPModel.from_pretrained(folder / "clip").float().eval()
    shutil.copytree(folder / "tokenizer", options.out / "tokenizer")
    unseen = options.paint("unseen", options.unseen)
    retrieval = clip_training.measure_retrieval(clip, Tokenizer(options.out / "tokenizer"), unseen)
    facts = {"sizes": asdict(sizes_of(clip)), "retrieval": retrieval, "of": options.unseen}
    save_network(options.out / "clip/clip.safetensors", clip, facts)
    psnr = vae_training.measure_psnr(sd.vae, unseen)
    save_network(options.out / "vae/vae.safetensors", sd.vae, {"config": asdict(sd.vae.config), "psnr": psnr})
    facts = {key: getattr(options, key) for key in ("size", "pictures", "unseen", "seed")}
    facts |= {"config": asdict(sd.unet.config), "latents": options.latents, "hardware": hardware("cpu")}
    save_network(options.out / "unet/unet.safetensors", sd.unet, facts)


def sizes_of(clip: CLIPModel) -> clip_training.CLIPSizes:
    """The sizes of a CLIP that `clip.new_clip` made."""
    text, image = clip.config.text_config, clip.config.vision_config
    return clip_training.CLIPSizes(
        width=text.hidden_size,
        text_layers=text.num_hidden_layers,
        image_layers=image.num_hidden_layers,
        image_size=image.image_size,
        patch=image.patch_size,
    )
