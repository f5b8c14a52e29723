"""The UNet's training: its loss against the definition, the empty prompt, sampling."""

import pytest
import torch
from tiny import random, unet_config

from t2vz.text import Tokenizer
from t2vz.world.backgrounds import PLACES
from training.clip import new_clip
from training.folder import CLIPSizes
from training.tokenizer import write_tokenizer
from training.unet import (
    SCHEDULE,
    SHEET_PROMPTS,
    UNetLoss,
    cell_weights,
    draw_timesteps,
    encode_texts,
    guided,
    new_unet,
    noise_loss,
    sample,
)

TINY = unet_config((16, 16), (True, False), heads=(2, 2), context_dim=64, norm_groups=4)
ALPHA_BAR = SCHEDULE.alpha_bar


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    tokenizer = Tokenizer(write_tokenizer(tmp_path_factory.mktemp("tokenizer")))
    clip = new_clip(tokenizer, CLIPSizes(width=64, text_layers=1, image_layers=1, image_size=32, patch=16)).eval()
    return clip.requires_grad_(False), tokenizer


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
    x_0 = random(8, 4, 4, 4, seed=2)
    unet, weights = Seen(0.3), UNetLoss(snr_cap=snr_cap, noisy=noisy)
    losses = noise_loss(unet, x_0, torch.zeros(8, 3, 5), torch.Generator().manual_seed(9), weights)
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
    x_0 = random(6, 4, 4, 4, seed=5)
    unet, weights = Seen(-0.2), UNetLoss(snr_cap=float("inf"))
    losses = noise_loss(unet, x_0, torch.zeros(6, 3, 5), torch.Generator().manual_seed(1), weights)
    a = ALPHA_BAR[unet.t][:, None, None, None].double()
    noise = (unet.x.double() - a.sqrt() * x_0) / (1 - a).sqrt()
    guess = (unet.x.double() - (1 - a).sqrt() * -0.2) / a.sqrt()
    v, v_guess = a.sqrt() * noise - (1 - a).sqrt() * x_0, a.sqrt() * -0.2 - (1 - a).sqrt() * guess
    assert losses["loss"].item() == pytest.approx((v - v_guess).square().mean().item(), rel=1e-3)


def test_cells_of_things_count_more():
    """An error in one cell alone: its share of the loss is its weight."""
    things = torch.zeros(2, 1, 4, 4, dtype=torch.uint8)
    things[0, 0, 1, 2], things[1, 0, :2] = 255, 51
    weights = cell_weights(things, 3.0)
    assert weights.mean().item() == pytest.approx(1.0)
    plain = weights[0, 0, 0, 0]
    assert (weights[0, 0, 1, 2] / plain).item() == pytest.approx(3.0)
    assert (weights[1, 0, 0, 0] / plain).item() == pytest.approx(1.4)  # a fifth covered
    x_0 = torch.zeros(2, 4, 4, 4)
    for i, y, x in ((0, 1, 2), (0, 3, 3), (1, 0, 1)):
        error = torch.zeros(2, 1, 4, 4)
        error[i, 0, y, x] = 0.7
        plainly = UNetLoss(snr_cap=float("inf"), noisy=False)
        generator = torch.Generator().manual_seed(3)
        losses = noise_loss(Right(error), x_0, torch.zeros(2, 1, 1), generator, plainly, weights)
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


def test_equal_captions_share_their_states_and_dropped_ones_are_empty(text):
    clip, tokenizer = text
    texts = encode_texts(["a red ball", "a blue cat", "a red ball"], clip, tokenizer)
    assert texts.which.tolist() == [0, 1, 0] and texts.states.shape == (3, 77, 64)
    context = texts.context(torch.tensor([0, 1, 2]), torch.tensor([False, False, True]))
    for prompt, states in (("a red ball", context[0]), ("a blue cat", context[1]), ("", context[2]), ("", texts.empty)):
        alone = clip.text_model(input_ids=tokenizer.encode(prompt).ids[None]).last_hidden_state[0]
        torch.testing.assert_close(states, alone, atol=2e-3, rtol=1e-3)


def test_one_latent_is_learnt_and_sampled():
    """By the exact ε_θ of a data set of one latent, the sampler returns that latent, whatever the guidance."""
    x_0 = random(1, 4, 4, 4, seed=3)

    def oracle(x, t, context):
        a = float(ALPHA_BAR[t])
        return (x - a**0.5 * x_0) / (1 - a) ** 0.5

    eps = guided(oracle, torch.zeros(2, 77, 8), torch.zeros(77, 8), scale=3.0)
    latents = sample(eps, (2, 4, 4, 4), torch.device("cpu"), steps=10)
    # DDIM ends at ᾱ_0 < 1: a little of the first noise stays
    torch.testing.assert_close(latents, x_0.expand(2, -1, -1, -1), atol=0.15, rtol=0.0)


def test_guidance_asks_for_the_empty_prompt_first():
    """E5 written out, with a network that answers with its context."""
    context, empty = torch.full((2, 1, 1), 3.0), torch.full((1, 1), 1.0)
    eps = guided(lambda x, t, c: c[..., None, None].expand(4, 1, 4, 2, 2), context, empty, scale=5.0)
    assert (eps(torch.zeros(2, 4, 2, 2), 7) == 1.0 + 5.0 * (3.0 - 1.0)).all()


def test_sheets_ask_for_what_the_painted_world_says():
    """Each prompt ends as captions do: "on the sea", not "in the sea"."""
    known = tuple(phrase for place in PLACES.values() for phrase in (*place.phrases, place.over) if phrase)
    assert [prompt for prompt in SHEET_PROMPTS if not prompt.endswith(known)] == []


def test_a_new_unet_predicts_no_noise():
    unet = new_unet(TINY, 0)
    assert (unet(torch.randn(1, 1, 4, 8, 8), 5, torch.randn(1, 3, 64)) == 0).all()
