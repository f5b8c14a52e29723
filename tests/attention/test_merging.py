"""Token merging against the paper's steps written as loops; nothing merged is nothing changed."""

import math
from functools import partial

import pytest
import tiny
import torch

from t2vz.attention.merging import plan_merge

random = partial(tiny.random, dtype=torch.float64)


def merged_by_loops(tokens, h, w, ratio):
    """Of one frame's tokens (h·w, c): who goes into whom, pair by pair, and the mean of every group."""
    stay = [i for i in range(h * w) if (i // w) % 2 == 0 and (i % w) % 2 == 0]
    cosine = lambda a, b: float(a @ b / (a.norm() * b.norm()))  # noqa: E731
    nearest = {}
    for i in set(range(h * w)) - set(stay):
        nearest[i] = max((cosine(tokens[i], tokens[j]), j) for j in stay)
    gone = sorted(nearest, key=lambda i: -nearest[i][0])[: int(ratio * h * w)]
    groups = {j: [j] + [i for i in gone if nearest[i][1] == j] for j in stay}
    return {i: [i] for i in nearest if i not in gone} | groups


@pytest.mark.parametrize("h, w", [(4, 4), (3, 5), (6, 2), (1, 7)])
@pytest.mark.parametrize("ratio", [0.0, 0.25, 0.5, 0.75])
def test_merging_is_the_mean_of_each_group_and_unmerging_gives_each_member_its_group_s(device, h, w, ratio):
    tokens = random(2, 3, h * w, 6).to(device)
    plan = plan_merge(tokens, h, w, ratio)
    small = plan.merge(tokens)
    back = plan.unmerge(small)
    assert back.shape == tokens.shape
    for b in range(2):
        for f in range(3):
            groups = merged_by_loops(tokens[b, f], h, w, ratio)
            assert small.shape[2] == len(groups)
            for group in groups.values():
                mean = tokens[b, f, group].mean(dim=0)
                for member in group:
                    torch.testing.assert_close(back[b, f, member], mean)


def test_alike_neighbours_are_merged_first_and_without_loss(device):
    """Squares of 2×2 equal tokens: three quarters of them can go, and nothing is lost."""
    coarse = random(1, 1, 3, 4, 5)
    tokens = coarse.repeat_interleave(2, 2).repeat_interleave(2, 3).flatten(2, 3).to(device)
    plan = plan_merge(tokens, 6, 8, 0.75)
    assert plan.merge(tokens).shape[2] == 12
    torch.testing.assert_close(plan.unmerge(plan.merge(tokens)), tokens)


def test_frames_are_merged_each_by_itself(device):
    tokens = random(1, 2, 16, 6).to(device)
    changed = tokens.clone()
    changed[:, 1] += random(16, 6, seed=1).to(device)
    plans = plan_merge(tokens, 4, 4, 0.5), plan_merge(changed, 4, 4, 0.5)
    assert torch.equal(plans[0].merge(tokens)[:, 0], plans[1].merge(changed)[:, 0])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_float_types_stay(device, dtype):
    tokens = random(1, 1, 16, 6).to(device, dtype)
    plan = plan_merge(tokens, 4, 4, 0.5)
    small = plan.merge(tokens)
    assert small.dtype == plan.unmerge(small).dtype == dtype and small.shape[2] == 16 - math.floor(8)
