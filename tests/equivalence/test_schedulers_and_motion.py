"""Each scheduler step, the forward jump and the warp against diffusers', relative L2 ≤ 1e-6 in float32.

diffusers keeps its tables in float32. With float64 tables of the same formula in their place the two agree to rounding,
so what is left in float32 is theirs.
"""

from types import SimpleNamespace

import pytest
import torch
from diffusers import DDPMScheduler
from twins import BETAS, ddim, exact_tables, relative, zero

from t2vz.motion import global_motion, translation_flow, warp
from t2vz.schedulers import NoiseSchedule, ddim_step, ddpm_step, forward_jump

STEPS = (1, 2, 7, 10, 25, 50, 100, 333, 999)
TYPES = {torch.float32: 1e-6, torch.float64: 1e-12}
SCHEDULE = NoiseSchedule.stable_diffusion()
SHAPE = (3, 4, 9, 13)


def visited(timesteps: list[int]) -> list[int]:
    """At most nine of them: the ends and some between."""
    return sorted({*timesteps[:2], *timesteps[:: max(len(timesteps) // 5, 1)], *timesteps[-2:]}, reverse=True)


def test_tables():
    ours, theirs = SCHEDULE, ddim()
    assert relative(ours.betas, theirs.betas) <= 1e-6
    assert relative(ours.alpha_bar, theirs.alphas_cumprod) <= 1e-6
    assert ours.alpha_bar_at(-1) == pytest.approx(float(theirs.final_alpha_cumprod), rel=1e-6)


@pytest.mark.parametrize("steps", STEPS)
def test_timesteps(steps):
    theirs = ddim()
    theirs.set_timesteps(steps)
    assert SCHEDULE.timesteps(steps) == theirs.timesteps.tolist()


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("steps", STEPS)
def test_ddim_step(steps, eta, dtype, normal, measured):
    theirs = ddim(dtype)
    theirs.set_timesteps(steps)
    worst = 0.0
    for t in visited(theirs.timesteps.tolist()):
        x, eps, noise = (normal(SHAPE, dtype, seed=3 * t + i) for i in range(3))
        alpha_bar_t, alpha_bar_s = SCHEDULE.alpha_bar_at(t), SCHEDULE.alpha_bar_at(SCHEDULE.previous(t, steps))
        expected = theirs.step(eps, t, x, eta=eta, variance_noise=noise if eta > 0 else None).prev_sample
        worst = max(worst, relative(ddim_step(x, eps, alpha_bar_t, alpha_bar_s, eta, noise), expected))
    measured(f"DDIM step, {steps} steps, eta {eta}, {dtype}", worst, TYPES[dtype])


def their_ddpm(steps: int, tables: torch.dtype) -> DDPMScheduler:
    scheduler = DDPMScheduler(**BETAS, clip_sample=False, variance_type="fixed_small", timestep_spacing="leading")
    scheduler = exact_tables(scheduler) if tables == torch.float64 else scheduler
    scheduler.set_timesteps(steps)
    return scheduler


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("steps", STEPS)
def test_ddpm_step(steps, dtype, device, normal, measured):
    """E4, with their generator's draw as the noise. Their last step ends at ᾱ = 1, where DDIM's ends on the grid.

    Above 50 steps their float32 tables lose 1e-6 by cancellation in 1 − ᾱ_t/ᾱ_s. So each side is measured from the
    exact step: ours must be within 1e-6 of it at every number of steps, and of theirs by what theirs is off.
    """
    single, exact = their_ddpm(steps, torch.float32), their_ddpm(steps, torch.float64)
    timesteps = SCHEDULE.timesteps(steps)
    assert timesteps == single.timesteps.tolist()
    from_exact = from_theirs = theirs_off = 0.0
    for t in visited(timesteps):
        x, eps = normal(SHAPE, dtype, seed=2 * t), normal(SHAPE, dtype, seed=2 * t + 1)
        noise = torch.randn(SHAPE, generator=torch.Generator().manual_seed(t), dtype=dtype).to(device)
        alpha_bar_s = SCHEDULE.alpha_bar_at(SCHEDULE.previous(t, steps)) if t != timesteps[-1] else 1.0
        ours = ddpm_step(x, eps, SCHEDULE.alpha_bar_at(t), alpha_bar_s, noise)
        theirs, right = (
            scheduler.step(eps, t, x, generator=torch.Generator().manual_seed(t)).prev_sample
            for scheduler in (single, exact)
        )
        from_theirs, theirs_off = max(from_theirs, relative(ours, theirs)), max(theirs_off, relative(theirs, right))
        if t != timesteps[-1]:  # there they clamp the variance 0 to 1e-20, and add noise of 1e-10
            from_exact = max(from_exact, relative(ours, right))
    measured(f"DDPM step, {steps} steps, {dtype}, from the exact step", from_exact, TYPES[dtype])
    if steps <= 50 and dtype == torch.float32:
        measured(f"DDPM step, {steps} steps, {dtype}, from theirs", from_theirs, 1e-6)
    measured(f"DDPM step, {steps} steps, {dtype}, from theirs as far as that is exact", from_theirs, theirs_off + 1e-6)


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_forward_jump(dtype, device, normal, measured):
    for s, t in ((881, 941), (1, 981), (0, 999), (441, 441), (500, 501)):
        x = normal(SHAPE, dtype, seed=s)
        noise = torch.randn(SHAPE, generator=torch.Generator().manual_seed(t), dtype=dtype).to(device)
        their = SimpleNamespace(scheduler=ddim(dtype))  # all that the loop asks of its pipeline
        expected = zero.TextToVideoZeroPipeline.forward_loop(their, x, s, t, torch.Generator().manual_seed(t))
        ours = forward_jump(x, SCHEDULE.jump_ratio(s, t, "release"), noise)
        measured(f"forward jump {s} to {t}, {dtype}", relative(ours, expected), TYPES[dtype])
        if t - s == 60:  # and the definition differs from the public code by one step
            assert relative(forward_jump(x, SCHEDULE.jump_ratio(s, t, "paper"), noise), expected) > 1e-4


SIZES = [(64, 64), (32, 48), (16, 16), (72, 96), (65, 40), (8, 8), (5, 100)]


def their_warp(x, delta, frames):
    """Their motion field and warp of the same latent for each of `frames` frames."""
    return zero.create_motion_field_and_warp_latents(*delta, list(range(frames)), x.expand(frames, -1, -1, -1))


WARNINGS = (
    pytest.mark.filterwarnings("ignore:torch.meshgrid"),
    pytest.mark.filterwarnings("ignore:Default grid_sample"),
)


@pytest.mark.parametrize("size", SIZES, ids=str)
@WARNINGS[0]
@WARNINGS[1]
def test_warp_moves_every_cell_alike(size, device, normal):
    """Bit by bit: nearest sampling picks a cell, so there is no error to tolerate."""
    x = normal((1, 4, *size), torch.float32)
    generator = torch.Generator().manual_seed(size[0])
    deltas = [(12.0, 12.0), (0.0, 0.0), (-12.0, 3.0)]
    deltas += [tuple(row) for row in (torch.rand(9, 2, generator=generator) * 120 - 60).tolist()]
    for delta in deltas:
        flow = translation_flow(global_motion(delta, 5), *size, "release")
        assert torch.equal(warp(x, flow), their_warp(x, delta, 5)), delta


@WARNINGS[0]
@WARNINGS[1]
def test_warp_of_half_and_whole_strengths(device, normal):
    """δ in steps of ½ on 64 cells. Where a shift is exactly half a cell (δ = 4.5, 12.5 …) theirs rounds to even cells
    and so doubles every other column, and ours moves all cells on alike; everywhere else they agree bit by bit."""
    x = normal((1, 4, 64, 64), torch.float32)
    ties = 0
    for delta in [d / 2 for d in range(-40, 80)]:
        flow = translation_flow(global_motion((delta, 0.0), 3)[1:], 64, 64, "release")
        ours, theirs = warp(x, flow), their_warp(x, (delta, 0.0), 3)[1:]
        for k in (0, 1):
            if ((k + 1) * delta - 4.5) % 8 == 0:
                ties += 1
                doubled = (theirs[k, :, :, 1:] == theirs[k, :, :, :-1]).all(dim=0).all(dim=0).sum()
                assert doubled >= 28 and not torch.equal(ours[k], theirs[k])
            else:
                assert torch.equal(ours[k], theirs[k]), (delta, k)
    assert ties == 8
