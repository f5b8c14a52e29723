"""Algorithm 1 on a tiny Stable Diffusion: chunks, frames, seeds, noise, motion, smoothing, float types."""

from pathlib import Path

import pytest
import torch
from tiny import random, refused, relative, tiny_sd

from t2vz import text_to_video
from t2vz.attention import VARIANTS
from t2vz.errors import FailedError
from t2vz.motion import NOISES, global_motion, translation_flow, warp
from t2vz.pipelines import masks
from t2vz.pipelines.randomness import Noise
from t2vz.pipelines.settings import Settings
from t2vz.pipelines.text_to_video import text_job
from t2vz.schedulers import NoiseSchedule
from t2vz.vae import to_pixels

PROMPT = "a red ball on a green meadow"
# Five steps (801, 601, 401, 201, 1); 48 × 64 pixels are 6 × 8 cells, where 128/512ths of the width are 2 cells.
QUICK = dict(steps=5, t_prime=601, t=801, height=48, width=64, motion=(128.0, -128.0))
LATENT = (4, 6, 8)


@pytest.fixture
def sd(tmp_path_factory, device):
    return tiny_sd(tmp_path_factory.getbasetemp() / "pipelines", device=device)


def make(sd, frames=5, prompt=PROMPT, **changes):
    return text_to_video(sd, prompt, frames, **{**QUICK, **changes})


def half_mask(m, height=48, width=64):
    """Foreground on the left half of the picture."""
    masks = torch.zeros(m, 1, height, width)
    masks[..., : width // 2] = 1.0
    return masks


def plain_ddim(sd, x, timesteps=(801, 601, 401, 201, 1), attention="own"):
    """Text-to-image by E3 and E5, written out: x (m, 4, h, w), m pictures unless `attention` joins them, no chunks."""
    table, context = NoiseSchedule().alpha_bar, sd.encode_text(["", PROMPT])
    for t in timesteps:
        with torch.no_grad():
            negative, text = sd.unet(x[None].expand(2, -1, -1, -1, -1), t, context, attention)
        eps = (1 - 7.5) * negative + 7.5 * text
        a_t, a_s = float(table[t]), float(table[max(t - 200, 0)])
        x = a_s**0.5 * (x - (1 - a_t) ** 0.5 * eps) / a_t**0.5 + (1 - a_s) ** 0.5 * eps
    return x


def algorithm_1(sd, noise, flow, ratio, m):
    """The paper's Algorithm 1, written out for five steps, T' = 601, T = 801; E10 with first-frame attention."""
    x_T, x_T_prime = noise["x_T"], plain_ddim(sd, noise["x_T"], [801])  # T is the first timestep: E6 starts with it
    frames = [x_T] + [
        ratio**0.5 * warp(x_T_prime, flow[k : k + 1]) + (1 - ratio) ** 0.5 * noise["forward"][k - 1 : k]
        for k in range(1, m)
    ]
    return plain_ddim(sd, torch.cat(frames), attention="first")


@pytest.mark.parametrize("convention, product", [("release", range(601, 801)), ("paper", range(602, 802))])
def test_algorithm_1_step_by_step(sd, device, convention, product):
    noise = {"x_T": random(1, *LATENT).to(device), "forward": random(3, *LATENT, seed=1).to(device)}
    flow = translation_flow(global_motion((128.0, -128.0), 4), 6, 8)
    ratio = float(NoiseSchedule().alphas[list(product)].prod())
    expected = algorithm_1(sd, noise, flow, ratio, 4)
    video = make(sd, 4, noise=noise, jump_convention=convention)
    assert relative(video.latents, expected) < 1e-5


def test_frames_are_the_decoded_latents(sd):
    video = make(sd, 3)
    with torch.no_grad():
        images = sd.vae.decode(video.latents / 0.18215)
    assert video.frames.shape == (3, 48, 64, 3) and video.latents.shape == (3, *LATENT)
    difference = torch.from_numpy(video.frames).int() - to_pixels(images).cpu().int()
    assert int(difference.abs().max()) <= 1  # decoded one by one, so rounding may differ


@pytest.mark.parametrize(
    "changes",
    [
        *({"attention": variant} for variant in VARIANTS),
        {"smooth_background": 0.6},
        {"smooth_background": 0.6, "guidance_scale": 1.0},
        {"smooth_background": 0.6, "masks": half_mask(5)},
        {"eta": 0.7},
        {"deep_cache": 3},
        {"deep_cache": 3, "t_prime": 401, "t": 401},  # E10 goes on at the timestep where E6 ended
    ],
)
def test_difference_5_chunk_size_does_not_change_the_video(sd, changes):
    whole = make(sd, **changes)
    for chunk in (1, 3, 5):
        assert relative(make(sd, chunk=chunk, **changes).latents, whole.latents) <= 1e-5


def test_difference_5_other_side_noise_repeated_from_chunk_to_chunk_depends_on_the_chunk_size(sd, device):
    """The public recipe: chunks reuse one seed, so frames in the same place of two chunks get the same noise."""
    forward, x_T = random(4, *LATENT, seed=1).to(device), random(1, *LATENT).to(device)
    by_size = [
        make(sd, noise={"x_T": x_T, "forward": forward[[i % size for i in range(4)]]}).latents for size in (1, 2)
    ]
    assert relative(*by_size) > 1e-2


@pytest.mark.parametrize(
    "changes",
    [
        *({"attention": variant} for variant in VARIANTS if variant != "all"),
        {"eta": 1.0},
        {"motion": None, "initial_noise": "progressive"},
        {"zoom": 1.2, "rotation": 10.0},
        {"smooth_background": 0.6, "masks": half_mask(1)},
    ],
)
def test_frames_1_to_k_do_not_depend_on_m(sd, changes):
    many = make(sd, 5, **changes).latents
    for k in (1, 2, 4):
        assert relative(make(sd, k, **changes).latents, many[:k]) <= 1e-5


def test_same_seed_same_video_other_seed_other_video(sd):
    first, again, other = make(sd, seed=3), make(sd, seed=3), make(sd, seed=4)
    assert torch.equal(first.latents, again.latents) and (first.frames == again.frames).all()
    assert relative(other.latents, first.latents) > 0.1


def test_noise_given_equals_noise_drawn_and_is_not_changed(sd):
    draws = Noise(0)
    noise = {"x_T": draws.frames("x_T", range(1), LATENT), "forward": draws.frames("forward", range(1, 5), LATENT)}
    before = {name: tensor.clone() for name, tensor in noise.items()}
    assert torch.equal(make(sd, noise=noise, seed=9).latents, make(sd, seed=0).latents)
    assert all(torch.equal(noise[name], before[name]) for name in noise)
    noise = {"initial": draws.frames("initial", range(5), LATENT)}
    assert torch.equal(make(sd, noise=noise, motion=None, seed=9).latents, make(sd, motion=None, seed=0).latents)


def test_torch_s_defaults_change_no_noise():
    first = Noise(4).draw("x_T", 0, LATENT)
    torch.set_default_dtype(torch.float64)
    try:
        again = Noise(4).draw("x_T", 0, LATENT)
    finally:
        torch.set_default_dtype(torch.float32)
    assert again.dtype == torch.float32 and torch.equal(first, again)


@pytest.mark.parametrize("changes", [{}, {"attention": "all"}, {"motion": None}, {"zoom": 2.0}])
def test_a_video_of_one_frame_is_the_model_s_picture(sd, device, changes):
    """Frame 1 is never warped and looks at itself: plain text-to-image, whatever the video's settings."""
    x = random(1, *LATENT, seed=2).to(device)
    name = "initial" if "motion" in changes else "x_T"
    video = make(sd, 1, noise={name: x}, **changes)
    assert relative(video.latents, plain_ddim(sd, x)) < 1e-5


def test_motion_off_own_attention_makes_independent_pictures(sd, device):
    x = random(3, *LATENT, seed=2).to(device)
    video = make(sd, 3, motion=None, attention="own", noise={"initial": x})
    for k in range(3):
        assert relative(video.latents[k : k + 1], plain_ddim(sd, x[k : k + 1])) < 1e-5


@pytest.mark.parametrize("kind", NOISES)
def test_motion_off_with_every_initial_noise_starts_at_the_top_of_the_grid(sd, kind):
    starts = []
    video = make(sd, 3, motion=None, initial_noise=kind, steps=10, on_step=starts.append)
    assert starts[0].t == 901 and len(starts) == 10 and bool(torch.isfinite(video.latents).all())
    same = relative(video.latents[1], video.latents[0]) < 1e-4
    assert same == (kind in ("shared", "residual"))  # residual at its default strength, λ = 1, is shared


@pytest.mark.parametrize("changes", [{}, {"zoom": 1.5}, {"rotation": 30.0}, {"flow_convention": "exact"}])
def test_e8_e9_all_frames_start_from_warped_and_noised_frame_1(sd, device, changes):
    """Flow by hand, from the cell's centre: 6 × 8 cells, centre (3.5, 2.5); angle and zoom grow with k."""
    forward, steps = random(4, *LATENT, seed=1).to(device), []
    make(sd, noise={"forward": forward}, on_step=steps.append, **changes)
    x_T_prime = next(step.x_s for step in steps if step.stage == "frame 1 to T'")
    x_T = next(step.x_t for step in steps if step.stage == "all frames")
    ratio = NoiseSchedule().jump_ratio(601, 801)
    y, x = torch.meshgrid(torch.arange(6).double() - 2.5, torch.arange(8).double() - 3.5, indexing="ij")
    for k in range(1, 5):
        angle = torch.deg2rad(torch.tensor(changes.get("rotation", 0.0) * k, dtype=torch.float64))
        shrink = changes.get("zoom", 1.0) ** -k
        if "flow_convention" in changes:
            shift = torch.tensor([128.0 * k / 8, -128.0 * k / 8])
        else:
            shift = torch.tensor([128.0 * k * 8 / 512 - 8 / 1024, -128.0 * k * 6 / 512 - 6 / 1024])
        flow = torch.stack(
            [
                x * (shrink - 1) + x * (angle.cos() - 1) + y * angle.sin() + shift[0],
                y * (shrink - 1) + y * (angle.cos() - 1) - x * angle.sin() + shift[1],
            ]
        )
        expected = ratio**0.5 * warp(x_T_prime, flow[None])[0] + (1 - ratio) ** 0.5 * forward[k - 1]
        torch.testing.assert_close(x_T[k], expected, rtol=1e-5, atol=1e-5)


def test_a_flow_of_the_caller_s_takes_motion_s_place(sd):
    flow = translation_flow(global_motion((128.0, -128.0), 5), 6, 8)
    by_motion = make(sd)
    assert torch.equal(make(sd, motion=None, flow=flow).latents, by_motion.latents)
    assert torch.equal(make(sd, motion=(1.0, 1.0), flow=flow).latents, by_motion.latents)
    still = make(sd, flow=torch.zeros(5, 2, 6, 8)).latents
    assert relative(still[1:], by_motion.latents[1:]) > 1e-2 and relative(still[:1], by_motion.latents[:1]) < 1e-5


def test_e13_all_foreground_changes_nothing(sd):
    smoothed = make(sd, smooth_background=0.6, masks=torch.ones(1, 1, 48, 64))
    assert relative(smoothed.latents, make(sd).latents) < 1e-6


def test_e13_alpha_0_is_off_and_needs_no_second_run(sd):
    steps = []
    video = make(sd, smooth_background=0.0, masks=half_mask(5), on_step=steps.append)
    assert torch.equal(video.latents, make(sd).latents)
    assert len(steps) == 1 + 5


@pytest.mark.parametrize("alpha", [0.6, 1.0])
def test_e13_latents_at_T_with_the_caller_s_masks(sd, device, alpha):
    """Left half foreground, grown by 5 × 5: cells 0 … 5 stay; in the rest, frame 1 is mixed in where it
    was background."""
    noise = {"x_T": random(1, *LATENT).to(device), "forward": random(2, *LATENT, seed=1).to(device)}
    before, after, flow = [], [], torch.zeros(3, 2, 6, 8)
    make(sd, 3, noise=noise, flow=flow, on_step=before.append)
    make(sd, 3, noise=noise, flow=flow, smooth_background=alpha, masks=half_mask(3), on_step=after.append)
    x_T, blended = (next(s.x_t for s in steps if s.stage == "all frames") for steps in (before, after))
    assert torch.equal(blended[..., :6], x_T[..., :6])
    torch.testing.assert_close(blended[..., 6:], alpha * x_T[:1, ..., 6:] + (1 - alpha) * x_T[..., 6:])
    assert len(after) == len(before)  # masks from the caller need no second run


def test_e13_masks_from_attention_take_a_first_run_of_all_frames(sd):
    steps = []
    make(sd, smooth_background=1.0, on_step=steps.append)
    stages = [step.stage for step in steps]
    assert stages == ["frame 1 to T'"] + ["all frames, to find the foreground"] * 5 + ["all frames"] * 5
    assert torch.equal(steps[5].x_s, make(sd).latents)  # looking does not change what is seen


@pytest.mark.parametrize("foreground, positions", [(None, [2, 3]), (("ball",), [3]), (("green", "meadow"), [6, 7])])
def test_e13_foreground_words_are_found_and_their_attention_recorded(sd, monkeypatch, foreground, positions):
    asked = []

    def all_foreground(*given):
        asked.append(given)
        return torch.ones(5, 1, 6, 8)

    monkeypatch.setattr(masks, "attention_share", all_foreground)
    make(sd, smooth_background=1.0, foreground=foreground)
    ((record, subject, text_tokens),) = asked
    assert (subject, text_tokens) == (positions, 7)
    maps = record.map(record.layers[0])
    assert maps.shape == (2, 5, 48, 77)
    torch.testing.assert_close(maps.sum(-1), torch.full((2, 5, 48), 5.0))  # five timesteps, each sums to one


WITHOUT_USE = [
    ("eta", {}),
    ("initial", {}),
    ("ancestral", {}),
    ("shared", {"eta": 0.5}),
    ("x_T", {"motion": None}),
    ("shared", {"motion": None}),
    ("shared", {"motion": None, "initial_noise": "progressive"}),
    ("initial", {"motion": None, "initial_noise": "shared"}),
]


@pytest.mark.parametrize(
    "given, words",
    [
        *(({"noise": {name: random(5, *LATENT)}, **more}, f'"{name}" has no use with') for name, more in WITHOUT_USE),
        ({"noise": {"x_T": random(1, 4, 6, 6)}}, "must have shape"),
        ({"noise": {"forward": random(5, *LATENT)}}, "must have shape"),
        ({"noise": torch.zeros(1)}, "a dict of tensors.*x_T"),
        ({"noise": {"x_T": [0.0]}}, "a dict of tensors"),
        ({"noise": {"x_T": torch.full((1, *LATENT), float("inf"))}}, '"x_T" holds a NaN or an infinity'),
        ({"noise": {"x_T": torch.ones(1, *LATENT, dtype=torch.int64)}}, '"x_T" must be of a floating type'),
        ({"flow": torch.zeros(4, 2, 6, 8)}, "flow must have shape"),
        ({"flow": torch.zeros(5, 2, 8, 6)}, "flow must have shape"),
        ({"flow": torch.full((5, 2, 6, 8), float("nan"))}, "flow holds a NaN"),
        ({"flow": torch.ones(5, 2, 6, 8, dtype=torch.int64)}, "flow must be of a floating type"),
        ({"flow": "walk.mp4"}, "flow must be a tensor; got a str"),
        ({"motion_from": "walk.mp4"}, "the video of motion_from is a str; give its frames"),
        ({"motion_from": Path("walk.mp4")}, r"the video of motion_from is a \w*Path; give its frames"),
        ({"motion_dense": True}, "motion_dense goes with motion_from"),
        ({"progress": True}, "progress must be a function; got a bool"),
        ({"on_step": 1}, "on_step must be a function; got a int"),
        ({"foreground": ("duck",)}, '"duck"'),
        ({"masks": torch.ones(2, 1, 48, 64)}, "masks must have shape"),
        ({"masks": torch.ones(5, 3, 48, 64)}, "masks must have shape"),
        ({"masks": torch.ones(5, 48, 64)}, "masks must have shape"),
        ({"masks": torch.full((1, 1, 8, 8), 255, dtype=torch.uint8)}, "divide pixels by 255"),
        ({"masks": torch.full((1, 1, 8, 8), float("nan"))}, "between 0"),
        ({"masks": [1]}, "masks must be a tensor; got a list"),
        ({"height": 0}, "height = 0"),
    ],
)
def test_an_impossible_request_is_one_line_before_any_work(sd, given, words):
    begins = {"smooth_background": 0.6, "on_step": lambda _: pytest.fail("it began")}
    refused(lambda: make(sd, **{**begins, **given}), words)


@pytest.mark.parametrize("wrong", ["weights", None, torch.nn.Identity()])
def test_what_is_no_model_is_said(wrong):
    refused(lambda: text_to_video(wrong, PROMPT), f"sd is a {type(wrong).__name__}; StableDiffusion.load")


def test_steps_are_seen_whole_and_in_order(sd):
    steps, table = [], NoiseSchedule().alpha_bar
    video = make(sd, 3, steps=10, t_prime=601, t=801, on_step=steps.append)
    assert [(s.stage, s.t, s.s) for s in steps] == (
        [("frame 1 to T", 901, 801)]
        + [("frame 1 to T'", t, t - 100) for t in (801, 701)]
        + [("all frames", t, t - 100) for t in (801, 701, 601, 501, 401, 301, 201, 101, 1)]
    )
    assert torch.equal(steps[-1].x_s, video.latents)
    for step in steps:
        a_t = float(table[step.t])
        torch.testing.assert_close(step.x_0, (step.x_t - (1 - a_t) ** 0.5 * step.eps) / a_t**0.5)
        assert len(step.x_t) == (1 if step.stage.startswith("frame 1") else 3)
    for before, after in zip(steps, steps[1:]):
        if before.stage == after.stage:
            assert torch.equal(before.x_s, after.x_t)


def test_a_long_prompt_is_cut_and_a_snapped_timestep_named_in_the_notes(sd):
    video = make(sd, 2, prompt="red ball " * 250, negative_prompt="grey " * 80, steps=7)
    cut = [note for note in video.notes if "cut off" in note]
    assert len(cut) == 2 and all("\n" not in note for note in video.notes)
    assert any("7 steps" in note and "601" in note and "801" in note for note in video.notes)
    assert make(sd, 2).notes == []


@pytest.mark.parametrize(
    "name, changes",
    [
        ("t", {"motion": None, "t": 981}),
        ("jump_convention", {"motion": None, "jump_convention": "paper"}),
        ("noise_strength", {"motion": None, "noise_strength": 3.0}),
        ("motion", {"flow": torch.zeros(2, 2, 6, 8), "motion": (50.0, 0.0)}),
        ("background_convention", {"background_convention": "paper"}),
    ],
)
def test_a_setting_that_changes_nothing_is_named_in_the_notes(sd, name, changes):
    changes = dict(changes)
    flow = changes.pop("flow", None)
    job = text_job(sd, Settings(PROMPT, frames=2, height=48, width=64, **changes), flow=flow)
    assert [note.split(" has")[0] for note in job.notes] == [name]


def test_no_size_given_is_the_model_s_own(sd):
    assert text_to_video(sd, PROMPT, 1, steps=2).frames.shape == (1, 64, 64, 3)


@pytest.mark.parametrize("size", [(8, 8), (8, 40), (24, 56)])
def test_any_multiple_of_eight_is_a_size(sd, size):
    assert make(sd, 2, height=size[0], width=size[1], smooth_background=0.5).frames.shape == (2, *size, 3)


def test_negative_prompt_and_guidance_matter(sd):
    plain = make(sd, 2)
    assert relative(make(sd, 2, negative_prompt="blue kite").latents, plain.latents) > 1e-3
    assert relative(make(sd, 2, guidance_scale=2.0).latents, plain.latents) > 1e-2
    assert torch.equal(
        make(sd, 2, guidance_scale=1.0, negative_prompt="blue kite").latents, make(sd, 2, guidance_scale=1.0).latents
    )


def test_guidance_0_is_the_negative_prompt_alone(sd):
    zero = make(sd, 2, guidance_scale=0.0, negative_prompt="blue kite")
    assert relative(zero.latents, make(sd, 2, guidance_scale=1.0, prompt="blue kite").latents) < 1e-4


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_difference_7_half_precision_is_finite_and_latents_stay_float32(tmp_path_factory, device, dtype):
    folder = tmp_path_factory.getbasetemp() / "pipelines"
    exact, half = make(tiny_sd(folder, device=device), 3), make(tiny_sd(folder, dtype, device), 3)
    assert half.latents.dtype == torch.float32 and bool(torch.isfinite(half.latents).all())
    assert relative(half.latents, exact.latents) < (0.03 if dtype == torch.float16 else 0.2)


def test_difference_7_a_nan_in_the_unet_is_an_error_that_names_step_and_frame(sd):
    sd.unet.conv_out.bias[0] = float("nan")
    with pytest.raises(FailedError) as caught:
        make(sd)
    assert "frame 1 is not finite" in str(caught.value) and "timestep 801" in str(caught.value)
    assert "\n" not in str(caught.value) and "the checkpoint is broken" in str(caught.value)
    with pytest.raises(FailedError, match="overflowed in bfloat16"):
        make(sd.to(dtype="bfloat16"))


def test_difference_7_an_infinity_in_the_vae_is_an_error_that_names_the_frame(sd, monkeypatch):
    decode, calls = sd.vae.decode, []

    def third_overflows(latents):
        calls.append(latents)
        return decode(latents) * (float("inf") if len(calls) == 3 else 1.0)

    monkeypatch.setattr(sd.vae, "decode", third_overflows)
    with pytest.raises(FailedError, match="^frame 3 is not finite.*VAE"):
        make(sd)
