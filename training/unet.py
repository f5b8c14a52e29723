"""Training of the UNet: predict the noise in a noisy latent (Ho et al. 2020, arXiv 2006.11239, eq. 14).

Latents are encoded once, captions too. A batch draws latents x_0, timesteps t and noise ε, forms
x_t = √ᾱ_t·x_0 + √(1−ᾱ_t)·ε (E2 from the clean latent) and asks ε_θ(x_t, t, τ) for ε. One caption in ten is
replaced by the empty prompt, which teaches the ε_∅ of classifier-free guidance (E5).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from t2vz.schedulers import NoiseSchedule, classifier_free_guidance, ddim_step
from t2vz.text import TextEncoder, Tokenizer, encode_text
from t2vz.unet.config import UNetConfig
from t2vz.unet.unet import UNet
from t2vz.vae.vae import VAE

from .common import Settings, fit
from .log import write_sheet

EMBEDDED = UNetConfig(block_out_channels=(64, 96, 96, 80), heads=(2, 4, 4, 4), context_dim=128, norm_groups=8)
SETTINGS = Settings(minutes=55, batch=16, learning_rate=8e-4, warmup=150, weight_decay=1e-3, ema=0.999)
SHEET_PROMPTS = [
    "a red ball on a green meadow",
    "a blue fish in the sea",
    "a yellow star in the night sky",
    "a pink house in the snow",
    "an orange cat in a cosy room",
    "a purple rocket in the desert",
    "a white umbrella on the beach",
    "a black car in the city",
    "a green tree in the mountains",
    "three red robots in the forest",
    "a brown bus in the city",
    "a blue butterfly on a green meadow",
    "two yellow hearts in the snow",
    "a pink flower in the desert",
    "an orange balloon over the sea",
    "a row of green cups in a room",
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


@dataclass(frozen=True)
class Examples:
    """What the UNet learns from: scaled latents (count, 4, h, w), the text states (distinct, 77, d) of the
    distinct captions, the empty prompt's last, which of them belongs to each latent (count,), and, if known, where
    the named things are: uint8 (count, 1, h, w), 0 to 255."""

    latents: Tensor
    states: Tensor
    which: Tensor
    things: Tensor | None = None

    def batch(self, chosen: Tensor, no_prompt: float, generator: torch.Generator, device: str) -> tuple[Tensor, Tensor]:
        """x_0 (n, 4, h, w) and context (n, 77, d) of some examples; a share `no_prompt` gets the empty prompt."""
        dropped = torch.rand(len(chosen), generator=generator) < no_prompt
        context = self.states[self.which[chosen].masked_fill(dropped, len(self.states) - 1)]
        return self.latents[chosen].float().to(device), context.float().to(device)

    def cell_weights(self, chosen: Tensor, thing: float, device: str) -> Tensor | None:
        """What each cell of some examples counts, (n, 1, h, w), 1 on average; None where things are not known."""
        if self.things is None:
            return None
        weights = 1 + (thing - 1) * self.things[chosen].float().to(device) / 255
        return weights / weights.mean()


def make_examples(
    latents: Tensor, captions: list[str], text_encoder: TextEncoder, tokenizer: Tokenizer, things: Tensor | None = None
) -> Examples:
    """Encode each distinct caption once."""
    distinct = {caption: i for i, caption in enumerate(dict.fromkeys(captions))}
    prompts = [*distinct, ""]
    states = [
        encode_text(text_encoder, tokenizer, prompts[i : i + 256]).half().cpu() for i in range(0, len(prompts), 256)
    ]
    which = torch.tensor([distinct[caption] for caption in captions])
    return Examples(latents, torch.cat(states), which, things)


def noise_loss(
    unet: Callable[[Tensor, Tensor, Tensor], Tensor],
    x_0: Tensor,
    context: Tensor,
    alpha_bar: Tensor,
    generator: torch.Generator,
    weights: UNetLoss = UNetLoss(),
    cell_weights: Tensor | None = None,
) -> dict[str, Tensor]:
    """The weighted squared error of the predicted noise. x_0 (n, 4, h, w), context (n, tokens, d), alpha_bar
    (1000,), cell_weights (n, 1, h, w). unet(x_t, t, context): ε, with x_t and ε (n, 1, 4, h, w), one frame each."""
    t = draw_timesteps(x_0.shape[0], len(alpha_bar), weights.middle, generator)
    noise = torch.randn(x_0.shape, generator=generator).to(x_0.device)
    a = alpha_bar[t].float().to(x_0.device)[:, None, None, None]
    x_t = a.sqrt() * x_0 + (1 - a).sqrt() * noise
    predicted = unet(x_t[:, None], t.to(x_0.device), context)[:, 0].float()  # one frame each
    squares = (predicted - noise).square()
    error = (squares if cell_weights is None else squares * cell_weights).mean(dim=(1, 2, 3))
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


class AttentionForTraining(TorchFunctionMode):
    """On CPUs, attention (E11) as two matrix products and a softmax, all in the queries' type: with heads as
    narrow as these, torch's fused kernel is so slow backwards that a whole step takes half as long again.
    Elsewhere nothing changes.

        with AttentionForTraining("cpu"):
            loss.backward()
    """

    def __init__(self, device: str):
        super().__init__()
        self.on_cpu = device.startswith("cpu")

    def __torch_function__(self, function, types, args=(), kwargs=None):
        plain = function is F.scaled_dot_product_attention and len(args) == 3 and not kwargs  # CLIP's has a mask
        if plain and self.on_cpu:
            q, k, v = args
            return ((q / math.sqrt(q.shape[-1])) @ k.transpose(-1, -2)).softmax(dim=-1) @ v
        return function(*args, **(kwargs or {}))


def new_unet(config: UNetConfig, seed: int) -> UNet:
    """An untrained UNet, which starts from ε_θ = 0 and not from a random guess."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet = UNet(config)
    torch.nn.init.zeros_(unet.conv_out.weight)
    return unet


def train_unet(
    unet: UNet,
    examples: Examples,
    vae: VAE,
    text_encoder: TextEncoder,
    tokenizer: Tokenizer,
    folder: str | Path,
    settings: Settings = SETTINGS,
    weights: UNetLoss = UNetLoss(),
) -> UNet:
    """Train `unet` in place on cached latents. vae, text_encoder, tokenizer: for the sheets of samples. Raises as
    `common.fit`."""
    alpha_bar = NoiseSchedule.stable_diffusion().alpha_bar

    def loss_of(step: int, generator: torch.Generator) -> dict[str, Tensor]:
        chosen = torch.randint(len(examples.latents), (settings.batch,), generator=generator)
        x_0, context = examples.batch(chosen, weights.no_prompt, generator, settings.device)
        cells = examples.cell_weights(chosen, weights.thing, settings.device)
        return noise_loss(unet, x_0, context, alpha_bar, generator, weights, cells)

    def show(path: Path) -> None:
        size = examples.latents.shape[-1]
        latents = sample(unet, text_encoder, tokenizer, SHEET_PROMPTS, size, seed=settings.seed, device=settings.device)
        write_sheet(path, vae.decode(latents.float() / vae.config.scaling_factor), 8, SHEET_PROMPTS)

    with AttentionForTraining(settings.device):
        return fit(unet, loss_of, folder, settings, show, "unet")


@torch.no_grad()
def sample(
    unet: Callable[[Tensor, int, Tensor], Tensor],
    text_encoder: TextEncoder,
    tokenizer: Tokenizer,
    prompts: list[str],
    size: int,
    steps: int = 25,
    guidance_scale: float = 5.0,
    seed: int = 0,
    device: str | torch.device = "cpu",
) -> Tensor:
    """Pictures' latents by DDIM (E3) with guidance (E5): prompts (n) -> scaled latents (n, 4, size, size). unet: as in
    `noise_loss`, on `device`."""
    schedule = NoiseSchedule.stable_diffusion()
    device = torch.device(device)
    context = encode_text(text_encoder, tokenizer, [*[""] * len(prompts), *prompts]).to(device)
    x = torch.randn((len(prompts), 4, size, size), generator=torch.Generator().manual_seed(seed)).to(device)
    for t in schedule.timesteps(steps):
        with torch.autocast(device.type, torch.bfloat16):
            eps = unet(torch.cat([x, x])[:, None], t, context)[:, 0].float()
        eps = classifier_free_guidance(*eps.chunk(2), guidance_scale)
        x = ddim_step(x, eps, schedule.alpha_bar_at(t), schedule.alpha_bar_at(schedule.previous(t, steps)))
    return x
