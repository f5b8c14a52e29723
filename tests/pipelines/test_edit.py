"""Video Instruct-Pix2Pix (E15) on a tiny model: the formula, chunks, what is computed, noise, sources, bad input.

Against diffusers: tests/equivalence/test_edit.py.
"""

import json

import numpy as np
import pytest
import torch
from tiny import random, refused, relative, tiny_edit_sd, tiny_sd

from t2vz import Video, edit_video, text_to_video, trace
from t2vz.attention import VARIANTS
from t2vz.errors import FailedError
from t2vz.pipelines.denoise import denoise_ancestral
from t2vz.pipelines.edit import EditSettings, guided_by_image_and_text
from t2vz.pipelines.randomness import Noise
from t2vz.schedulers import NoiseSchedule, euler_timesteps, sigma_at
from t2vz.vae import encode_frames

INSTRUCTION = "make the red ball blue"
LATENT = (4, 4, 6)  # of 32 × 48 pixels


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("tiny")


@pytest.fixture
def sd(folder, device):
    return tiny_edit_sd(folder, device=device)


def pictures(m=4, seed=0, height=32, width=48):
    return np.random.default_rng(seed).integers(0, 256, (m, height, width, 3), dtype=np.uint8)


def edit(sd, frames=None, **changes):
    frames = pictures() if frames is None else frames
    return edit_video(sd, frames, INSTRUCTION, **{"steps": 3, **changes})


class Disk:
    """Frames that can only be read in slices, as those of a clip on disk; it writes down how many at once."""

    def __init__(self, frames):
        self.frames, self.read = frames, []

    def __len__(self):
        return len(self.frames)

    def __getitem__(self, which):
        assert isinstance(which, slice)
        self.read.append(which.stop - which.start)
        return self.frames[which]


class Watched:
    """A UNet that writes down how many predictions each call is asked for."""

    def __init__(self, unet):
        self.unet, self.config, self.batches = unet, unet.config, []

    def __call__(self, x, *arguments, **more):
        self.batches.append(len(x))
        return self.unet(x, *arguments, **more)


@torch.no_grad()
def test_e15_written_out(sd, device):
    """Three calls of the UNet a step, DDIM from its definition, one video without chunks."""
    frames, table = pictures(3), NoiseSchedule().alpha_bar
    x = torch.randn(3, *LATENT, generator=torch.Generator().manual_seed(0)).to(device)
    ours = edit(sd, frames, noise={"initial": x}, sampler="ddim", image_scale=1.6, negative_prompt="grey").latents
    images = torch.from_numpy(frames).permute(0, 3, 1, 2).float().to(device) / 255 * 2 - 1
    source = sd.vae.encode(images)
    grey, text = sd.encode_text(["grey", INSTRUCTION])[:, None]
    for t in (667, 334, 1):

        def predict(beside, context, x=x, t=t):
            return sd.unet(torch.cat([x, beside], dim=1)[None], t, context, "first")[0]

        none, image, both = predict(0 * source, grey), predict(source, grey), predict(source, text)
        eps = none + 1.6 * (image - none) + 7.5 * (both - image)
        a_t, a_s = float(table[t]), float(table[max(t - 333, 0)])
        x = a_s**0.5 * (x - (1 - a_t) ** 0.5 * eps) / a_t**0.5 + (1 - a_s) ** 0.5 * eps
    assert relative(ours, x.cpu()) < 1e-5


def test_euler_ancestral_follows_the_closed_form_of_a_linear_prediction(device):
    """ε = c·x_t makes a step z_s = (1 + (σ_down − σ_t)·c/√(σ_t²+1))·z_t + σ_up·n; the loop adds one n a step."""
    schedule, c = NoiseSchedule(), 0.6
    noises = torch.eye(7, dtype=torch.float64, device=device)  # x_T and six steps' n as unit vectors
    timesteps = euler_timesteps(schedule, 6)
    fresh = dict(zip(timesteps, noises[1:, None], strict=True))
    steps = list(denoise_ancestral(lambda x, t: c * x, noises[:1], timesteps, schedule, fresh.get))
    sigmas = [sigma_at(schedule, t) for t in timesteps] + [0.0]
    z = sigmas[0] * noises[0]
    for i, (sigma_t, sigma_s) in enumerate(zip(sigmas, sigmas[1:], strict=False)):
        up = (sigma_s**2 * (sigma_t**2 - sigma_s**2) / sigma_t**2) ** 0.5
        down = (sigma_s**2 - up**2) ** 0.5
        z = (1 + (down - sigma_t) * c / (sigma_t**2 + 1) ** 0.5) * z + up * noises[i + 1]
        torch.testing.assert_close(steps[i].x_s[0], z / (sigma_s**2 + 1) ** 0.5)
    assert [step.t for step in steps] == timesteps and steps[-1].s < 0
    torch.testing.assert_close(steps[-1].x_s, steps[-1].x_0)  # it ends with the clean latent


@pytest.mark.parametrize("sampler", ["euler_ancestral", "ddim"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_chunk_size_does_not_change_the_video(sd, variant, sampler):
    whole = edit(sd, attention=variant, sampler=sampler, steps=2, image_scale=1.5)
    for chunk in (1, 3):
        again = edit(sd, attention=variant, sampler=sampler, steps=2, image_scale=1.5, chunk=chunk)
        assert relative(again.latents, whole.latents) <= 1e-5


def test_frames_do_not_depend_on_how_many_follow_but_on_the_first(sd):
    frames = pictures(4)
    few, many = edit(sd, frames[:2]).latents, edit(sd, frames).latents
    assert relative(many[:2], few) <= 1e-5
    other = frames.copy()
    other[0] = 255 - other[0]
    assert relative(edit(sd, other).latents[3:], many[3:]) > 1e-3
    alone = edit(sd, frames, attention="own", sampler="ddim").latents
    assert relative(edit(sd, other, attention="own", sampler="ddim").latents[3:], alone[3:]) <= 1e-5


@pytest.mark.parametrize(
    "image_scale, text_scale, batch",
    [(1.0, 7.5, 2), (2.0, 2.0, 2), (1.5, 0.0, 2), (1.0, 1.0, 1), (0.0, 0.0, 1), (1.5, 7.5, 3), (0.0, 7.5, 3)],
)
@torch.no_grad()
def test_e15_a_prediction_of_weight_zero_is_not_computed_and_not_missed(sd, device, image_scale, text_scale, batch):
    x, source = (random(2, *LATENT, seed=seed).to(device) for seed in (0, 1))
    texts, unet = sd.encode_text(["", INSTRUCTION]), Watched(sd.unet)
    eps = guided_by_image_and_text(unet, texts, source, image_scale, text_scale)(x, 501)
    none, image, both = (
        sd.unet(torch.cat([x, beside], dim=1)[None], 501, texts[i : i + 1], "first")[0]
        for beside, i in ((0 * source, 0), (source, 0), (source, 1))
    )
    expected = (1 - image_scale) * none + (image_scale - text_scale) * image + text_scale * both
    assert unet.batches == [batch] and relative(eps, expected) < 1e-5


def test_noise_is_drawn_by_frame_and_each_draw_can_be_replaced(sd):
    drawn = edit(sd)
    noise = {
        "initial": Noise(0).frames("initial", range(4), LATENT),
        "ancestral": torch.stack([Noise(0).frames(f"ancestral at {t}", range(4), LATENT) for t in (999, 500, 0)]),
    }
    assert torch.equal(edit(sd, noise=noise, seed=5).latents, drawn.latents)
    for name, tensor in noise.items():
        assert relative(edit(sd, noise={**noise, name: tensor.roll(1, -1)}).latents, drawn.latents) > 1e-2
    shared = edit(sd, pictures(1).repeat(3, axis=0), initial_noise="shared", sampler="ddim").latents
    assert relative(shared[1:], shared[:1].expand(2, -1, -1, -1)) < 1e-5  # equal frames, equal noise: equal edits


@pytest.mark.parametrize("sampler", ["euler_ancestral", "ddim"])
def test_difference_10_paper_s_frames_start_from_warps_of_one_noise(sd, device, sampler):
    """§3.5 with T' = T = 1000, the default here: x_T is the noise, looked at a cell further right in each frame."""
    noise = random(1, *LATENT, seed=1).to(device)
    with trace("x_T") as run:
        video = edit(sd, motion=(512 / 6, 0.0), noise={"x_T": noise}, sampler=sampler)
    for k in range(4):
        assert torch.equal(run["x_T"][k, ..., : 6 - k], noise[0, ..., k:].cpu())
    assert relative(video.latents, edit(sd, sampler=sampler).latents) > 1e-2 and "nearest" not in "".join(video.notes)
    for wrong in ({"t_prime": 881, "t": 941}, {"eta": 0.5}):
        refused(lambda: edit(sd, motion=(12.0, 12.0), sampler="euler_ancestral", **wrong), 'for the sampler "ddim"')


def test_the_video_s_old_name_still_works(sd):
    assert torch.equal(
        edit_video(sd, frames=pictures(2), instruction=INSTRUCTION, steps=2).latents,
        edit_video(sd, pictures(2), INSTRUCTION, steps=2).latents,
    )
    for given in ({"frames": 8}, {"video": pictures(2), "frames": pictures(2)}):
        refused(lambda: edit_video(sd, instruction=INSTRUCTION, **given), "frames is the old name of video")


def test_a_source_on_disk_is_read_frame_by_frame(sd, device):
    disk = Disk(pictures())
    assert torch.equal(edit(sd, disk).latents, edit(sd).latents)
    assert set(disk.read) == {1}
    with torch.no_grad():
        images = torch.from_numpy(pictures()).permute(0, 3, 1, 2).float().to(device) / 127.5 - 1
        expected = sd.vae.encode(images)
        torch.testing.assert_close(torch.cat([*encode_frames(sd.vae, disk)]), expected, rtol=1e-4, atol=1e-5)


def test_a_video_is_taken_with_its_rate(sd):
    video = edit(sd, Video(pictures(2), fps=12.5))
    assert (video.fps, len(video)) == (12.5, 2) and edit(sd, pictures(2)).fps == 4
    assert torch.equal(video.latents, edit(sd, pictures(2)).latents)
    assert edit(sd, Video(pictures(2), fps=12.5), fps=6).fps == 6


def test_settings_survive_json_and_progress_ends_at_its_total(sd):
    told = []
    video = edit(sd, seed=3, image_scale=1.5, progress=lambda done, total, stage: told.append((done, total, stage)))
    settings = EditSettings.from_dict(json.loads(json.dumps(video.settings)))
    found = settings.prompt, settings.seed, settings.image_scale, settings.sampler
    assert found == (INSTRUCTION, 3, 1.5, "euler_ancestral")
    assert told[-1][0] == told[-1][1] == 4 * (1 + 3 + 1)
    assert [done for done, _, _ in told] == sorted(done for done, _, _ in told)
    assert {stage for *_, stage in told} == {"encoding", "all frames", "decoding"}


def test_a_trace_names_steps_by_the_nearest_whole_timestep(sd):
    with trace() as run:
        video = edit(sd, steps=4)
    assert list(run.steps("x_0")) == [999, 666, 333, 0]
    torch.testing.assert_close(run.steps("x_0")[0], video.latents)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_finite_and_latents_stay_float32(folder, device, dtype):
    video = edit(tiny_edit_sd(folder, dtype, device), sampler="ddim")
    assert video.latents.dtype == torch.float32 and bool(torch.isfinite(video.latents).all())
    assert relative(video.latents, edit(tiny_edit_sd(folder, device=device), sampler="ddim").latents) < 0.5


def test_a_nan_stops_the_edit_and_names_step_and_frame(sd, monkeypatch):
    drawn, broken = torch.zeros(3, 4, *LATENT), float("nan")
    drawn[1, 2, 0, 0, 0] = broken
    monkeypatch.setattr(Noise, "step", lambda self, name, i, *more: drawn[i])
    with pytest.raises(FailedError, match="frame 3 is not finite.*timestep 500"):
        edit(sd)


@pytest.mark.parametrize(
    "frames, said",
    [
        (pictures()[:0], "no frames"),
        (pictures().astype(np.float32), "float32"),
        (pictures()[0], "uint8"),
        (pictures(height=20), "height = 20.*16 or 24"),
        (pictures(width=50), "width = 50"),
        (None, "NoneType"),
        ("dance.mp4", "source video is a str; give its frames"),
        (pictures()[..., :1], "uint8"),
        (iter(pictures()), "iterator"),
    ],
)
def test_a_source_that_is_no_video_is_refused_in_one_line(sd, frames, said):
    refused(lambda: edit_video(sd, frames, INSTRUCTION), said)


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"instruction": " "}, "make it snow"),
        ({"image_scale": -1.0}, "-1.0"),
        ({"image_scale": float("nan")}, "nan"),
        ({"sampler": "dpm"}, "euler_ancestral, ddim"),
        ({"steps": 0}, "0"),
        ({"steps": 1001}, "1001"),
        ({"guidance_scale": -2}, "-2"),
        ({"attention": "frist"}, "frist"),
        ({"chunk": 0}, "0"),
        ({"noise": {"x_T": torch.zeros(1)}}, "no use with motion off"),
        ({"noise": {"initial": torch.zeros(3, *LATENT)}}, r"\(4, 4, 4, 6\)"),
        ({"noise": {"ancestral": torch.zeros(2, 4, *LATENT)}}, r"\(3, 4, 4, 4, 6\)"),
        ({"noise": {"ancestral": torch.zeros(3, 4, *LATENT)}, "sampler": "ddim"}, "no use"),
    ],
)
def test_an_impossible_request_is_refused_before_the_first_frame_is_encoded(sd, changes, said):
    sd.vae.encode = None  # whoever calls it fails
    request = {"instruction": INSTRUCTION, "steps": 3, **changes}
    refused(lambda: edit_video(sd, pictures(), **request), said)


def test_each_kind_of_model_is_sent_to_its_own_command(folder, sd, device):
    refused(lambda: text_to_video(sd, "a red ball"), "8 channels.*t2vz edit")
    refused(lambda: edit(tiny_sd(folder, device=device)), "4 channels.*t2vz generate.*edit=True")
