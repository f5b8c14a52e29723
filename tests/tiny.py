"""A tiny Stable Diffusion with random weights and a tiny tokenizer: every shape rule of SD 1.5, none of its size.

    sd = tiny_sd(tmp_path)                    # float32 on the CPU
    sd = tiny_sd(tmp_path, torch.float64, device, seed=3)
    sd = tiny_edit_sd(tmp_path)               # with a UNet of 8 channels, as InstructPix2Pix has

No checkpoint is read. The sizes obey what readers of single files assume (8 heads, 32 norm groups, 64 channels a head
of the text tower), so the same model can be saved in both layouts. Pictures are 8 times the latents, as in SD 1.5.
"""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from t2vz.errors import InputError
from t2vz.model import StableDiffusion
from t2vz.schedulers import NoiseSchedule
from t2vz.text import TextConfig, TextEncoder, Tokenizer
from t2vz.unet import UNet, UNetConfig
from t2vz.vae import VAE, VAEConfig


def unet_config(widths: tuple[int, ...], attention: tuple[bool, ...], layers: int = 1, **more) -> UNetConfig:
    """Sizes of a small UNet in one line: channels of each level, which of them attend, resnets per level."""
    return UNetConfig(block_out_channels=widths, has_attention=attention, layers_per_block=layers, **more)


UNET = unet_config((32, 64), (True, False), heads=(8, 8), context_dim=64, sample_size=8)
VAE_SIZES = VAEConfig(block_out_channels=(32, 32, 32, 64), layers_per_block=1, norm_groups=32)
TEXT = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 1}
CORPUS = (
    "a red ball rolls on a green meadow the blue kite flies over a grey sea and the yellow duck swims in a small pond"
).split()


def tiny_sd(
    folder: Path,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    seed: int = 0,
    unet: UNetConfig = UNET,
    vae: VAEConfig = VAE_SIZES,
    gain: float = 1.0,
) -> StableDiffusion:
    """A StableDiffusion of random weights, the same for every dtype but for rounding. folder: where its tokenizer goes.

    As with `StableDiffusion.load`, a float16 model keeps its VAE in float32.
    """
    words = tiny_tokenizer(folder)
    size = len(json.loads((words / "vocab.json").read_text(encoding="utf-8")))
    networks = [UNet(unet), VAE(vae), TextEncoder(TextConfig(vocab_size=size, **TEXT))]
    for i, network in enumerate(networks):
        randomize(network, seed * len(networks) + i, gain)
        stored = torch.float32 if dtype == torch.float16 and isinstance(network, VAE) else dtype
        network.to(device, stored).eval().requires_grad_(False)
    return StableDiffusion(*networks, Tokenizer(words), NoiseSchedule.stable_diffusion())


def tiny_edit_sd(
    folder: Path, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu", seed: int = 0
) -> StableDiffusion:
    """`tiny_sd` with a UNet that reads the source's 4 channels after the noisy latent's (E15)."""
    return tiny_sd(folder, dtype, device, seed, replace(UNET, in_channels=8))


@torch.no_grad()
def randomize(network: nn.Module, seed: int, gain: float = 1.0) -> nn.Module:
    """Fill every weight, norms and biases too: matrices N(0, gain²/inputs), norm scales 1 ± 0.1, biases ± 0.1.

    Drawn in float64, tensor by tensor in the order of the names: the same numbers in every program and float type.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, weight in sorted(network.named_parameters()):
        noise = torch.randn(weight.shape, generator=generator, dtype=torch.float64)
        if weight.ndim > 1:
            weight.copy_(noise * gain / weight[0].numel() ** 0.5)
        else:
            weight.copy_(0.1 * noise + float(name.endswith("weight")))
    return network


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Standard normal numbers, the same for a seed whatever else was drawn."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def relative(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """How far apart two tensors are: |ours − theirs| / |theirs|."""
    return float((ours - theirs).norm() / theirs.norm())


def tiny_tokenizer(folder: Path, merges: int = 60) -> Path:
    """Write vocab.json and merges.txt of a CLIP tokenizer to folder/tokenizer: all bytes, pairs learned on CORPUS."""
    words = [[*word[:-1], word[-1] + "</w>"] for word in CORPUS]
    learned = []
    for _ in range(merges):
        pairs = [pair for word in words for pair in zip(word, word[1:], strict=False)]
        if not pairs:
            break
        best = max(sorted(set(pairs)), key=pairs.count)
        learned.append(best)
        words = [_merge(word, best) for word in words]
    letters = _byte_letters()
    entries = [*letters, *(letter + "</w>" for letter in letters), *("".join(pair) for pair in learned)]
    entries += ["<|startoftext|>", "<|endoftext|>"]
    folder = Path(folder) / "tokenizer"
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {entry: number for number, entry in enumerate(entries)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *map(" ".join, learned)]) + "\n", encoding="utf-8")
    return folder


def _merge(word: list[str], pair: tuple[str, str]) -> list[str]:
    merged, i = [], 0
    while i < len(word):
        both = tuple(word[i : i + 2]) == pair
        merged.append("".join(pair) if both else word[i])
        i += 1 + both
    return merged


def _byte_letters() -> list[str]:
    """CLIP's letter for each of the 256 bytes: printable ones stand for themselves, the others from U+0100 on."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    spare = iter(range(256, 512))
    return [chr(byte) if byte in printable else chr(next(spare)) for byte in range(256)]


def refused(call: Callable, *words: str, error: type[Exception] = InputError) -> str:
    """The message of the error that `call` raises: one line, in which every one of these patterns is found."""
    with pytest.raises(error) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    for pattern in words:
        assert re.search(pattern, message), f"{pattern!r} is not in {message!r}"
    return message


def assert_same_weights(ours: nn.Module, theirs: nn.Module | dict, dtype: torch.dtype | None = None) -> None:
    """Every weight of one network is the other's, bit for bit, or as it is rounded to `dtype`; none is left over."""
    state, expected = ours.state_dict(), theirs.state_dict() if isinstance(theirs, nn.Module) else theirs
    assert state.keys() == expected.keys()
    for name, tensor in state.items():
        assert torch.equal(tensor.cpu(), expected[name].to(dtype or expected[name].dtype)), name


def rewrite(path: Path, change: Callable[[dict], dict]) -> None:
    """Save a weight file again with `change` applied to its dictionary of tensors."""
    tensors = change(load_file(path))
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, path)
