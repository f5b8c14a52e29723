"""The trainings in their order, in one folder: pictures/ tokenizer/ clip/ vae/ unet/ decoder/ edit/ controlnet/.

Each stage finds there what it needs. One that was interrupted continues where it was saved; one that is
finished is not run again.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import Module
from torch.nn import functional as F
from tqdm import tqdm

from t2vz.errors import InputError
from t2vz.files import atomic_path
from t2vz.text import Tokenizer
from t2vz.unet.config import ControlNetConfig, UNetConfig
from t2vz.unet.controlnet import ControlNet
from t2vz.unet.unet import UNet
from t2vz.unet.widen import widen_input
from t2vz.vae.config import VAEConfig
from t2vz.vae.vae import VAE
from t2vz.world import BACKGROUNDS, COLOURS, OBJECTS, Edit, Scene, foreground_mask, paint_after, sample_edit

from . import clip as clip_training
from . import control as control_training
from . import edit as edit_training
from . import ranks
from . import unet as unet_training
from . import vae as vae_training
from .common import Settings
from .log import read_log
from .pictures import Pictures, paint_pictures, scene_of
from .state import load_network, read_facts, save_network
from .tokenizer import write_tokenizer

START = "start.safetensors"  # beside a stage's result: the weights it began from, if not from nothing
# of the minutes given to all
SHARES = {"clip": 0.06, "vae": 0.26, "unet": 0.38, "decoder": 0.1, "edit": 0.12, "controlnet": 0.08}


@dataclass(frozen=True)
class Options:
    """What a training run is asked for. minutes/steps: of each stage; None: the stage's own. size: of the
    pictures."""

    out: Path
    size: int = 128
    pictures: int = 24_000
    unseen: int = 64
    latents: int = 24_000  # how many of the pictures the UNet learns from
    minutes: float | None = None
    steps: int | None = None
    seed: int = 0
    device: str = "cpu"
    threads: int | None = None
    clip: clip_training.CLIPSizes = clip_training.CLIPSizes()
    vae: VAEConfig = vae_training.EMBEDDED
    unet: UNetConfig = unet_training.EMBEDDED
    edits: int = 8_000  # how many of the pictures the edit UNet learns to edit
    style: str = "bold"  # of the painting: "bold", or "fine" for 256 pixels and more
    further: bool = False  # train a finished stage on from its weights

    def __post_init__(self):
        if self.size % 8 or self.size < 32:
            raise InputError(f"size {self.size}: pictures have sides of at least 32, a multiple of 8")

    def settings(self, stage: Settings) -> Settings:
        """The stage's settings with what was asked for."""
        common = {"seed": self.seed, "device": self.device, "threads": self.threads}
        if self.steps is not None or self.minutes is not None:
            common |= {"minutes": None if self.steps is not None else self.minutes, "steps": self.steps}
        return replace(stage, **common)

    def paint(self, stream: str, count: int) -> Pictures:
        """`count` pictures of a stream ("training", "unseen"), painted once and kept in out/pictures."""
        with ranks.rank_0_first():
            return paint_pictures(self.out / "pictures", count, self.size, self.seed, stream, style=self.style)

    def cache(self, name: str, count: int) -> Path:
        """Where something made of the first `count` training pictures is kept."""
        return self.out / f"{name}-{self.style}-{self.size}px-{count}-seed{self.seed}.safetensors"

    def tokenizer(self) -> Tokenizer:
        """The tokenizer in out/tokenizer, written first if there is none: its numbers belong to the CLIP."""
        folder = self.out / "tokenizer"
        with ranks.rank_0_first():
            return Tokenizer(folder if (folder / "vocab.json").is_file() else write_tokenizer(folder))

    def finished(self, target: Path) -> bool:
        """Whether a stage has nothing to do. A finished one that is to be trained further becomes its own start:
        its weights are put aside as start.safetensors, from which the stage then begins (`begin`)."""
        with ranks.rank_0_first():
            return self._finished(target)

    def _finished(self, target: Path) -> bool:
        if not target.is_file():
            return False
        if not self.further:
            return True
        if target.parent.name == "vae":  # what was encoded before means something else afterwards
            if (self.out / "decoder").exists():
                raise InputError(f"{self.out}/decoder belongs to the autoencoder as it was; move it away first")
            for cache in [*self.out.glob("unet/latents-*"), *self.out.glob("edit/after-*")]:
                cache.unlink()
        target.replace(target.with_name(START))
        (target.parent / "state.safetensors").unlink(missing_ok=True)
        return False


def train_clip_stage(options: Options) -> None:
    """Train the CLIP into out/clip/clip.safetensors."""
    target = options.out / "clip/clip.safetensors"
    if options.finished(target):
        return
    pictures, tokenizer = options.paint("training", options.pictures), options.tokenizer()
    settings = options.settings(clip_training.SETTINGS)
    clip = begin(load_clip, target) or clip_training.new_clip(tokenizer, options.clip, options.seed)
    facts = torch.tensor([facts_of(scene_of(i, options.seed, "training")) for i in range(len(pictures))])
    clip = clip_training.train_clip(clip, pictures, facts, tokenizer, target.parent, settings).cpu()
    retrieval = clip_training.measure_retrieval(clip, tokenizer, options.paint("unseen", options.unseen))
    facts = {"sizes": asdict(options.clip), "retrieval": retrieval, "of": options.unseen}
    finish(target, clip, facts)


def facts_of(scene: Scene) -> tuple[int, int, int]:
    """A scene's thing, colour and place, as numbers."""
    return OBJECTS.index(scene.kind), tuple(COLOURS).index(scene.colour), BACKGROUNDS.index(scene.background)


def train_vae_stage(options: Options) -> None:
    """Train the VAE into out/vae/vae.safetensors."""
    target = options.out / "vae/vae.safetensors"
    if options.finished(target):
        return
    pictures, unseen = options.paint("training", options.pictures), options.paint("unseen", options.unseen)
    settings = options.settings(vae_training.SETTINGS)
    vae = begin(load_vae, target) or vae_training.new_vae(options.vae, options.seed)
    vae = vae_training.train_vae(vae, pictures, unseen, target.parent, settings).cpu()
    finish(target, vae, {"config": asdict(vae.config), "psnr": vae_training.measure_psnr(vae, unseen)})


def train_unet_stage(options: Options) -> None:
    """Train the UNet into out/unet/unet.safetensors; needs a finished CLIP and VAE."""
    target = options.out / "unet/unet.safetensors"
    if options.finished(target):
        return
    vae, clip, tokenizer = load_vae(options.out), load_clip(options.out), options.tokenizer()
    latents, captions = cached_latents(options, vae)
    width, side = clip.config.text_config.hidden_size, options.size // vae.factor
    things = cached_things(options, len(latents), side)
    examples = unet_training.make_examples(latents, captions, clip_training.text_tower(clip), tokenizer, things)
    config = replace(options.unet, context_dim=width, sample_size=side)
    settings = options.settings(unet_training.SETTINGS)
    vae, text = vae.to(options.device), clip_training.text_tower(clip).to(options.device)
    unet = begin(load_unet, target) or unet_training.new_unet(config, options.seed)
    unet = unet_training.train_unet(unet, examples, vae, text, tokenizer, target.parent, settings).cpu()
    facts = {key: getattr(options, key) for key in ("size", "pictures", "unseen", "seed")}
    facts |= {"config": asdict(unet.config), "latents": len(latents), "hardware": hardware(options.device)}
    finish(target, unet, facts)


def train_decoder_stage(options: Options) -> None:
    """Train the VAE's decoder further, on the UNet's latents, into out/decoder/decoder.safetensors."""
    target = options.out / "decoder/decoder.safetensors"
    if options.finished(target):
        return
    vae = load_vae(options.out)
    latents, _ = cached_latents(options, vae)
    pictures, unseen = options.paint("training", options.pictures), options.paint("unseen", options.unseen)
    settings = options.settings(vae_training.DECODER_SETTINGS)
    vae.to(options.device)
    if target.with_name(START).is_file():
        load_network(target.with_name(START), vae_training.LatentsToImages(vae))
    half = vae_training.train_decoder(vae, latents, pictures, unseen, target.parent, settings)
    finish(target, half, {"psnr": vae_training.measure_psnr(vae.eval(), unseen)})


def train_edit_stage(options: Options) -> None:
    """Train the edit UNet, from the UNet, into out/edit/edit.safetensors; needs finished CLIP, VAE and UNet."""
    target = options.out / "edit/edit.safetensors"
    if options.finished(target):
        return
    vae, clip, tokenizer = load_vae(options.out), load_clip(options.out), options.tokenizer()
    unet = begin(load_edit_unet, target) or widen_input(load_unet(options.out), 8)
    shown = 16
    after, instructions = cached_edits(options, vae, shown)
    before = cached_latents(options, vae)[0][: len(after)].float() / vae.config.scaling_factor
    examples = edit_training.edit_examples(before, after, instructions, clip_training.text_tower(clip), tokenizer)
    learned, unseen = examples.split(len(after) - shown)
    settings = options.settings(edit_training.SETTINGS)
    unet = edit_training.train_edit_unet(unet, learned, unseen, vae.to(options.device), target.parent, settings).cpu()
    finish(target, unet, {"config": asdict(unet.config), "edits": len(learned.after)})


def train_controlnet_stage(options: Options) -> None:
    """Train the ControlNet for edges into out/controlnet/controlnet.safetensors; needs finished CLIP, VAE and UNet."""
    target = options.out / "controlnet/controlnet.safetensors"
    if options.finished(target):
        return
    vae, clip, tokenizer = load_vae(options.out), load_clip(options.out), options.tokenizer()
    unet = load_unet(options.out).to(options.device)
    latents, captions = cached_latents(options, vae)
    examples = unet_training.make_examples(latents, captions, clip_training.text_tower(clip), tokenizer)
    pictures = options.paint("training", options.pictures)
    pictures = Pictures(pictures.images[: len(latents)], captions)
    bits = cached_edges(options, pictures)
    settings = options.settings(control_training.SETTINGS)
    vae, text = vae.to(options.device), clip_training.text_tower(clip).to(options.device)
    controlnet = begin(load_controlnet, target) or control_training.new_controlnet(unet, options.seed)
    controlnet = control_training.train_controlnet(
        controlnet, unet, examples, bits, pictures, vae, text, tokenizer, target.parent, settings
    ).cpu()
    finish(target, controlnet, {"config": asdict(controlnet.config)})


def cached_edits(options: Options, vae: VAE, more: int) -> tuple[Tensor, list[str]]:
    """An edit of each of the first `options.edits` + `more` training pictures, painted and encoded once into
    out/edit/: scaled latents of the pictures after it (count, 4, h, w), and the instructions."""
    count = min(options.edits + more, options.latents, options.pictures)
    edits = [edit_of_picture(i, options) for i in range(count)]

    def encode() -> Tensor:
        painted = np.stack([paint_after(edit, options.size) for edit in tqdm(edits, "painting edits")])
        return vae_training.encode_all(vae.to(options.device), Pictures(painted, [e.instruction for e in edits]))

    return kept(options.cache("edit/after", count), "after", encode), [e.instruction for e in edits]


def edit_of_picture(i: int, options: Options) -> Edit:
    """The edit that belongs to training picture i."""
    scene = scene_of(i, options.seed, "training", options.style)
    return sample_edit(np.random.default_rng([options.seed, 1_000, i]), scene)


def cached_edges(options: Options, pictures: Pictures) -> np.ndarray:
    """The pictures' edges as `control.find_edges` gives them, found once into out/controlnet/."""
    cache = options.cache("controlnet/edges", len(pictures))
    return kept(cache, "bits", lambda: torch.from_numpy(control_training.find_edges(pictures))).numpy()


def cached_latents(options: Options, vae: VAE) -> tuple[Tensor, list[str]]:
    """Scaled latents of the first `options.latents` pictures, encoded once into out/unet/, and their
    captions."""
    pictures = options.paint("training", options.pictures)
    pictures = Pictures(pictures.images[: options.latents], pictures.captions[: options.latents])
    cache = options.cache("unet/latents", len(pictures))
    latents = kept(cache, "latents", lambda: vae_training.encode_all(vae.to(options.device), pictures))
    return latents, pictures.captions


def cached_things(options: Options, count: int, side: int) -> Tensor:
    """Where in the first `count` pictures' latents the named things are, painted once: uint8 (count, 1, side, side),
    255 in every cell that a thing covers or that is next to such a one."""

    def find() -> Tensor:
        scenes = (scene_of(i, options.seed, "training", options.style) for i in tqdm(range(count), "masks"))
        masks = np.stack([foreground_mask(scene, options.size) for scene in scenes])
        covered = F.adaptive_avg_pool2d(torch.from_numpy(masks)[:, None].float(), side)
        return F.max_pool2d(covered, 3, stride=1, padding=1).round().byte()

    return kept(options.cache("unet/things", count), "things", find)


def kept(path: Path, name: str, make: Callable[[], Tensor]) -> Tensor:
    """The tensor `name` of the file at `path`, which is first made if it is not there."""
    with ranks.rank_0_first():
        if not path.is_file():
            with atomic_path(path) as temporary:
                save_file({name: make()}, temporary)
        return load_file(path)[name]


def hardware(device: str) -> str:
    """What the training ran on, for the model card."""
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else f"{os.cpu_count()} CPU cores"


STAGES = {
    "clip": train_clip_stage,
    "vae": train_vae_stage,
    "unet": train_unet_stage,
    "decoder": train_decoder_stage,
    "edit": train_edit_stage,
    "controlnet": train_controlnet_stage,
}
BASE_STAGES = ("clip", "vae", "unet", "decoder")  # those that make the text-to-image model


def train_all(options: Options) -> None:
    """All, one after the other. options.minutes is the budget of all together, divided by SHARES."""
    for name, stage in STAGES.items():
        part = options if options.minutes is None else replace(options, minutes=options.minutes * SHARES[name])
        stage(part)


def finish(target: Path, network: Module, facts: dict) -> None:
    """Write a stage's result, and with it how many steps and minutes it took, those of its start included.
    Only rank 0 does."""
    if ranks.rank() > 0:
        return
    last = read_log(target.parent)[-1]
    start = target.with_name(START)
    before = read_facts(start).get("spent", {}) if start.is_file() else {}
    spent = {"steps": last["step"] + before.get("steps", 0), "minutes": last["seconds"] / 60 + before.get("minutes", 0)}
    save_network(target, network, {**facts, "spent": spent})


def begin(load: Callable[[Path, str], Module], target: Path) -> Module | None:
    """The network that `finished` put aside for a stage to begin from, or None if it begins from nothing."""
    return load(target.parents[1], START).requires_grad_(True) if target.with_name(START).is_file() else None


def load_clip(out: Path, file: str = "clip.safetensors"):
    """The finished CLIPModel of a training folder."""
    path = out / "clip" / file
    sizes = clip_training.CLIPSizes(**read_facts(path)["sizes"])
    return load_network(path, clip_training.new_clip(Tokenizer(out / "tokenizer"), sizes))


def load_vae(out: Path, file: str = "vae.safetensors") -> VAE:
    """The finished VAE of a training folder, with its scaling factor; with the later decoder if there is
    one."""
    path, later = out / "vae" / file, out / "decoder/decoder.safetensors"
    vae = load_network(path, VAE(VAEConfig(**_tuples(read_facts(path)["config"]))))
    if later.is_file():
        load_network(later, vae_training.LatentsToImages(vae))
    return vae


def load_unet(out: Path, file: str = "unet.safetensors") -> UNet:
    """The finished UNet of a training folder."""
    path = out / "unet" / file
    return load_network(path, UNet(UNetConfig(**_tuples(read_facts(path)["config"]))))


def load_edit_unet(out: Path, file: str = "edit.safetensors") -> UNet:
    """The finished edit UNet of a training folder."""
    path = out / "edit" / file
    return load_network(path, UNet(UNetConfig(**_tuples(read_facts(path)["config"]))))


def load_controlnet(out: Path, file: str = "controlnet.safetensors") -> ControlNet:
    """The finished ControlNet of a training folder."""
    path = out / "controlnet" / file
    return load_network(path, ControlNet(ControlNetConfig(**_tuples(read_facts(path)["config"]))))


# A config's fields as older training folders name them.
OLD_FIELDS = {
    "widths": "block_out_channels",
    "attention": "has_attention",
    "resnets": "layers_per_block",
    "condition_widths": "condition_out_channels",
}


def _tuples(config: dict) -> dict:
    return {
        OLD_FIELDS.get(key, key): tuple(value) if isinstance(value, list) else value for key, value in config.items()
    }
