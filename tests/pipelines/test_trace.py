"""Tracing: what is kept is what was computed, and computing it changes nothing."""

import re
import threading

import pytest
import torch
from einops import rearrange
from tiny import random, refused, tiny_sd

import t2vz
from t2vz import text_to_video
from t2vz.attention import VARIANTS, cross_frame_weights, frames_seen
from t2vz.motion import global_motion, translation_flow
from t2vz.pipelines.algorithm_1 import algorithm_1
from t2vz.pipelines.masks import AttentionRecord, foreground_from_attention
from t2vz.pipelines.settings import Settings
from t2vz.pipelines.text_to_video import text_job
from t2vz.pipelines.trace import NAMES, layer_size, show
from t2vz.schedulers import NoiseSchedule

PROMPT = "a red ball on a green meadow"
# Five steps (801, 601, 401, 201, 1); 48 × 64 pixels are 6 × 8 cells.
QUICK = dict(steps=5, t_prime=601, t=801, height=48, width=64, motion=(128.0, -128.0))
TABLE = NoiseSchedule().alpha_bar
LAYER = "up_blocks.1.attentions.0.transformer_blocks.0.attn1"


@pytest.fixture
def sd(tmp_path_factory, device):
    return tiny_sd(tmp_path_factory.getbasetemp() / "trace", device=device)


def make(sd, frames=4, **changes):
    return text_to_video(sd, PROMPT, frames, **{**QUICK, **changes})


def traced(sd, *patterns, points=None, **changes):
    with t2vz.trace(*patterns, points=points) as run:
        video = make(sd, **changes)
    return video, run


@pytest.mark.parametrize(
    "changes, points",
    [
        ({}, None),
        ({"chunk": 2}, [(0.5, 0.5), (1.0, 0.0)]),
        ({"motion": None, "eta": 1.0}, [(0.2, 0.9)]),
        ({"attention": "causal", "chunk": 2, "smooth_background": 0.6}, None),
    ],
    ids=str,
)
def test_a_trace_of_everything_changes_no_bit(sd, changes, points):
    changes = {"frames": 3, **changes}
    plain = make(sd, **changes)
    video, run = traced(sd, "*", points=points, **changes)
    assert torch.equal(video.latents, plain.latents) and (video.frames == plain.frames).all()
    assert torch.equal(run["latents"], plain.latents) and all(run[name].device.type == "cpu" for name in run.names)
    again = make(sd, **changes)
    assert torch.equal(again.latents, plain.latents), "and nothing stays behind"


def test_e6_to_e9_from_noise_to_x_T(sd):
    _, run = traced(sd)
    flow = translation_flow(global_motion(QUICK["motion"], 4), 6, 8)
    assert torch.equal(run["flow"], flow)
    assert torch.equal(run["x_t/frame 1 to T'/801"], run["noise/x_T"]), "T is the grid's first step here"
    # 128/512ths of 6 × 8 cells a frame are 2 cells right and 1.5 up, less the release's slip: read row by row.
    for k, warped in enumerate(run["warped"], start=1):
        dx, dy = flow[k, :, 0, 0]
        for y, x in [(3, 2), (0, 0), (5, 7)]:
            row, column = (int(torch.floor(p + d + 0.5)) for p, d in ((y, dy), (x, dx)))
            if 0 <= row < 6 and 0 <= column < 8:
                assert torch.equal(warped[:, y, x], run["x_T'"][0, :, row, column])
    r = float(TABLE[800] / TABLE[600])  # the release's slice, 601 … 800
    torch.testing.assert_close(run["forward"], r**0.5 * run["warped"] + (1 - r) ** 0.5 * run["noise/forward"])
    assert torch.equal(run["x_T"], torch.cat([run["noise/x_T"], run["forward"]]))


def test_e3_x_0_and_the_next_x_t_follow_from_x_t_and_eps(sd):
    video, run = traced(sd, "x_t/all*", "eps/all*", "x_0/all*", frames=2)
    x_t, eps, x_0 = (run.steps(name) for name in ("x_t", "eps", "x_0"))
    assert list(x_t) == list(eps) == list(x_0) == [801, 601, 401, 201, 1]
    after = [*list(x_t.values())[1:], video.latents]
    for (t, x), following in zip(x_t.items(), after, strict=True):
        a, s = float(TABLE[t]), float(TABLE[max(t - 200, 0)])
        torch.testing.assert_close(x_0[t], (x - (1 - a) ** 0.5 * eps[t]) / a**0.5)
        torch.testing.assert_close(following, s**0.5 * x_0[t] + (1 - s) ** 0.5 * eps[t])


def test_e3_e4_what_the_samplers_add_is_noise_by_stage_and_timestep(sd):
    noise = random(5, 2, 4, 6, 8)
    _, run = traced(sd, "noise/*", frames=2, eta=0.5, noise={"eta": noise})
    assert [*run.steps("noise/eta")] == [801, 601, 401, 201, 1]
    assert torch.equal(torch.stack([*run.steps("noise/eta").values()]), noise)
    assert torch.equal(run["noise/eta/frame 1 to T'/801"], noise[0, :1])


def test_e5_eps_is_the_networks_own_guided(sd):
    _, run = traced(sd, "x_t/all frames/401", "eps/all frames/401", frames=2)
    both = run["x_t/all frames/401"].to(sd.device).expand(2, -1, -1, -1, -1)
    negative, text = sd.unet(both, 401, sd.encode_text(["", PROMPT]), "first").cpu()
    torch.testing.assert_close(run["eps/all frames/401"], negative + 7.5 * (text - negative), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("variant", VARIANTS)
def test_e12_attention_maps_are_softmax_of_the_layers_queries_and_keys(sd, variant):
    module = sd.unet.up_blocks[1].attentions[0].transformer_blocks[0].attn1
    inputs = []
    hook = module.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    _, run = traced(sd, f"attention/{LAYER}/all frames/*", frames=3, attention=variant)
    hook.remove()
    tokens = inputs[-1]  # (b, f, n, c) of the last step
    q, k = (
        rearrange(linear(tokens), "b f n (heads c) -> b f heads n c", heads=8) for linear in (module.to_q, module.to_k)
    )
    maps = run.steps(f"attention/{LAYER}")[1]
    torch.testing.assert_close(maps.sum(dim=(-2, -1)), torch.ones(2, 3, 48))
    for i in range(3):
        seen = frames_seen(variant, i, 3)
        keys = torch.cat([k[:, j] for j in seen], dim=2)
        scores = torch.einsum("b h n c, b h l c -> b h n l", q[:, i], keys) / q.shape[-1] ** 0.5
        expected = (scores.exp() / scores.exp().sum(-1, keepdim=True)).mean(1).cpu()
        torch.testing.assert_close(maps[:, i, :, : len(seen)].flatten(2), expected, rtol=1e-4, atol=1e-6)
        assert not maps[:, i, :, len(seen) :].any(), "a frame that sees fewer has zeros in the last places"


def test_e12_maps_of_chunks_stand_side_by_side(sd):
    pattern = f"attention/{LAYER}/all frames/*"
    for variant in ("first", "first_previous"):
        whole = traced(sd, pattern, frames=3, attention=variant)[1].steps(f"attention/{LAYER}")
        chunks = traced(sd, pattern, frames=3, attention=variant, chunk=1)[1].steps(f"attention/{LAYER}")
        for t in whole:
            torch.testing.assert_close(chunks[t], whole[t], rtol=1e-3, atol=1e-5)


def test_points_pick_the_query_cells_they_lie_in(sd):
    name = "attention/{}/all frames/401"
    patterns = ("attention/*attn1/all frames/401",)
    everywhere = traced(sd, *patterns)[1]
    there = traced(sd, *patterns, points=[(0.0, 0.0), (0.51, 0.26), (1.0, 1.0)])[1]
    mid = name.format("mid_block.attentions.0.transformer_blocks.0.attn1")  # 3 × 4 cells
    torch.testing.assert_close(there[name.format(LAYER)], everywhere[name.format(LAYER)][:, :, [0, 8 + 4, 47]])
    torch.testing.assert_close(there[mid], everywhere[mid][:, :, [0, 2, 11]])


@pytest.mark.parametrize("height, width", [(6, 8), (7, 5), (64, 64), (1, 9)])
def test_layer_size_is_the_size_of_every_level(height, width):
    h, w = height, width
    for _ in range(4):
        assert layer_size(h * w, height, width) == (h, w)
        h, w = (h + 1) // 2, (w + 1) // 2


def test_weights_of_chosen_queries_are_rows_of_all(device):
    q, k = (random(2, 3, 4, 5, 6, seed=i).to(device) for i in range(2))
    seen = [(0,), (0, 1), (0, 2)]
    every = cross_frame_weights(q, k, seen)
    assert every.shape == (2, 3, 5, 2, 5)
    torch.testing.assert_close(cross_frame_weights(q[:, :, :, [4, 1]], k, seen), every[:, :, [4, 1]])


def test_e13_traced_text_attention_gives_the_masks_that_were_used(sd):
    _, run = traced(sd, "foreground", "smoothed", "x_T", "attention/*attn2*", frames=3, smooth_background=0.6)
    stage = "all frames, to find the foreground"
    record = AttentionRecord(6, 8)
    for name, maps in run.find(f"*attn2/{stage}/*").items():
        record.add(name.split("/")[1], 0, maps)
    mask = foreground_from_attention(record, sd.tokenizer, Settings(PROMPT, foreground="red ball"))
    grown = torch.nn.functional.max_pool2d(mask, 5, stride=1, padding=2)
    assert torch.equal(run["foreground"], grown)
    kept = run["foreground"].bool().expand(-1, 4, -1, -1)
    assert torch.equal(run["smoothed"][kept], run["x_T"][kept])


def test_every_name_that_occurs_is_in_the_table_and_the_reverse(sd):
    names = traced(sd, "*", smooth_background=0.6)[1].names
    families = {name.split("/")[0] for name in NAMES}
    assert {name.split("/")[0] for name in names} == families


def test_nothing_asked_for_is_everything_but_attention(sd):
    video, run = traced(sd, frames=2)
    assert "x_T" in run and "eps/all frames/1" in run and not any("attention" in name for name in run.names)


def test_only_what_matches_is_kept(sd):
    _, run = traced(sd, "x_T*", "x_0/*/201", frames=2)
    assert run.names == ["x_T'", "x_T", "x_0/all frames/201"]
    assert list(run.find("x_T*")) == ["x_T'", "x_T"]


def test_without_patterns_for_attention_the_network_gets_no_hook(sd, monkeypatch):
    records = []
    forward = sd.unet.forward
    monkeypatch.setattr(sd.unet, "forward", lambda *a, **k: (records.append(k["look"]), forward(*a, **k))[1])
    make(sd, frames=2)
    traced(sd, "x_T", "eps/*", frames=2)
    assert records and not any(records)
    traced(sd, "*attn2*", frames=2)
    assert records[-1] is not None


@pytest.mark.parametrize("pattern", ["esp/*", "xT", "x_0", "flow/frame 1", "warp"])
def test_a_pattern_that_can_match_nothing_is_refused_before_the_work(pattern):
    refused(t2vz.trace("x_T", pattern).__enter__, re.escape(f'no tensor is called "{pattern}"'))


def test_a_point_off_the_frame_is_refused():
    refused(t2vz.trace("*", points=[(0.5, 1.5)]).__enter__, r"point \(0.5, 1.5\)")


def test_a_name_that_did_not_occur_is_an_error_that_lists_those_that_did(sd):
    _, run = traced(sd, "eps/*", frames=2)
    near = '"eps/all frames/402" occurred; nearest: "eps/all frames/401"'
    refused(lambda: run["eps/all frames/402"], near, "eps/all frames/801 … 1", "x_T'")
    refused(lambda: run["warped"], 'occurred but was not traced; ask for it with t2vz.trace\\("warped"\\)')
    refused(lambda: run.find("foreground"), "foreground")
    with t2vz.trace("x_T") as empty:
        pass
    refused(lambda: empty["x_T"], "nothing was generated inside the trace")


def test_a_job_that_was_checked_has_done_nothing_yet(sd, monkeypatch):
    asked, real = [], sd.encode_text
    monkeypatch.setattr(sd, "encode_text", lambda prompts: asked.append(prompts) or real(prompts))
    job = text_job(sd, Settings(PROMPT, frames=2, **QUICK))
    assert asked == [] and job.done == 0
    with t2vz.trace() as run:  # opened after the checks, it sees everything
        video = job.video(algorithm_1(job))
    expected, whole = traced(sd, frames=2)
    assert run.names == whole.names and torch.equal(video.latents, expected.latents) and len(asked) == 2


def test_a_second_generation_in_the_same_block_is_refused(sd):
    with t2vz.trace("x_T") as run:
        make(sd, frames=2)
        refused(lambda: make(sd, frames=2), 'already holds "x_T"')
    assert run["x_T"].shape == (2, 4, 6, 8)


def test_traces_nest_and_belong_to_their_thread():
    with t2vz.trace("x_T") as outer, t2vz.trace("flow") as inner:
        show({"x_T": torch.ones(1), "flow": torch.zeros(1)})
        elsewhere = threading.Thread(target=show, args=({"x_T": torch.full((1,), 7.0)},))
        elsewhere.start()
        elsewhere.join()
    show({"x_T": torch.full((1,), 8.0)})
    assert outer.names == ["x_T"] and inner.names == ["flow"]
    assert float(outer["x_T"]) == 1.0 and float(inner["flow"]) == 0.0


def test_what_is_kept_is_a_copy():
    tensor = torch.ones(2)
    with t2vz.trace("x_T") as run:
        show({"x_T": tensor})
    tensor.add_(1)
    assert run["x_T"].tolist() == [1.0, 1.0]
