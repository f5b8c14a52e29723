"""Training of the KL autoencoder (Rombach et al. 2022, arXiv 2112.10752, section 3.1), without a perceptual
network.

The loss of a picture x and its reconstruction x̂ is
    mean|x̂ − x|  +  Σ_s mean|pool_s(x̂ − x)|  +  mean|∇(x̂ − x)|  +  w_KL · KL(q(z|x) ‖ N(0, I))
with pool_s the means over 2×2, 4×4 and 8×8 pixels: they weigh what is wrong over an area, a colour, above
what is wrong at a single pixel; the gradient term weighs edges. A perceptual loss would need a network
trained on other data.
"""

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from t2vz.metrics.pixels import psnr
from t2vz.vae.config import VAEConfig
from t2vz.vae.vae import VAE, to_pixels

from .fit import Settings, load_network
from .folder import Folder
from .log import write_sheet
from .pictures import Pictures

SETTINGS = Settings(minutes=35, batch=8, learning_rate=8e-4, warmup=100, ema=0.999)
DECODER_SETTINGS = replace(SETTINGS, minutes=10, learning_rate=7e-4)
DECODER_NOISE = 0.05  # in units of the latents' own spread


@dataclass(frozen=True)
class VAELoss:
    """Weights of the terms beside mean|x̂ − x|. kl is per picture, summed over the latent's numbers."""

    pooled: float = 1.0
    edges: float = 1.0
    kl: float = 1e-6


def vae_losses(vae: VAE, images: Tensor, generator: torch.Generator, weights: VAELoss = VAELoss()) -> dict[str, Tensor]:
    """The losses of a batch (n, 3, H, W) in [−1, 1]: "loss", and "l1", "kl", "mse" for the log."""
    mean, log_variance = (moment.float() for moment in vae.encode_moments(images))
    noise = torch.randn(mean.shape, generator=generator).to(mean.device)
    latents = mean + torch.exp(0.5 * log_variance) * noise
    losses = picture_losses(vae.decode(latents).float() - images, weights)
    kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=(1, 2, 3)).mean()
    return {**losses, "loss": losses["loss"] + weights.kl * kl, "kl": kl.detach()}


def picture_losses(error: Tensor, weights: VAELoss) -> dict[str, Tensor]:
    """The terms that look at x̂ − x (n, 3, H, W): their weighted sum "loss", and "l1", "mse" for the log."""
    l1 = error.abs().mean()
    pooled = sum(F.avg_pool2d(error, s).abs().mean() for s in (2, 4, 8))
    edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    loss = l1 + weights.pooled * pooled + weights.edges * edges
    return {"loss": loss, "l1": l1.detach(), "mse": error.square().mean().detach()}


def new_vae(config: VAEConfig, seed: int) -> VAE:
    """An untrained VAE that starts as a codec of mean colours: from random weights a short training finds
    brightness and hardly any colour.

    Residual branches start at zero, downsamplers as the mean of 2×2 pixels, upsamplers as nearest neighbour.
    Red, green and blue travel as pairs of channels (+x, −x), because SiLU(x) − SiLU(−x) = x passes the last
    SiLU and the mean of a pair passes group norm. Latent 3 starts as the upper less the lower half of a
    cell's brightness. The posterior starts narrow (σ = e^−3), or its noise would drown the picture.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        vae = VAE(config)
        for name, module in vae.named_modules():
            if name.endswith(("conv2", "to_out.0")):
                module.weight.zero_()
                module.bias.zero_()
            elif "downsamplers" in name and name.endswith("conv"):
                module.weight.zero_()
                module.weight[:, :, :2, :2] = torch.eye(len(module.weight))[:, :, None, None] / 4
            elif "upsamplers" in name and name.endswith("conv"):
                torch.nn.init.dirac_(module.weight)
            elif name.endswith("conv_shortcut") and isinstance(module, torch.nn.Conv2d):
                torch.nn.init.orthogonal_(module.weight)
                module.weight[:8] = torch.eye(8, module.weight.shape[1])[:, :, None, None]
                module.weight[8:, :8] = 0
        colours = torch.cat([torch.eye(3), torch.full((1, 3), 1 / 3)])  # red, green, blue, brightness
        _pairs_in(vae.encoder.conv_in, colours)
        halves = torch.tensor([[1.0, 1.0], [-1.0, -1.0]]) / 4
        vae.encoder.down_blocks[-2].downsamplers[0].conv.weight[[6, 7], [6, 7], :2, :2] = halves
        _pairs_out(vae.encoder.conv_out, torch.eye(2 * config.latent_channels, 4))
        torch.nn.init.dirac_(vae.quant_conv.weight)
        vae.quant_conv.bias.zero_()
        vae.quant_conv.bias[config.latent_channels :] = -6.0
        torch.nn.init.dirac_(vae.post_quant_conv.weight)
        _pairs_in(vae.decoder.conv_in, torch.eye(4))
        _pairs_out(vae.decoder.conv_out, 0.5 * torch.eye(3, 4))  # 0.5: about the spread of pixels in [−1, 1]
    return vae


def _pairs_in(conv: torch.nn.Conv2d, mix: Tensor) -> None:
    """Let channels 2j and 2j+1 of a 3×3 convolution's output start as ± row j of mix · input."""
    signed = torch.stack([mix, -mix], dim=1).flatten(0, 1)
    conv.weight[: len(signed)] = 0
    conv.weight[: len(signed), :, 1, 1] = signed
    conv.bias[: len(signed)] = 0


def _pairs_out(conv: torch.nn.Conv2d, mix: Tensor) -> None:
    """Let a 3×3 convolution's output start as mix · (channel 2j − channel 2j+1)."""
    conv.weight.zero_()
    conv.bias.zero_()
    conv.weight[:, : 2 * mix.shape[1], 1, 1] = torch.stack([mix, -mix], dim=2).flatten(1)


def train(folder: Folder) -> None:
    """Train a VAE into vae/vae.safetensors, and measure its scaling factor: 1/σ of the latents, as SD's 0.18215 was."""
    pictures, unseen = folder.paint("training", folder.pictures), folder.paint("unseen", folder.unseen)
    vae = folder.begin("vae", lambda: new_vae(folder.vae, folder.seed))

    def loss_of(batch: int, generator: torch.Generator) -> dict[str, Tensor]:
        chosen = torch.randint(len(pictures), (batch,), generator=generator)
        return vae_losses(vae, pictures.batch(chosen, folder.here.device), generator)

    folder.train("vae", vae, SETTINGS, loss_of, lambda path: show_pairs(vae, unseen, path))
    vae.config = replace(vae.config, scaling_factor=measure_scaling_factor(vae, pictures))
    folder.finish("vae", vae, config=asdict(vae.config), psnr=measure_psnr(vae, unseen))


def load_vae(folder: Folder) -> VAE:
    """The finished VAE of a training folder, with the later decoder if there is one."""
    vae, later = folder.load("vae"), folder.path("decoder")
    if later.is_file():
        load_network(later, LatentsToImages(vae))
    return vae


def cached_latents(folder: Folder, vae: VAE) -> tuple[Tensor, list[str]]:
    """Scaled latents of the first `folder.latents` pictures, encoded once into unet/, and their captions."""
    pictures = folder.paint("training", folder.pictures).first(folder.latents)
    return folder.kept("unet/latents", len(pictures), lambda: encode_all(vae, pictures)), pictures.captions


@torch.no_grad()
def show_pairs(vae: VAE, pictures: Pictures, path: Path) -> None:
    """A sheet of 16 pictures: a row of originals above a row of reconstructions, twice."""
    images = pictures.batch(torch.arange(min(16, len(pictures))), next(vae.parameters()).device)
    again = vae.decode(vae.encode(images))
    rows = [part for pair in zip(images.split(8), again.split(8)) for part in pair]
    write_sheet(path, torch.cat(rows))


class LatentsToImages(torch.nn.Module):
    """The half of a VAE that may still learn when a UNet was trained on its latents."""

    def __init__(self, vae: VAE):
        super().__init__()
        self.post_quant_conv, self.decoder = vae.post_quant_conv, vae.decoder

    def forward(self, latents: Tensor) -> Tensor:
        return self.decoder(self.post_quant_conv(latents))


def train_decoder(folder: Folder) -> None:
    """Train the VAE's decoder further, on the UNet's latents, into decoder/decoder.safetensors.

    What a latent means stays as it is, so a UNet trained on such latents is not disturbed. A little noise is
    added, like the posterior's, so that the decoder forgives a UNet's small errors.
    """
    vae = load_vae(folder)
    latents, _ = cached_latents(folder, vae)
    pictures, unseen = folder.paint("training", folder.pictures), folder.paint("unseen", folder.unseen)
    half = folder.begin("decoder", lambda: LatentsToImages(vae), lambda facts: LatentsToImages(vae))
    device = folder.here.device

    def loss_of(batch: int, generator: torch.Generator) -> dict[str, Tensor]:
        chosen = torch.randint(len(latents), (batch,), generator=generator)
        noisy = latents[chosen].float()
        noisy = noisy + DECODER_NOISE * torch.randn(noisy.shape, generator=generator)
        error = half(noisy.to(device) / vae.config.scaling_factor).float() - pictures.batch(chosen, device)
        return picture_losses(error, VAELoss())

    folder.train("decoder", half, DECODER_SETTINGS, loss_of, lambda path: show_pairs(vae, unseen, path))
    folder.finish("decoder", half, psnr=measure_psnr(vae, unseen))


@torch.no_grad()
def measure_scaling_factor(vae: VAE, pictures: Pictures, count: int = 512) -> float:
    """1/σ over all numbers of the latents of the first pictures: it gives the UNet's latents unit
    variance."""
    device = next(vae.parameters()).device
    chosen = torch.arange(min(count, len(pictures)))
    latents = torch.cat([vae.encode(pictures.batch(part, device)).cpu() for part in chosen.split(16)])
    return 1.0 / latents.double().std().item()


@torch.no_grad()
def measure_psnr(vae: VAE, pictures: Pictures) -> float:
    """Peak signal to noise of the reconstructions as 8-bit pictures, in dB: the mean over pictures."""
    device = next(vae.parameters()).device
    parts = torch.arange(len(pictures)).split(16)
    again = torch.cat([to_pixels(vae.decode(vae.encode(pictures.batch(part, device)))).cpu() for part in parts])
    return psnr(again.numpy(), pictures.images[: len(again)])


@torch.no_grad()
def encode_all(vae: VAE, pictures: Pictures, batch: int = 32) -> Tensor:
    """Scaled latents of all pictures, for the UNet's training: float16 (count, 4, H/8, W/8) on the CPU."""
    device = next(vae.parameters()).device
    parts = []
    for part in tqdm(torch.arange(len(pictures)).split(batch), "encoding"):
        with torch.autocast(device.type, torch.bfloat16):
            latents = vae.encode(pictures.batch(part, device))
        parts.append((latents.float() * vae.config.scaling_factor).half().cpu())
    return torch.cat(parts).contiguous()
