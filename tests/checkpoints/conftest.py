"""Small checkpoints with random weights, made by the independent libraries, and SD 1.5's published names and
shapes."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tiny import tiny_edit_sd, tiny_sd
from transformers import CLIPTextConfig, CLIPTextModel

from t2vz.checkpoints import save_folder, save_single_file

MANIFEST = Path(__file__).parent / "data/sd15.json"

UNET_SIZES = dict(
    sample_size=8,
    in_channels=4,
    out_channels=4,
    layers_per_block=1,
    block_out_channels=(32, 64),
    down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
    up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    cross_attention_dim=16,
    attention_head_dim=8,
    norm_num_groups=32,
)
VAE_SIZES = dict(
    block_out_channels=(32, 64),
    down_block_types=("DownEncoderBlock2D",) * 2,
    layers_per_block=1,
    up_block_types=("UpDecoderBlock2D",) * 2,
    latent_channels=4,
    sample_size=16,
    norm_num_groups=32,
)
TEXT_SIZES = dict(
    vocab_size=20,
    hidden_size=16,
    intermediate_size=24,
    num_hidden_layers=2,
    num_attention_heads=1,
    max_position_embeddings=10,
    bos_token_id=18,
    eos_token_id=19,
)


@pytest.fixture(scope="session")
def manifest():
    """SD 1.5's tensors: rows (part, single-file name, its shape, folder name, its shape), extras, old VAE
    names."""
    return SimpleNamespace(**json.loads(MANIFEST.read_text()))


@pytest.fixture(scope="session")
def originals():
    """A small UNet, VAE and text tower of diffusers and transformers, norms randomised too."""
    from diffusers import AutoencoderKL, UNet2DConditionModel

    with torch.random.fork_rng():
        torch.manual_seed(11)
        models = SimpleNamespace(
            unet=UNet2DConditionModel(**UNET_SIZES),
            vae=AutoencoderKL(**VAE_SIZES),
            text=CLIPTextModel(CLIPTextConfig(**TEXT_SIZES)),
        )
        for model in vars(models).values():
            model.eval()
            for parameter in model.parameters():
                parameter.data.add_(0.1 * torch.randn_like(parameter))
    return models


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory):
    """A tokenizer of 20 words: single letters, with and without the end-of-word mark."""
    folder = tmp_path_factory.mktemp("tokenizer")
    letters = list("abcdefghi")
    words = letters + [letter + "</w>" for letter in letters] + ["<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: n for n, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return folder


@pytest.fixture(scope="session")
def diffusers_folder(originals, tokenizer_folder, tmp_path_factory):
    """The originals as diffusers and transformers save them. Not to be changed: copy it first."""
    from diffusers import DDIMScheduler

    folder = tmp_path_factory.mktemp("small")
    originals.unet.save_pretrained(folder / "unet")
    originals.vae.save_pretrained(folder / "vae")
    originals.text.save_pretrained(folder / "text_encoder")
    DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        steps_offset=1,
        set_alpha_to_one=False,
        clip_sample=False,
    ).save_pretrained(folder / "scheduler")
    shutil.copytree(tokenizer_folder, folder / "tokenizer")
    return folder


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """mine/, other/ and edit/, and each as a single file (mine.safetensors …) with tokenizer/ beside: tiny models of
    float32 with the weights of tiny_sd, of another seed, and of tiny_edit_sd. Not to be changed."""
    place = tmp_path_factory.mktemp("made")
    for name, sd in (("mine", tiny_sd(place)), ("other", tiny_sd(place, seed=1)), ("edit", tiny_edit_sd(place))):
        parts = (sd.unet, sd.vae, sd.text_encoder)
        save_folder(place / name, *parts, place / "tokenizer", dtype=torch.float32)
        save_single_file(place / f"{name}.safetensors", *parts, dtype=torch.float32)
    return place


@pytest.fixture
def folder(diffusers_folder, tmp_path):
    """A copy of diffusers' small checkpoint, to be spoilt."""
    return shutil.copytree(diffusers_folder, tmp_path / "copy")


@pytest.fixture(scope="session")
def published():
    """SD 1.5's config files as they are published, and as DreamBooth's script leaves them: unet, vae, scheduler."""
    return json.loads((MANIFEST.parent / "configs.json").read_text())
