"""The folder of a training: pictures/ tokenizer/ clip/ vae/ unet/ decoder/ edit/ controlnet/.

Each stage finds there what it needs and leaves there what it made, so a finished one is not run again. A stage that is
trained further begins from its own result, which is put aside as start.safetensors.
"""

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import torch
from accelerate import Accelerator
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import Module

from t2vz.errors import InputError
from t2vz.text import Tokenizer
from t2vz.unet import ControlNet, ControlNetConfig, UNet, UNetConfig
from t2vz.vae import VAE, VAEConfig
from t2vz.world import Scene

from .fit import Settings, fit, load_network, processes, read_facts, save_network, write_tensors
from .log import read_log
from .pictures import Pictures, paint_pictures, scene_of
from .tokenizer import write_tokenizer

VAE_SIZES = VAEConfig(block_out_channels=(16, 32, 64, 128), layers_per_block=1, norm_groups=8, scaling_factor=1.0)
UNET_SIZES = UNetConfig(block_out_channels=(64, 96, 96, 80), heads=(2, 4, 4, 4), context_dim=128, norm_groups=8)
NETWORKS = {
    "vae": (VAE, VAEConfig),
    "unet": (UNet, UNetConfig),
    "edit": (UNet, UNetConfig),
    "controlnet": (ControlNet, ControlNetConfig),
}
# A config's fields as older training folders name them.
OLD_FIELDS = {
    "widths": "block_out_channels",
    "attention": "has_attention",
    "resnets": "layers_per_block",
    "condition_widths": "condition_out_channels",
}
START = "start.safetensors"  # beside a stage's result: the weights it began from, if not from nothing


@dataclass(frozen=True)
class CLIPSizes:
    """Sizes of the CLIP's two towers. Heads are 64 channels wide, as in every CLIP."""

    width: int = 128
    text_layers: int = 2
    image_layers: int = 3
    image_size: int = 64
    patch: int = 8


@dataclass(frozen=True)
class Folder:
    """A training folder and what is asked of it. minutes/steps: of each stage; None: the stage's own."""

    out: Path
    style: str = "bold"  # of the painting: "bold", or "fine" for 256 pixels and more
    size: int = 128  # side of the pictures in pixels
    pictures: int = 24_000
    unseen: int = 64
    latents: int = 24_000  # how many of the pictures the UNet learns from
    edits: int = 16_000  # how many of the pictures the edit UNet learns to edit
    minutes: float | None = None
    steps: int | None = None
    seed: int = 0
    device: str = "cpu"
    further: bool = False  # train a finished stage on from its weights
    clip: CLIPSizes = CLIPSizes()
    vae: VAEConfig = VAE_SIZES
    unet: UNetConfig = UNET_SIZES

    def __post_init__(self):
        if self.size % 8 or self.size < 32:
            raise InputError(f"size {self.size}: pictures have sides of at least 32, a multiple of 8")

    @cached_property
    def here(self) -> Accelerator:
        """This process among those that train together."""
        return processes(self.device)

    def path(self, stage: str) -> Path:
        """Where a stage's result lies."""
        return self.out / stage / f"{stage}.safetensors"

    def paint(self, stream: str, count: int) -> Pictures:
        """`count` pictures of a stream ("training", "unseen"), painted once and kept in pictures/."""
        with self.here.main_process_first():
            return paint_pictures(self.out / "pictures", count, self.size, self.seed, stream, style=self.style)

    def scene(self, i: int) -> Scene:
        """The scene of training picture i."""
        return scene_of(i, self.seed, "training", self.style)

    def tokenizer(self) -> Tokenizer:
        """The tokenizer in tokenizer/, written first if there is none: its numbers belong to the CLIP."""
        folder = self.out / "tokenizer"
        with self.here.main_process_first():
            return Tokenizer(folder if (folder / "vocab.json").is_file() else write_tokenizer(folder))

    def kept(self, name: str, count: int, make: Callable[[], Tensor]) -> Tensor:
        """Something made of the first `count` training pictures: made once, by the first process, and kept as a file;
        name: stage/what."""
        path = self.out / f"{name}-{self.style}-{self.size}px-{count}-seed{self.seed}.safetensors"
        with self.here.main_process_first():
            if not path.is_file():
                write_tensors(path, {path.parent.name: make()})
            return next(iter(load_file(path).values()))

    def finished(self, stage: str) -> bool:
        """Whether a stage has nothing to do. A finished one that is to be trained further becomes its own start."""
        target = self.path(stage)
        with self.here.main_process_first():
            if not target.is_file():
                return False
            if not self.further:
                return True
            if stage == "vae":  # what was encoded before means something else afterwards
                if (self.out / "decoder").exists():
                    raise InputError(f"{self.out}/decoder belongs to the autoencoder as it was; move it away first")
                for cache in [*self.out.glob("unet/latents-*"), *self.out.glob("edit/after-*")]:
                    cache.unlink()
            target.replace(target.with_name(START))
            (target.parent / "state.safetensors").unlink(missing_ok=True)
            return False

    def load(self, stage: str, build: Callable[[dict], Module] | None = None) -> Module:
        """A stage's finished network, on the training's device. build: an untrained one from its facts, if it has no
        row in NETWORKS."""
        path = self.path(stage)
        return load_network(path, (build or partial(untrained, stage))(read_facts(path))).to(self.here.device)

    def begin(self, stage: str, new: Callable[[], Module], build: Callable[[dict], Module] | None = None) -> Module:
        """What a stage's training begins from: what `finished` put aside (build: as in `load`), or a new network."""
        start = self.path(stage).with_name(START)
        if not start.is_file():
            return new().requires_grad_(True)
        return load_network(start, (build or partial(untrained, stage))(read_facts(start))).requires_grad_(True)

    def train(
        self,
        stage: str,
        network: Module,
        settings: Settings,
        loss_of: Callable[[int, torch.Generator], dict[str, Tensor]],
        show: Callable[[Path], None] | None = None,
    ) -> Module:
        """`fit` with the stage's settings and what was asked for. loss_of(batch, generator): as in `fit`."""
        if self.steps is not None or self.minutes is not None:
            settings = replace(settings, minutes=None if self.steps is not None else self.minutes, steps=self.steps)
        settings = replace(settings, seed=self.seed)
        folder = self.path(stage).parent
        return fit(network, lambda g: loss_of(settings.batch, g), folder, settings, show, stage, self.device)

    def finish(self, stage: str, network: Module, **facts) -> None:
        """Write a stage's result, and with it how many steps and minutes it took, those of its start included."""
        if not self.here.is_main_process:
            return
        target = self.path(stage)
        last, start = read_log(target.parent)[-1], target.with_name(START)
        before = read_facts(start).get("spent", {}) if start.is_file() else {}
        steps, minutes = last["step"] + before.get("steps", 0), last["seconds"] / 60 + before.get("minutes", 0)
        save_network(target, network, {**facts, "spent": {"steps": steps, "minutes": minutes}})

    def facts(self) -> dict:
        """What the model card says about the data and the machine."""
        gpu = self.device != "cpu"
        hardware = torch.cuda.get_device_name(self.here.device) if gpu else f"{os.cpu_count()} CPU cores"
        asked = asdict(self)
        return {key: asked[key] for key in ("size", "pictures", "unseen", "seed")} | {"hardware": hardware}


def untrained(stage: str, facts: dict) -> Module:
    """A network of the sizes that its facts hold, JSON's lists as tuples again."""
    network, config = NETWORKS[stage]
    sizes = {key: tuple(value) if isinstance(value, list) else value for key, value in facts["config"].items()}
    return network(config(**{OLD_FIELDS.get(key, key): value for key, value in sizes.items()}))
