"""Training of the UNet: predict the noise in a noisy latent (Ho et al. 2020, arXiv 2006.11239, eq. 14).

Latents are encoded once, captions too. A batch draws latents x_0, timesteps t and noise ε, forms
x_t = √ᾱ_t·x_0 + √(1−ᾱ_t)·ε (E2 from the clean latent) and asks ε_θ(x_t, t, τ) for ε. One caption in ten is
replaced by the empty prompt, which teaches the ε_∅ of classifier-free guidance (E5).
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm
from transformers import CLIPModel

from t2vz.pipelines.denoise import denoise
from t2vz.schedulers import NoiseSchedule, classifier_free_guidance
from t2vz.text import Tokenizer
from t2vz.unet.config import UNetConfig
from t2vz.unet.unet import UNet
from t2vz.world import foreground_mask

from .clip import distinct_texts, load_clip, text_states
from .fit import Settings
from .folder import Folder
from .log import write_sheet
from .vae import cached_latents, load_vae

SCHEDULE = NoiseSchedule.stable_diffusion()
SETTINGS = Settings(minutes=55, batch=16, learning_rate=8e-4, warmup=150, weight_decay=1e-3, ema=0.999)
SHEET_PROMPTS = [
    "a red ball on a green meadow",
    "a blue fish on the sea",
    "a yellow star in the night sky",
    "a pink house in the snow",
    "an orange cat in a cosy room",
    "a purple rocket in the desert",
    "a white umbrella on the beach",
    "a black car in the city",
    "a green tree in the mountains",
    "three red mushrooms in the forest",
    "a brown bus in the city",
    "a blue butterfly on a green meadow",
    "two yellow hearts in the snow",
    "a pink flower in the desert",
    "an orange balloon over the sea",
    "a row of green hearts in a room",
]


@dataclass(frozen=True)
class UNetLoss:
    """no_prompt: the share of captions replaced by "". snr_cap γ: the loss at t is weighted by min(SNR_t,
    γ)/SNR_t (Hang et al. 2023, arXiv 2303.09556), since at low noise there is little to learn and much to
    lose; inf: unweighted. noisy: also by 1/ᾱ_t, as if v were predicted (Salimans and Ho 2022, arXiv 2202.00512):
    every noise level then weighs about the same, where else the noisy ones, in which a caption's thing takes shape,
    have a twelfth of the others' say (the ε-loss in things: 0.025 at t = 800, 0.30 at t = 200). middle in [0, 1): how
    much denser the middle of the schedule is drawn than its ends (`draw_timesteps`). thing: what a cell counts in or
    beside which a named thing is, others counting 1: things cover a seventh of a picture (0.136 on average) and are
    the harder part of it."""

    no_prompt: float = 0.1
    snr_cap: float = 2.0
    noisy: bool = True
    middle: float = 0.5
    thing: float = 3.0


def train(folder: Folder) -> None:
    """Train a UNet into unet/unet.safetensors; needs a finished CLIP and VAE."""
    vae, clip, tokenizer = load_vae(folder), load_clip(folder), folder.tokenizer()
    latents, captions = cached_latents(folder, vae)
    side = folder.size // vae.factor
    config = replace(folder.unet, context_dim=clip.config.text_config.hidden_size, sample_size=side)
    unet = folder.begin("unet", lambda: new_unet(config, folder.seed))
    texts, things = encode_texts(captions, clip, tokenizer), cached_things(folder, len(latents), side)
    weights, device = UNetLoss(), folder.here.device

    def loss_of(batch: int, generator: torch.Generator) -> dict[str, Tensor]:
        chosen = torch.randint(len(latents), (batch,), generator=generator)
        context = texts.context(chosen, torch.rand(batch, generator=generator) < weights.no_prompt)
        x_0, cells = latents[chosen].float(), cell_weights(things[chosen], weights.thing)
        return noise_loss(unet, x_0.to(device), context.to(device), generator, weights, cells.to(device))

    def show(path: Path) -> None:
        context = text_states(clip, tokenizer, SHEET_PROMPTS).to(device)
        shape = (len(SHEET_PROMPTS), *latents.shape[1:])
        images = vae.decode(
            sample(guided(unet, context, texts.empty), shape, device, folder.seed) / vae.config.scaling_factor
        )
        write_sheet(path, images, SHEET_PROMPTS)

    folder.train("unet", unet, SETTINGS, loss_of, show)
    folder.finish("unet", unet, **folder.facts(), config=asdict(unet.config), latents=len(latents))


@dataclass(frozen=True)
class Texts:
    """Text states (distinct, 77, d) of distinct captions, the empty prompt's last; which caption each example has."""

    states: Tensor
    which: Tensor

    @property
    def empty(self) -> Tensor:
        """The empty prompt's states (77, d)."""
        return self.states[-1].float()

    def context(self, chosen: Tensor, dropped: Tensor) -> Tensor:
        """The states (n, 77, d) of some examples' captions; where `dropped` (n,) says so, the empty prompt's."""
        return self.states[self.which[chosen].masked_fill(dropped, len(self.states) - 1)].float()


def encode_texts(captions: list[str], clip: CLIPModel, tokenizer: Tokenizer) -> Texts:
    """Encode each distinct caption once."""
    distinct, which = distinct_texts(captions)
    return Texts(text_states(clip, tokenizer, [*distinct, ""]).half(), which)


def cached_things(folder: Folder, count: int, side: int) -> Tensor:
    """Where in the first `count` pictures' latents the named things are, painted once: uint8 (count, 1, side, side),
    255 in every cell that a thing covers or that is next to such a one."""

    def find() -> Tensor:
        scenes = (folder.scene(i) for i in tqdm(range(count), "masks"))
        masks = np.stack([foreground_mask(scene, folder.size) for scene in scenes])
        covered = F.adaptive_avg_pool2d(torch.from_numpy(masks)[:, None].float(), side)
        return F.max_pool2d(covered, 3, stride=1, padding=1).round().byte()

    return folder.kept("unet/things", count, find)


def cell_weights(things: Tensor, thing: float) -> Tensor:
    """What each cell of some examples counts, (n, 1, h, w), 1 on average. things: uint8 (n, 1, h, w), 0 to 255."""
    weights = 1 + (thing - 1) * things.float() / 255
    return weights / weights.mean()


def noise_loss(
    unet: Callable[[Tensor, Tensor, Tensor], Tensor],
    x_0: Tensor,
    context: Tensor,
    generator: torch.Generator,
    weights: UNetLoss = UNetLoss(),
    cells: Tensor | None = None,
) -> dict[str, Tensor]:
    """The weighted squared error of the predicted noise. x_0 (n, 4, h, w), context (n, tokens, d), cells: what each
    cell counts (n, 1, h, w). unet(x_t, t, context): ε, with x_t and ε (n, 1, 4, h, w), one frame each."""
    t = draw_timesteps(x_0.shape[0], SCHEDULE.train_steps, weights.middle, generator)
    noise = torch.randn(x_0.shape, generator=generator).to(x_0.device)
    a = SCHEDULE.alpha_bar[t].float().to(x_0.device)[:, None, None, None]
    x_t = a.sqrt() * x_0 + (1 - a).sqrt() * noise
    predicted = unet(x_t[:, None], t.to(x_0.device), context)[:, 0].float()  # one frame each
    squares = (predicted - noise).square()
    error = (squares if cells is None else squares * cells).mean(dim=(1, 2, 3))
    snr = (a / (1 - a)).flatten()
    weight = (weights.snr_cap / snr).clamp(max=1.0) / (a.flatten() if weights.noisy else 1.0)
    return {"loss": (error * weight).mean(), "error": error.mean().detach()}


def draw_timesteps(n: int, steps: int, middle: float, generator: torch.Generator) -> Tensor:
    """n timesteps (n,) of 0 … steps−1, one from each n-th of the distribution: every batch covers all noise levels.

    With u uniform in [0, 1), t/steps = u + middle·sin(2πu)/2π: its density is 1/(1 − middle) in the middle of the
    schedule and 1/(1 + middle) at its ends; uniform for middle = 0.
    """
    u = (torch.arange(n) + torch.rand(n, generator=generator)) / n
    t = u + middle * torch.sin(2 * math.pi * u) / (2 * math.pi)
    return (t * steps).long().clamp(0, steps - 1)


def new_unet(config: UNetConfig, seed: int) -> UNet:
    """An untrained UNet, which starts from ε_θ = 0 and not from a random guess."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet = UNet(config)
    torch.nn.init.zeros_(unet.conv_out.weight)
    torch.nn.init.zeros_(unet.conv_out.bias)
    return unet


@torch.no_grad()
def sample(
    eps: Callable[[Tensor, int], Tensor], shape: tuple[int, ...], device: torch.device, seed: int = 0, steps: int = 25
) -> Tensor:
    """Scaled latents (n, 4, h, w) by DDIM (E3) from pure noise. eps(x, t): the guided prediction."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(device)
    with torch.autocast(device.type, torch.bfloat16):
        for step in denoise(eps, x, SCHEDULE.timesteps(steps), steps, SCHEDULE):
            x = step.x_s
    return x


def guided(
    unet: Callable[[Tensor, int, Tensor], Tensor], context: Tensor, empty: Tensor, scale: float = 5.0
) -> Callable[[Tensor, int], Tensor]:
    """ε(x, t) of one frame each with classifier-free guidance (E5). context (n, 77, d), empty (77, d)."""
    both = torch.cat([empty.to(context.device).expand_as(context), context])

    def eps(x: Tensor, t: int) -> Tensor:
        return classifier_free_guidance(*unet(torch.cat([x, x])[:, None], t, both)[:, 0].float().chunk(2), scale)

    return eps
