"""Controlled videos (E14) on a tiny Stable Diffusion: against the formula written out, chunks, shares of the steps,
several ControlNets, motion; what cannot be asked for."""

import weakref

import numpy as np
import pytest
import torch
from tiny import UNET, random, randomize, refused, relative, tiny_sd

import t2vz
from t2vz import control_video, text_to_video
from t2vz.attention import VARIANTS
from t2vz.pipelines.algorithm_1 import algorithm_1
from t2vz.pipelines.control import Control, ControlSettings, control_job, controlled, controlled_timesteps
from t2vz.schedulers import NoiseSchedule
from t2vz.unet import ControlNet, ControlNetConfig
from t2vz.video import FramesOnDisk, Video

PROMPT = "a red ball on a green meadow"
LATENT = (4, 6, 4)
GRID = [801, 601, 401, 201, 1]  # of five steps


@pytest.fixture(scope="module")
def tiny(request, tmp_path_factory):
    """A StableDiffusion and two ControlNets of random weights, which fit it."""
    device = torch.device(request.config.getoption("--device"))
    nets = [randomize(ControlNet(ControlNetConfig(**vars(UNET))), seed).to(device).eval() for seed in (11, 12)]
    return tiny_sd(tmp_path_factory.mktemp("tiny"), device=device), [net.requires_grad_(False) for net in nets]


def pictures(m=5, height=48, width=32, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (m, height, width, 3), dtype=np.uint8)


def make(tiny, control=None, **changes):
    sd, (net, _) = tiny
    options = {"steps": 3, "controlnet": net, **changes}
    return control_video(sd, PROMPT, pictures() if control is None else control, **options)


def e14_written_out(sd, nets, controls, scales, steered, shared, w=9.0, steps=5):
    """§3.4 by its formulas, all frames in one batch: steered(i, t) says whether ControlNet i acts at timestep t."""
    table, context = NoiseSchedule().alpha_bar, sd.encode_text(["", PROMPT])
    x = shared.expand(len(controls[0]), -1, -1, -1)
    c = [torch.from_numpy(one).permute(0, 3, 1, 2)[None].to(x) / 255 for one in controls]
    for t in GRID:
        both = x[None].expand(2, -1, -1, -1, -1)
        added = None
        with torch.no_grad():
            for i, net in enumerate(nets):
                s = scales[i] * steered(i, t)
                more = [s * residual for residual in net(both, t, context, c[i], "first")]
                added = more if added is None else [a + b for a, b in zip(added, more, strict=True)]
            negative, text = sd.unet(both, t, context, "first", residuals=added)
        eps = (1 - w) * negative + w * text
        a_t, a_s = float(table[t]), float(table[max(t - 1000 // steps, 0)])
        x = a_s**0.5 * (x - (1 - a_t) ** 0.5 * eps) / a_t**0.5 + (1 - a_s) ** 0.5 * eps
    return x


def test_e14_step_by_step(tiny, device):
    sd, nets = tiny
    shared = random(1, *LATENT, seed=1).to(device)
    control = pictures(3)
    expected = e14_written_out(sd, nets[:1], [control], [0.8], lambda i, t: True, shared)
    video = make(tiny, control, steps=5, control_scale=0.8, noise={"shared": shared})
    assert relative(video.latents.to(device), expected) < 1e-5
    assert video.frames.shape == (3, 48, 32, 3) and video.latents.shape == (3, *LATENT)


def test_e14_residuals_of_several_add_each_with_its_scale_and_its_share_of_the_steps(tiny, device):
    sd, nets = tiny
    shared = random(1, *LATENT, seed=1).to(device)
    controls = [pictures(3, seed=1), pictures(3, seed=2)]
    acts = [{801, 601}, {601, 401, 201}]  # of five steps: 0 to 0.4, and 0.2 to 0.8
    expected = e14_written_out(sd, nets, controls, [0.5, 1.4], lambda i, t: t in acts[i], shared)
    video = make(
        tiny,
        controls,
        controlnet=nets,
        steps=5,
        noise={"shared": shared},
        control_scale=[0.5, 1.4],
        control_start=[0.0, 0.2],
        control_end=[0.4, 0.8],
    )
    assert relative(video.latents.to(device), expected) < 1e-5


def test_controlled_timesteps_are_shares_of_the_steps():
    assert controlled_timesteps(GRID, 0.0, 1.0) == set(GRID)
    assert controlled_timesteps(GRID, 0.0, 0.4) == {801, 601}
    assert controlled_timesteps(GRID, 0.2, 0.8) == {601, 401, 201}
    assert controlled_timesteps(GRID, 0.3, 0.7) == {401}
    halves = controlled_timesteps(GRID, 0.0, 0.6), controlled_timesteps(GRID, 0.6, 1.0)
    assert halves[0] | halves[1] == set(GRID) and not halves[0] & halves[1]


def test_a_controlnet_of_zeros_leaves_the_video_uncontrolled(tiny):
    """A new ControlNet, a scale of 0, and text_to_video from the same noise: one video."""
    sd, _ = tiny
    new = ControlNet.from_unet(sd.unet).eval()
    plain = text_to_video(sd, PROMPT, 5, 3, 9.0, height=48, width=32, motion=None, initial_noise="shared").latents
    assert torch.equal(make(tiny, controlnet=new).latents, plain)
    assert torch.equal(make(tiny, control_scale=0.0).latents, plain)
    assert relative(make(tiny).latents, plain) > 1e-2


def test_all_frames_start_from_the_same_noise_and_equal_pictures_give_equal_frames(tiny):
    same = np.repeat(pictures(1), 4, axis=0)
    latents = make(tiny, same).latents
    torch.testing.assert_close(latents, latents[:1].expand_as(latents), rtol=1e-4, atol=1e-4)
    changed = same.copy()
    changed[2] = 255 - changed[2]
    difference = (make(tiny, changed).latents - latents).abs().amax(dim=(1, 2, 3))
    assert {k for k in range(4) if float(difference[k]) > 1e-3} == {2}  # each frame follows its own picture


def test_frame_1_s_picture_reaches_all_frames_through_attention(tiny):
    control = pictures()
    changed = control.copy()
    changed[0] = 255 - changed[0]
    for attention, moved in (("first", {0, 1, 2, 3, 4}), ("own", {0})):
        before, after = (make(tiny, c, attention=attention).latents for c in (control, changed))
        assert {k for k in range(5) if float((after - before)[k].abs().max()) > 1e-3} == moved


@pytest.mark.parametrize("variant", VARIANTS)
def test_difference_5_chunk_size_does_not_change_the_video(tiny, variant):
    whole = make(tiny, steps=2, attention=variant).latents
    for chunk in (1, 3):
        assert relative(make(tiny, steps=2, attention=variant, chunk=chunk).latents, whole) <= 1e-5


def test_difference_5_chunks_with_several_controlnets_and_motion(tiny):
    options = {
        "control": [pictures(seed=1), pictures(seed=2)],
        "controlnet": tiny[1],
        "motion": (128.0, 0.0),
        "t_prime": 334,
        "t": 667,
        "control_end": [0.7, 1.0],
    }
    whole = make(tiny, **options).latents
    assert relative(make(tiny, chunk=2, **options).latents, whole) <= 1e-5


def test_frames_1_to_k_do_not_depend_on_m(tiny):
    many = make(tiny).latents
    assert relative(make(tiny, pictures()[:2]).latents, many[:2]) <= 1e-5


class Slices:
    """Pictures that can only be sliced, and say how many frames anyone held at once."""

    def __init__(self, frames):
        self.frames, self.held, self.most, self.reads = frames, 0, 0, []

    def __len__(self):
        return len(self.frames)

    def __getitem__(self, which):
        part = self.frames[which].copy()
        self.reads.append((which.start, which.stop))
        self.held += len(part)
        self.most = max(self.most, self.held)
        weakref.finalize(part, self._released, len(part))
        return part

    def _released(self, count):
        self.held -= count


def test_pictures_are_read_chunk_by_chunk_and_let_go(tiny):
    source = Slices(pictures(7))
    latents = make(tiny, source, chunk=2, steps=2).latents
    assert source.reads[-8:] == 2 * [(0, 2), (2, 4), (4, 6), (6, 7)]  # two steps
    assert {stop - start for start, stop in source.reads[:-8]} <= {1}  # and the first picture, to see its size
    assert source.most <= 4 and source.held == 0
    assert torch.equal(latents, make(tiny, pictures(7), chunk=2, steps=2).latents)


def test_frames_on_disk_a_list_of_pictures_and_a_video_are_all_control(tiny):
    frames = pictures(3)
    expected = make(tiny, frames)
    with FramesOnDisk(frames) as kept:
        assert torch.equal(make(tiny, kept).latents, expected.latents)
    assert torch.equal(make(tiny, list(frames)).latents, expected.latents)
    video = make(tiny, Video(frames, fps=12.0))
    assert torch.equal(video.latents, expected.latents) and video.fps == 12.0  # the control video's rate
    assert make(tiny, Video(frames, fps=12.0), fps=3.0).fps == 3.0


def test_latents_first_then_frames_one_by_one_is_the_same_video(tiny):
    """What a command does that writes while it decodes: progress ends at its total."""
    sd, (net, _) = tiny
    told = []
    settings = ControlSettings(PROMPT, steps=3, frames=5, height=48, width=32)
    job = control_job(sd, settings, pictures(), net, progress=lambda done, total, stage: told.append((done, total)))
    frames = np.stack(list(job.pictures(algorithm_1(job))))
    assert (frames == make(tiny).frames).all()
    assert told[-1] == (5 * 3 + 5, 5 * 3 + 5) and sorted(told) == told


def test_motion_dynamics_on_request_move_frame_1_under_its_own_picture(tiny):
    """E6–E9 run with ControlNet on frame 1 alone: frame 1 is what a video of pictures like its own would have."""
    control = pictures()
    options = {"steps": 5, "motion": (128.0, 128.0), "t_prime": 601, "t": 801}
    moving = make(tiny, control, **options)
    others = np.concatenate([control[:1], 255 - control[1:]])
    assert relative(make(tiny, others, **options).latents[:1], moving.latents[:1]) <= 1e-5
    still = make(tiny, control, **{**options, "motion": (0.0, 0.0)})
    assert relative(still.latents[:1], moving.latents[:1]) <= 1e-5
    assert relative(still.latents[1:], moving.latents[1:]) > 1e-2
    assert moving.settings["motion"] == [128.0, 128.0]


def test_difference_10_paper_s_frames_start_from_warps_of_one_noise(tiny, device):
    """§3.4 with T' = T = 1000. 128/512ths are a cell of 4 and 1.5 of 6, less the release's slip."""
    steps, noise = [], random(1, *LATENT, seed=1).to(device)
    options = {"motion": (128.0, 0.0), "t_prime": 999, "t": 999, "noise": {"x_T": noise}}
    video = make(tiny, on_step=steps.append, **options)
    assert {step.stage for step in steps} == {"all frames"} and "nearest" not in "".join(video.notes)
    for k in range(3):
        assert torch.equal(steps[0].x_t[k, ..., : 4 - k], noise[0, ..., k:])


def test_smoothing_works_with_control(tiny):
    everything_is_background = torch.zeros(5, 1, 48, 32)
    options = {"steps": 5, "motion": (128.0, 0.0), "t_prime": 601, "t": 801, "masks": everything_is_background}
    plain, smooth = (make(tiny, smooth_background=a, **options).latents for a in (0.0, 0.6))
    assert relative(smooth[:1], plain[:1]) <= 1e-5 and relative(smooth[1:], plain[1:]) > 1e-2


def test_the_controlnet_is_not_asked_where_it_does_not_steer(tiny):
    """Work: a ControlNet runs at its timesteps only."""
    sd, (net, _) = tiny
    asked = []
    hook = net.register_forward_hook(lambda module, inputs, output: asked.append(inputs[1]))
    make(tiny, steps=5, control_start=0.2, control_end=0.8)
    make(tiny, steps=5, control_scale=0.0)
    hook.remove()
    assert asked == [601, 401, 201]


def test_a_controlled_unet_is_called_like_a_unet(tiny, device):
    sd, (net, _) = tiny
    x = random(2, 5, *LATENT).to(device)
    context = sd.encode_text(["", PROMPT])
    control = Control(net, pictures(), 1.0, frozenset(GRID))
    with torch.no_grad():
        for t, controls, alike in ((801, [], True), (802, [control], True), (801, [control], False)):
            eps = controlled(sd.unet, controls)(x, t, context, "first")  # 802 is not one of its steps
            assert torch.equal(eps, sd.unet(x, t, context, "first")) == alike
        condition = control.condition(1, 3, x)
    assert condition.shape == (1, 2, 3, 48, 32) and condition.dtype == x.dtype
    expected = torch.from_numpy(pictures()[1:3].astype(np.float64)).permute(0, 3, 1, 2) / 255
    torch.testing.assert_close(condition[0].cpu().double(), expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_difference_7_half_precision_is_finite_and_latents_stay_float32(dtype, tmp_path, device):
    sd = tiny_sd(tmp_path, dtype, device)
    net = randomize(ControlNet(ControlNetConfig(**vars(UNET))), 11).to(device, dtype).eval()
    video = make((sd, [net, None]), pictures(2), steps=2)
    assert video.latents.dtype == torch.float32 and bool(torch.isfinite(video.latents).all())


def test_settings_are_the_release_s_and_come_back_from_a_run_file(tiny):
    video = make(tiny, control_scale=0.7)
    settings = ControlSettings.from_dict(video.settings)
    assert settings.to_dict() == video.settings and settings.control_scale == (0.7,)
    default = ControlSettings(PROMPT)
    assert (default.steps, default.guidance_scale, default.motion, default.initial_noise) == (20, 9.0, None, "shared")
    again = control_job(tiny[0], settings, pictures(), tiny[1][0])
    assert torch.equal(algorithm_1(again).cpu(), video.latents)


def test_a_note_says_when_nothing_is_steered(tiny):
    assert not any("steers none" in note for note in make(tiny).notes)
    for change in ({"control_scale": 0}, {"control_start": 0.4, "control_end": 0.6}):
        notes = [note for note in make(tiny, **change).notes if "steers none of the 3 steps" in note]
        assert len(notes) == 1


BAD = {
    "no frames": (dict(control=pictures(0)), "no frames"),
    "one frame": (dict(control=pictures(1)), "one frame"),
    "odd sides": (dict(control=pictures(2, 50, 32)), "height = 50: a multiple of 8"),
    "another size than asked": (dict(height=64), "height = 64, but the control pictures have 48"),
    "float pictures": (dict(control=pictures(2) / 255.0), "uint8"),
    "grey pictures": (dict(control=pictures(2)[..., 0]), "uint8 \\(m, H, W, 3\\)"),
    "no pictures": (dict(control=7), "the control video is a int; give its frames"),
    "a file name": (dict(control="clip.mp4"), "the control video is a str; give its frames"),
    "a path for a ControlNet": (dict(controlnet="canny"), "load_controlnet"),
    "negative scale": (dict(control_scale=-1.0), "control_scale = -1.0"),
    "scale in words": (dict(control_scale="strong"), "control_scale = 'strong'"),
    "end before start": (dict(control_start=0.6, control_end=0.5), "start < end"),
    "end past the last": (dict(control_end=1.5), "start < end"),
    "two scales for one": (dict(control_scale=[1.0, 2.0]), "2 numbers for 1 ControlNet;"),
    "unknown attention": (dict(attention="second"), "second"),
    "noise of the wrong shape": (dict(noise={"shared": torch.zeros(1, 4, 9, 9)}), "shared"),
    "initial noise beside motion": (dict(motion=(1.0, 1.0), initial_noise="mixed"), "motion off"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_before_any_work(tiny, case):
    changes, words = BAD[case]
    steps = []
    refused(lambda: make(tiny, on_step=steps.append, **changes), words)
    assert not steps


def test_several_controls_that_do_not_go_together(tiny):
    sd, nets = tiny
    for control, words in (
        ([pictures(2), pictures(3)], "2 frames of 32×48, 3 frames of 32×48"),
        ([pictures(2), pictures(2, 32, 32)], "differ"),
        ([pictures(2)], "as many control videos"),
        (pictures(2), "as many control videos"),
    ):
        refused(lambda: make(tiny, control, controlnet=nets), words)
    refused(lambda: make(tiny, [pictures(2)] * 2, controlnet=nets, control_scale=[1, 1, 1]), "3 numbers for 2 Control")
    refused(lambda: control_job(sd, ControlSettings(PROMPT), pictures(), nets[0]), "are for 8 frames of 32×48")


def test_a_controlnet_for_another_model_is_refused(tiny):
    sd, _ = tiny
    wide = ControlNet(ControlNetConfig(**{**vars(UNET), "block_out_channels": (64, 64)}))
    refused(lambda: make(tiny, controlnet=wide.to(sd.device)), "does not fit the model")


def test_it_can_be_imported_from_the_top():
    assert t2vz.control_video is control_video and "control_video" in dir(t2vz)
    assert callable(t2vz.load_controlnet)
