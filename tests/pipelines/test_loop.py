"""The loop around the UNet, on a stand-in model whose prediction is known: progress, snapping, guidance, failures."""

import math
import random
from types import SimpleNamespace

import pytest
import torch

from t2vz.attention import VARIANTS
from t2vz.errors import FailedError
from t2vz.motion import NOISES
from t2vz.pipelines.denoise import denoise
from t2vz.pipelines.prediction import guided_by_text
from t2vz.pipelines.settings import Settings
from t2vz.pipelines.text_to_video import generate
from t2vz.schedulers import NoiseSchedule


def square(k, height, width):
    """Where the subject stands in frame k: 2 × 2 cells that move to the right."""
    mask = torch.zeros(height, width)
    mask[height // 2 : height // 2 + 2, k : k + 2] = 1.0
    return mask


class Linear:
    """A UNet whose ε is x times a number that each prompt brings along; it writes down what it was asked.

    Its text attention: cells of `square` read the tokens 1 and 2, the subject, more than the others do.
    """

    config = SimpleNamespace(in_channels=4, out_channels=4, temporal_attention=False)

    def __init__(self):
        self.calls = []

    def __call__(self, x, t, context, attention, first_frame=0, cache=None, look=None):
        self.calls.append(
            SimpleNamespace(shape=tuple(x.shape), t=t, first_frame=first_frame, attention=attention, cache=cache)
        )
        if look is not None:  # in the square, words 1 and 2 are read 6 times as much as the others
            squares = torch.stack([square(first_frame + k, *x.shape[3:]) for k in range(x.shape[1])]).flatten(1)
            q = math.log(6) * squares[None, :, None, :, None].expand(len(x), -1, -1, -1, -1)
            k = torch.zeros(len(x), 1, 1, 77, 1)
            k[:, :, :, 1:3] = 1
            look("layer", first_frame, q, k, None)
        return x * context[:, :1, :1, None, None]


def stand_in(device, numbers=(0.5, 1.0)):
    """As much of a StableDiffusion as `generate` touches; its texts are the two numbers."""
    context = torch.tensor(numbers, device=device)[:, None, None].expand(-1, 77, 1)

    def decode(latents):
        return latents[:, :3].repeat_interleave(8, dim=-1).repeat_interleave(8, dim=-2)

    return SimpleNamespace(
        unet=Linear(),
        device=device,
        dtype=torch.float32,
        schedule=NoiseSchedule(),
        default_size=16,
        defaults={},
        inverted=None,
        vae=SimpleNamespace(
            factor=8,
            config=SimpleNamespace(scaling_factor=0.18215),
            decode=decode,
            parameters=lambda: iter([torch.zeros((), device=device)]),
        ),
        tokenizer=SimpleNamespace(
            positions=lambda prompt, words: [1, 2], encode=lambda prompt: SimpleNamespace(used=4)
        ),
        prompt_notes=lambda prompt: [],
        encode_text=lambda prompts: context,
    )


def settings(**changes):
    chosen = {"prompt": "a ball on a table", "frames": 3, "steps": 5, "height": 16, "width": 16, **changes}
    return Settings(**chosen)


def some_settings(generator):
    """Settings drawn at random, of every kind that changes the amount of work."""
    t_prime, t = sorted((generator.randrange(1000), generator.randrange(1000)))
    motion = generator.choice([None, (0.0, 0.0), (12.0, 12.0), (500.0, -3.0)])
    return dict(
        frames=generator.randint(1, 4),
        steps=generator.randint(1, 12),
        t_prime=t_prime,
        t=t,
        chunk=generator.choice([None, 1, 2, 7]),
        motion=motion,
        attention=generator.choice(list(VARIANTS)),
        smooth_background=generator.choice([0.0, 0.6]),
        eta=generator.choice([0.0, 1.0]),
        start_convention=generator.choice(["release", "paper"]),
        guidance_scale=generator.choice([1.0, 7.5]),
        initial_noise=generator.choice(NOISES) if motion is None else "independent",
    )


@pytest.mark.parametrize("seed", range(60))
def test_progress_ends_exactly_at_its_total_for_any_settings(device, seed):
    generator = random.Random(seed)
    chosen = settings(**some_settings(generator))
    m, told, steps = chosen.frames, [], []
    masks = torch.ones(1, 1, 16, 16) if generator.random() < 0.5 else None
    with_flow = generator.random() < 0.4 and chosen.initial_noise == "independent"
    flow = torch.zeros(m, 2, 2, 2) if with_flow else None
    generate(
        stand_in(device),
        chosen,
        masks=masks,
        flow=flow,
        on_step=steps.append,
        progress=lambda done, total, stage: told.append((done, total, stage)),
    )
    done = [entry[0] for entry in told]
    assert len({entry[1] for entry in told}) == 1  # the total is known from the start
    assert done == sorted(done) and done[0] == 0
    assert done[-1] == told[-1][1] == sum(len(step.x_t) for step in steps) + m  # and m to decode


@pytest.mark.parametrize("steps", range(1, 61))
def test_difference_3_any_number_of_steps_works_and_snapped_timesteps_are_reported(device, steps):
    grid = [i * (1000 // steps) + 1 for i in range(steps)]
    T, T_prime = (max((t for t in grid), key=lambda t, asked=asked: (-abs(t - asked), t)) for asked in (941, 881))
    seen = []
    video = generate(stand_in(device), settings(steps=steps), on_step=seen.append)
    assert next(step.t for step in seen if step.stage == "all frames") == T
    said = any(f"T = {T}" in note and f"T' = {T_prime}" in note for note in video.notes)
    assert said == ((T, T_prime) != (941, 881))
    assert any("same step" in note for note in video.notes) == (T == T_prime)
    alone = [step.t for step in seen if step.stage != "all frames"]
    together = [step.t for step in seen if step.stage == "all frames"]
    assert alone == [t for t in reversed(grid) if t > T_prime]
    assert together == [t for t in reversed(grid) if t <= T]


@pytest.mark.parametrize("t_prime, t", [(0, 0), (0, 999), (999, 999), (500, 501)])
def test_any_pair_of_timesteps_works(device, t_prime, t):
    for steps in (1, 2, 9):
        video = generate(stand_in(device), settings(steps=steps, t_prime=t_prime, t=t))
        assert bool(torch.isfinite(video.latents).all())


def test_guidance_scale_1_runs_half_the_batch(device):
    for scale, batch in ((1.0, 1), (7.5, 2), (0.0, 2)):
        sd = stand_in(device)
        generate(sd, settings(guidance_scale=scale))
        assert {call.shape[0] for call in sd.unet.calls} == {batch}


def test_difference_4_the_negative_prompt_is_the_first_half_and_the_prompt_the_second(device):
    """ε_∅ = 0.5·x and ε_τ = 1·x: E5 gives (0.5 + w·0.5)·x, and only the prompt's at w = 1."""
    x = torch.randn(2, 4, 2, 2, generator=torch.Generator().manual_seed(0)).to(device)
    sd = stand_in(device)
    for scale in (0.0, 1.0, 3.0):
        eps = guided_by_text(sd.unet, sd.encode_text(None), scale)(x, 501)
        torch.testing.assert_close(eps, (0.5 + scale * 0.5) * x)


def test_difference_6_frame_1_is_denoised_alone_only_down_to_T_prime(device):
    """The public code runs all 50 steps for frame 1 first; x_T and x_T' need 6 of them, 981 … 881's five
    and T's one."""
    sd = stand_in(device)
    generate(sd, settings(steps=50, frames=8, chunk=None))
    alone = [call.t for call in sd.unet.calls if call.shape[1] == 1]
    assert alone == [981, 961, 941, 921, 901]
    assert [call.t for call in sd.unet.calls if call.shape[1] == 8] == list(range(941, 0, -20))


def test_difference_9_paper_convention_draws_frame_1_at_T(device):
    """Algorithm 1: x^1_T ~ N(0, I), then Δt: three steps, 941 … 901, where the programs take five from 981."""
    sd, noise, steps = stand_in(device), torch.randn(1, 4, 2, 2, generator=torch.Generator().manual_seed(0)), []
    noise = noise.to(device)
    asked = settings(steps=50, frames=2, start_convention="paper")
    video = generate(sd, asked, noise={"x_T": noise}, on_step=steps.append)
    assert [(s.stage, s.t) for s in steps if len(s.x_t) == 1] == [("frame 1 to T'", t) for t in (941, 921, 901)]
    start = next(step.x_t for step in steps if step.stage == "all frames")
    assert torch.equal(steps[0].x_t, noise) and torch.equal(start[:1], noise) and not video.notes


def test_difference_6_other_side_the_public_code_s_order_needs_45_calls_more(device):
    """All 50 steps of frame 1, kept where they are wanted, give the same x_T and x_T'."""
    sd, steps = stand_in(device), []
    generate(sd, settings(steps=50, frames=2), on_step=steps.append)
    x_T, x_T_prime = steps[1].x_s, steps[4].x_s
    kept = {}
    whole = list(
        denoise(
            guided_by_text(sd.unet, sd.encode_text(None), 7.5), steps[0].x_t, sd.schedule.timesteps(50), 50, sd.schedule
        )
    )
    for step in whole:
        kept[step.s] = step.x_s
    assert len(whole) - 5 == 45
    torch.testing.assert_close(kept[941], x_T)
    torch.testing.assert_close(kept[881], x_T_prime)


@pytest.mark.parametrize(
    "chunk, calls", [(None, [(0, 7)]), (3, [(0, 3), (3, 3), (6, 1)]), (7, [(0, 7)]), (1, [(k, 1) for k in range(7)])]
)
def test_chunks_cover_all_frames_in_order_with_one_cache_per_timestep(device, chunk, calls):
    sd = stand_in(device)
    generate(sd, settings(frames=7, chunk=chunk, motion=None))
    assert [(call.first_frame, call.shape[1]) for call in sd.unet.calls] == calls * 5
    caches = {t: {id(call.cache) for call in sd.unet.calls if call.t == t} for t in (801, 601)}
    assert all(len(ids) == 1 for ids in caches.values())
    assert (sd.unet.calls[0].cache is None) == (len(calls) == 1)


@pytest.mark.parametrize("frame, t, chunk", [(0, 801, None), (2, 401, None), (2, 401, 1), (1, 1, 2)])
def test_difference_7_a_nan_stops_at_once_and_names_step_and_frame(device, frame, t, chunk):
    sd = stand_in(device)
    linear, told = sd.unet, []

    class Broken(Linear):
        def __call__(self, x, at, context, attention, first_frame=0, cache=None, look=None):
            eps = linear(x, at, context, attention, first_frame, cache, look).clone()
            if at == t and first_frame <= frame < first_frame + x.shape[1]:
                eps[:, frame - first_frame, 0, 0, 0] = float("nan")
            return eps

    sd.unet = Broken()
    with pytest.raises(FailedError) as caught:
        chosen = settings(motion=None, chunk=chunk)
        generate(sd, chosen, progress=lambda done, total, stage: told.append(done))
    assert f"frame {frame + 1} is not finite" in str(caught.value) and f"timestep {t}" in str(caught.value)
    assert told[-1] == 3 * [801, 601, 401, 201, 1].index(t)  # the broken step is not counted as done


def test_e10_denoise_follows_the_closed_form_of_a_linear_prediction(device):
    """ε = c·x makes every DDIM step a factor: √(ᾱ_s/ᾱ_t)·(1 − c·√(1−ᾱ_t)) + c·√(1−ᾱ_s)."""
    schedule, c, factor = NoiseSchedule(), 0.7, 1.0
    x = torch.ones(2, 4, 1, 1, dtype=torch.float64, device=device)
    steps = list(denoise(lambda x, t: c * x, x, schedule.timesteps(8), 8, schedule))
    for t in (876, 751, 626, 501, 376, 251, 126, 1):
        a_t, a_s = float(schedule.alpha_bar[t]), float(schedule.alpha_bar[max(t - 125, 0)])
        factor *= (a_s / a_t) ** 0.5 * (1 - c * (1 - a_t) ** 0.5) + c * (1 - a_s) ** 0.5
    torch.testing.assert_close(steps[-1].x_s, factor * x)
    assert bool((x == 1.0).all()) and [step.s for step in steps][-1] == -124


def test_eta_gives_frame_1_the_same_noise_in_every_stage_and_every_frame_its_own(device):
    """With ε = 0 a step leaves √(ᾱ_s/ᾱ_t)·x_t + σ·z, so z can be read off."""
    steps, schedule = [], NoiseSchedule()
    generate(stand_in(device, numbers=(0.0, 0.0)), settings(eta=1.0, t_prime=401, t=801, steps=5), on_step=steps.append)
    noises = {}
    for step in steps:
        a_t, a_s = schedule.alpha_bar_at(step.t), schedule.alpha_bar_at(step.s)
        sigma = ((1 - a_s) / (1 - a_t) * (1 - a_t / a_s)) ** 0.5
        noises[step.stage, step.t] = (step.x_s - (a_s / a_t) ** 0.5 * step.x_t) / sigma
    for t in (801, 601):
        torch.testing.assert_close(noises["frame 1 to T'", t][0], noises["all frames", t][0], rtol=1e-4, atol=1e-4)
    drawn = torch.cat([noise for (stage, _), noise in noises.items() if stage == "all frames"])
    assert len(drawn) == 15 and float(torch.corrcoef(drawn.flatten(1)).triu(1).abs().max()) < 0.99
    assert float(drawn.var()) == pytest.approx(1.0, abs=5 * (2 / drawn.numel()) ** 0.5)


@pytest.mark.parametrize("chunk", [None, 1, 2, 3])
def test_e13_masks_from_attention_blend_outside_the_subject_whatever_the_chunk(device, chunk):
    """16 × 12 cells; the subject moves by a cell a frame. Release: frame 1's subject is left out as well."""
    chosen = dict(frames=3, height=128, width=96, smooth_background=0.6, t_prime=601, t=801, motion=None, chunk=chunk)
    steps = []
    generate(stand_in(device), settings(**chosen), on_step=steps.append)
    x_T, blended = (
        next(s.x_t for s in steps if s.stage == stage) for stage in ("all frames, to find the foreground", "all frames")
    )
    for k in range(3):
        keep = torch.zeros(16, 12, dtype=torch.bool, device=device)
        for i in (0, k):
            keep[6:12, max(i - 2, 0) : i + 4] = True  # 2 × 2 cells grown by 2 on every side
        expected = torch.where(keep, x_T[k], 0.6 * x_T[0] + 0.4 * x_T[k])
        torch.testing.assert_close(blended[k], expected, rtol=1e-5, atol=1e-5)
