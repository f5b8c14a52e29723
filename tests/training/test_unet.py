"""The UNet's training: its loss against the definition, the empty prompt, sampling."""

from contextlib import nullcontext

import pytest
import torch
from torch.nn import functional as F

from t2vz.schedulers import NoiseSchedule
from t2vz.text import Tokenizer, encode_text
from t2vz.unet.config import UNetConfig
from t2vz.unet.unet import UNet
from t2vz.vae.config import VAEConfig
from training.clip import CLIPSizes, new_clip, text_tower
from training.common import Settings
from training.tokenizer import write_tokenizer
from training.unet import (
    AttentionForTraining,
    Examples,
    UNetLoss,
    draw_timesteps,
    make_examples,
    new_unet,
    noise_loss,
    sample,
    train_unet,
)
from training.vae import new_vae

TINY = UNetConfig(
    block_out_channels=(16, 16),
    has_attention=(True, False),
    layers_per_block=1,
    heads=(2, 2),
    context_dim=64,
    norm_groups=4,
)
ALPHA_BAR = NoiseSchedule.stable_diffusion().alpha_bar


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    tokenizer = Tokenizer(write_tokenizer(tmp_path_factory.mktemp("tokenizer")))
    clip = new_clip(tokenizer, CLIPSizes(width=64, text_layers=1, image_layers=1, image_size=32, patch=16)).eval()
    return text_tower(clip).requires_grad_(False), tokenizer


class Seen(torch.nn.Module):
    """A stand-in for the UNet that predicts a constant and remembers what it was shown."""

    def __init__(self, value=0.0):
        super().__init__()
        self.value = value

    def forward(self, x, t, context):
        self.x, self.t, self.context = x[:, 0], t, context
        return torch.full_like(x, self.value)


@pytest.mark.parametrize("noisy", [True, False])
@pytest.mark.parametrize("snr_cap", [5.0, float("inf")])
def test_loss_is_the_weighted_error_of_the_noise(snr_cap, noisy):
    x_0 = torch.randn(8, 4, 4, 4, generator=torch.Generator().manual_seed(2))
    unet, weights = Seen(0.3), UNetLoss(snr_cap=snr_cap, noisy=noisy)
    losses = noise_loss(unet, x_0, torch.zeros(8, 3, 5), ALPHA_BAR, torch.Generator().manual_seed(9), weights)
    wanted, plain = 0.0, 0.0
    for i in range(8):
        a = float(ALPHA_BAR[unet.t[i]])
        noise = (unet.x[i].double() - a**0.5 * x_0[i].double()) / (1 - a) ** 0.5  # E2 solved for the noise
        error = (noise - 0.3).square().mean().item()
        wanted += min(1.0, snr_cap * (1 - a) / a) * error / 8 / (a if noisy else 1.0)
        plain += error / 8
    assert losses["loss"].item() == pytest.approx(wanted, rel=1e-3)
    assert losses["error"].item() == pytest.approx(plain, rel=1e-3)


def test_noisy_weights_are_those_of_v_prediction():
    """|v − v̂|² for v = √ᾱ·ε − √(1−ᾱ)·x_0, with the x̂_0 that belongs to ε̂, is |ε − ε̂|²/ᾱ."""
    x_0 = torch.randn(6, 4, 4, 4, generator=torch.Generator().manual_seed(5))
    unet, weights = Seen(-0.2), UNetLoss(snr_cap=float("inf"))
    losses = noise_loss(unet, x_0, torch.zeros(6, 3, 5), ALPHA_BAR, torch.Generator().manual_seed(1), weights)
    a = ALPHA_BAR[unet.t][:, None, None, None].double()
    noise = (unet.x.double() - a.sqrt() * x_0) / (1 - a).sqrt()
    guess = (unet.x.double() - (1 - a).sqrt() * -0.2) / a.sqrt()
    v, v_guess = a.sqrt() * noise - (1 - a).sqrt() * x_0, a.sqrt() * -0.2 - (1 - a).sqrt() * guess
    assert losses["loss"].item() == pytest.approx((v - v_guess).square().mean().item(), rel=1e-3)


def test_cells_of_things_count_more():
    """An error in one cell alone: its share of the loss is its weight."""
    things = torch.zeros(2, 1, 4, 4, dtype=torch.uint8)
    things[0, 0, 1, 2], things[1, 0, :2] = 255, 51
    examples = Examples(torch.zeros(2, 4, 4, 4), torch.zeros(1, 1, 1), torch.zeros(2, dtype=torch.long), things)
    weights = examples.cell_weights(torch.tensor([0, 1]), 3.0, "cpu")
    assert weights.mean().item() == pytest.approx(1.0)
    plain = weights[0, 0, 0, 0]
    assert (weights[0, 0, 1, 2] / plain).item() == pytest.approx(3.0)
    assert (weights[1, 0, 0, 0] / plain).item() == pytest.approx(1.4)  # a fifth covered
    x_0 = torch.zeros(2, 4, 4, 4)
    for i, y, x in ((0, 1, 2), (0, 3, 3), (1, 0, 1)):
        error = torch.zeros(2, 1, 4, 4)
        error[i, 0, y, x] = 0.7
        losses = noise_loss(
            Right(error),
            x_0,
            torch.zeros(2, 1, 1),
            ALPHA_BAR,
            torch.Generator().manual_seed(3),
            UNetLoss(snr_cap=float("inf"), noisy=False),
            weights,
        )
        assert losses["loss"].item() == pytest.approx(0.49 * weights[i, 0, y, x].item() / 32, rel=1e-3)


class Right(torch.nn.Module):
    """Knows the noise in a noisy zero, and is wrong by `error` (n, 1, h, w)."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def forward(self, x, t, context):
        return x / (1 - ALPHA_BAR[t].float()).sqrt()[:, None, None, None, None] + self.error[:, None]


@pytest.mark.parametrize("middle", [0.0, 0.5])
def test_timesteps_cover_the_schedule_evenly_or_its_middle(middle):
    generator = torch.Generator().manual_seed(11)
    drawn = torch.stack([draw_timesteps(16, 1000, middle, generator) for _ in range(12_000)])
    assert drawn.min() >= 0 and drawn.max() <= 999
    assert (drawn.diff(dim=1) >= 0).all()  # one from each part of the distribution, in order
    counts = drawn.flatten().bincount(minlength=1000).reshape(100, 10).sum(dim=1) / drawn.numel() * 100
    assert counts[48:52].mean().item() == pytest.approx(1 / (1 - middle), rel=0.04)
    assert counts[[0, 1, 98, 99]].mean().item() == pytest.approx(1 / (1 + middle), rel=0.04)


def test_examples_share_states_of_equal_captions(text):
    encoder, tokenizer = text
    captions = ["a red ball", "a blue cat", "a red ball"]
    examples = make_examples(torch.zeros(3, 4, 4, 4), captions, encoder, tokenizer)
    assert examples.which.tolist() == [0, 1, 0] and examples.states.shape == (3, 77, 64)
    for prompt, states in (("a blue cat", examples.states[1]), ("", examples.states[2])):
        alone = encoder(tokenizer.encode(prompt).ids[None])[0]
        torch.testing.assert_close(states.float(), alone, atol=2e-3, rtol=1e-3)


def test_no_prompt_share(text, tmp_path, monkeypatch):
    """With share 1 every context is the empty prompt's; with 0 none is."""
    encoder, tokenizer = text
    examples = make_examples(torch.randn(2, 4, 4, 4), ["a red ball", "a blue cat"], encoder, tokenizer)
    settings = Settings(steps=1, batch=4, threads=1, learning_rate=1e-3)
    vae = new_vae(VAEConfig(block_out_channels=(16, 16), layers_per_block=1, norm_groups=4), 0)
    for share in (0.0, 1.0):
        contexts = []
        forward = UNet.forward
        with monkeypatch.context() as patch:
            patch.setattr(
                UNet, "forward", lambda self, x, t, context: contexts.append(context) or forward(self, x, t, context)
            )
            patch.setattr("training.unet.sample", lambda *_, **__: torch.zeros(1, 4, 4, 4))
            train_unet(
                new_unet(TINY, 0),
                examples,
                vae,
                encoder,
                tokenizer,
                tmp_path / str(share),
                settings,
                UNetLoss(no_prompt=share),
            )
        empty = [torch.equal(states, examples.states[-1].float()) for states in contexts[0]]
        assert empty == [share == 1.0] * 4


def test_one_latent_is_learnt_and_sampled(text):
    """Trained long enough on a single latent, the sampler returns that latent."""
    encoder, tokenizer = text
    x_0 = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(3))

    class Oracle(UNet):  # the exact ε_θ of a data set of one latent
        def forward(self, x, t, context):
            a = float(ALPHA_BAR[t])
            return (x - a**0.5 * x_0) / (1 - a) ** 0.5

    latents = sample(Oracle(TINY), encoder, tokenizer, ["a red ball", "a blue cat"], 4, steps=10, guidance_scale=3.0)
    # DDIM ends at ᾱ_0 < 1: a little of the first noise stays
    torch.testing.assert_close(latents, x_0.expand(2, -1, -1, -1), atol=0.15, rtol=0.0)


def test_attention_for_training_is_attention_with_its_gradients():
    """Against torch's own kernel in float64, forwards and backwards; on other devices that kernel is used."""
    drawn = torch.randn(3, 2, 4, 9, 8, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    results = []
    for mode in (nullcontext(), AttentionForTraining("cpu"), AttentionForTraining("cuda:0")):
        q, k, v = (x.clone().requires_grad_() for x in drawn)
        with mode:
            out = F.scaled_dot_product_attention(q, k, v)
        out.square().sum().backward()
        results.append([out, q.grad, k.grad, v.grad, type(out.grad_fn).__name__])
    fused, products, elsewhere = results
    for one, other in zip(fused[:4], products[:4]):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=1e-10)
    assert elsewhere[-1] == fused[-1] != products[-1]


def test_attention_for_training_leaves_masked_attention_alone(text):
    """The text tower's attention is causal; the sheets of samples read prompts inside the mode."""
    encoder, tokenizer = text
    wanted = encode_text(encoder, tokenizer, ["a red ball"])
    with AttentionForTraining("cpu"):
        torch.testing.assert_close(encode_text(encoder, tokenizer, ["a red ball"]), wanted, atol=0, rtol=0)
