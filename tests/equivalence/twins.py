"""Twins: diffusers' networks, schedulers and pipeline around the very weights of a t2vz model. Only tests import this.

Sizes are written down here in diffusers' words, independently of t2vz/checkpoints.
"""

import sys
import warnings
from dataclasses import asdict

import torch
from diffusers import AutoencoderKL, ControlNetModel, DDIMScheduler, TextToVideoZeroPipeline, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor2_0
from tiny import unet_config
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from t2vz.unet import UNetConfig

zero = sys.modules[TextToVideoZeroPipeline.__module__]  # where it lies differs between diffusers' releases

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
UNCHECKED = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
# For one call of a network, relative L2. Promised are 1e-5 and 1e-9; float64 is held to what rounding alone explains.
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}
SD15_TOPOLOGY = UNetConfig(block_out_channels=(32, 64, 128, 128), heads=(8, 8, 8, 8), context_dim=24)
# widths whose halves are no powers of two: the frequencies of the time embedding round differently there
ODD_HEADS = unet_config((24, 48, 72), (False, True, True), heads=(2, 4, 6), context_dim=20, norm_groups=8)
PROMPT, NEGATIVE = "a red ball rolls on a green meadow", "grey, blurry"


def relative(ours: Tensor, theirs: Tensor) -> float:
    """Relative L2 error ‖ours − theirs‖ / ‖theirs‖, taken in float64."""
    assert ours.shape == theirs.shape, f"shapes differ: {tuple(ours.shape)} and {tuple(theirs.shape)}"
    ours, theirs = ours.detach().cpu().double(), theirs.detach().cpu().double()
    return float((ours - theirs).norm() / theirs.norm())


def unet_options(config) -> dict:
    """A UNetConfig in the words of UNet2DConditionModel."""
    attention = config.has_attention
    return {
        "in_channels": config.in_channels,
        "out_channels": config.out_channels,
        "sample_size": config.sample_size,
        "block_out_channels": tuple(config.block_out_channels),
        "layers_per_block": config.layers_per_block,
        "down_block_types": tuple("CrossAttnDownBlock2D" if a else "DownBlock2D" for a in attention),
        "up_block_types": tuple("CrossAttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attention)),
        "cross_attention_dim": config.context_dim,
        "attention_head_dim": tuple(config.heads),
        "norm_num_groups": config.norm_groups,
    }


def control_options(config) -> dict:
    """A ControlNetConfig in the words of ControlNetModel."""
    options = unet_options(config) | {
        "conditioning_channels": config.condition_channels,
        "conditioning_embedding_out_channels": config.condition_out_channels,
    }
    return {
        name: value for name, value in options.items() if name not in ("out_channels", "sample_size", "up_block_types")
    }


def vae_options(config) -> dict:
    """A VAEConfig in the words of AutoencoderKL."""
    levels = len(config.block_out_channels)
    return {
        "in_channels": config.in_channels,
        "out_channels": config.in_channels,
        "latent_channels": config.latent_channels,
        "block_out_channels": tuple(config.block_out_channels),
        "down_block_types": ("DownEncoderBlock2D",) * levels,
        "up_block_types": ("UpDecoderBlock2D",) * levels,
        "layers_per_block": config.layers_per_block,
        "norm_num_groups": config.norm_groups,
        "scaling_factor": config.scaling_factor,
    }


def twin(theirs: type[nn.Module], options: dict, ours: nn.Module) -> nn.Module:
    """Build `theirs` without memory and give it our tensors themselves: every name and shape must agree."""
    with torch.device("meta"):
        module = theirs(**options)
    module.load_state_dict(ours.state_dict(), strict=True, assign=True)
    return module.eval().requires_grad_(False)


def unet_twin(unet) -> UNet2DConditionModel:
    return twin(UNet2DConditionModel, unet_options(unet.config), unet)


def control_twin(controlnet) -> ControlNetModel:
    return twin(ControlNetModel, control_options(controlnet.config), controlnet)


def vae_twin(vae) -> AutoencoderKL:
    return twin(AutoencoderKL, vae_options(vae.config), vae)


def text_twin(text_encoder) -> CLIPTextModel:
    theirs = CLIPTextModel(CLIPTextConfig(**asdict(text_encoder.config)))
    state = {name.removeprefix("text_model."): tensor for name, tensor in text_encoder.state_dict().items()}
    tower = getattr(theirs, "text_model", theirs)  # transformers 4 has one level more
    tower.load_state_dict(state, strict=True, assign=True)
    return theirs.eval().requires_grad_(False)


def ddim(tables: torch.dtype = torch.float32) -> DDIMScheduler:
    """Stable Diffusion 1.5's sampler. It keeps its tables in float32; float64 puts exact ones in their place."""
    scheduler = DDIMScheduler(**BETAS, set_alpha_to_one=False, clip_sample=False, timestep_spacing="leading")
    return exact_tables(scheduler) if tables == torch.float64 else scheduler


def exact_tables(scheduler):
    """Replace a scheduler's float32 tables by float64 ones of the same formula."""
    scheduler.betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    scheduler.alphas = 1.0 - scheduler.betas
    scheduler.alphas_cumprod = scheduler.alphas.cumprod(0)
    if hasattr(scheduler, "final_alpha_cumprod"):
        scheduler.final_alpha_cumprod = scheduler.alphas_cumprod[0]
    return scheduler


def pipeline(unet, vae, text_encoder, tokenizer, tables: torch.dtype = torch.float32) -> zero.TextToVideoZeroPipeline:
    """TextToVideoZeroPipeline of parts that are diffusers' and transformers' already."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = zero.TextToVideoZeroPipeline(vae, text_encoder, tokenizer, unet, ddim(tables), **UNCHECKED)
    made.set_progress_bar_config(disable=True)
    return made


def clip_words(tokenizer) -> CLIPTokenizer:
    """transformers' tokenizer of a folder."""
    return CLIPTokenizer.from_pretrained(str(tokenizer), model_max_length=77, local_files_only=True)


def parts(sd, tokenizer) -> dict:
    """A StableDiffusion's weights in the classes that their pipelines are made of. tokenizer: its folder."""
    networks = {"unet": unet_twin(sd.unet), "vae": vae_twin(sd.vae), "text_encoder": text_twin(sd.text_encoder)}
    return networks | {"tokenizer": clip_words(tokenizer)}


def pipeline_twin(sd, tokenizer, tables: torch.dtype = torch.float32) -> zero.TextToVideoZeroPipeline:
    """TextToVideoZeroPipeline around a StableDiffusion's weights. tokenizer: its folder."""
    return pipeline(**parts(sd, tokenizer), tables=tables)


def cross_frame(unet: UNet2DConditionModel | ControlNetModel, attention: str, videos: int = 2) -> None:
    """Set diffusers' attention processors for "own" or "first", for batches of so many videos, as guidance has 2."""
    first = zero.CrossFrameAttnProcessor2_0(batch_size=videos)
    unet.set_attn_processor(first if attention == "first" else AttnProcessor2_0())


@torch.no_grad()
def predict(unet: UNet2DConditionModel, x: Tensor, t: int, context: Tensor, attention: str = "own") -> Tensor:
    """Call their UNet as we call ours: x (b, f, c, h, w), context (b, tokens, dim) -> ε like x."""
    b, f = x.shape[:2]
    cross_frame(unet, attention)
    eps = unet(x.flatten(0, 1), t, encoder_hidden_states=context.repeat_interleave(f, dim=0)).sample
    return eps.unflatten(0, (b, f))


@torch.no_grad()
def vae_errors(vae, theirs: AutoencoderKL, images: Tensor, latents: Tensor | None = None) -> dict[str, float]:
    """Relative errors of the posterior's mean and log-variance, and of decoding latents (None: the mean)."""
    posterior = theirs.encode(images).latent_dist
    mean, log_variance = vae.encode_moments(images)
    latents = mean if latents is None else latents
    decoded = relative(vae.decode(latents), theirs.decode(latents).sample)
    errors = {"mean": relative(mean, posterior.mean), "log-variance": relative(log_variance, posterior.logvar)}
    return errors | {"decode": decoded}


@torch.no_grad()
def control_errors(controlnet, theirs: ControlNetModel, x, t, context, condition, attention, scale=1.0) -> list[float]:
    """Relative error of every residual of one call, for a guidance batch of two halves; theirs has its processors."""
    ours = controlnet(x, t, context, condition, attention, scale=scale)
    given = (context.repeat_interleave(x.shape[1], dim=0), condition[0].repeat(2, 1, 1, 1), scale)
    down, middle = theirs(x.flatten(0, 1), t, *given, return_dict=False)
    return [relative(a, b) for a, b in zip(ours, (*down, middle), strict=True)]


def noise_for(frames, height, width, seed=0) -> dict[str, Tensor]:
    """x_T for frame 1, and the forward jump's noise for the others. height, width in pixels."""
    generator = torch.Generator().manual_seed(seed)
    shape = (4, height // 8, width // 8)
    return {
        "x_T": torch.randn(1, *shape, generator=generator, dtype=torch.float64),
        "forward": torch.randn(frames - 1, *shape, generator=generator, dtype=torch.float64),
    }


def text_to_video(pipe, monkeypatch, prompt: str, noise: dict[str, Tensor], output: str = "latent", **options):
    """Run their pipeline with our noise: x_T as its latents, "forward" in place of its only other random draw."""
    draws = [noise["forward"]]

    def given(shape, generator=None, device=None, dtype=None, layout=None):
        draw = draws.pop()
        assert tuple(shape) == tuple(draw.shape)
        return draw.to(device, dtype)

    dtype = pipe.unet.dtype
    with monkeypatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setattr(zero, "randn_tensor", given)
        frames = noise["forward"].shape[0] + 1
        made = pipe(prompt, frames, latents=noise["x_T"].to(dtype), output_type=output, **options).images
    assert not draws, "their forward noise was never drawn"
    return made
