"""The ControlNet's training: where it begins."""

import numpy as np
import pytest
import torch

from t2vz.unet.config import UNetConfig
from t2vz.unet.unet import UNet
from training.control import as_condition, edge_cells, new_controlnet
from training.edit import changed_cells

TINY = UNetConfig(
    block_out_channels=(16, 16, 16, 16), layers_per_block=1, heads=(2,) * 4, context_dim=8, norm_groups=4, sample_size=8
)


def drawings(seed, count=4, size=64):
    """Pictures of thin lines, bits (count, size, size/8): one pixel in twelve set."""
    return torch.from_numpy(np.packbits(np.random.default_rng(seed).random((count, size, size)) < 1 / 12, axis=-1))


@pytest.mark.parametrize("seed", range(3))
def test_a_new_controlnet_is_silent_but_hears(seed):
    """Its residuals are zero, and yet what the stem makes of a sparse drawing is neither faint nor overwhelming, so the
    zero convolutions learn from the drawing in their first step."""
    torch.manual_seed(seed)
    controlnet = new_controlnet(UNet(TINY), seed)
    condition = as_condition(drawings(seed), torch.arange(4))
    x, context = torch.randn(4, 1, 4, 8, 8), torch.randn(4, 5, 8)
    residuals = controlnet(x, 500, context, condition)
    assert all((residual == 0).all() for residual in residuals)

    heard = controlnet.controlnet_cond_embedding(condition[:, 0])
    assert 0.2 < heard.std().item() < 5.0
    moved = []
    for pictures in (condition, 0 * condition):
        controlnet.zero_grad()
        sum(residual.square().sum() + residual.sum() for residual in controlnet(x, 500, context, pictures)).backward()
        moved.append(controlnet.controlnet_down_blocks[0].weight.grad.clone())
    assert (moved[0] - moved[1]).norm() > 0.05 * moved[0].norm()  # no drawing, another first step


def test_conditions_are_the_drawings():
    condition = as_condition(drawings(7), torch.tensor([2, 0]))
    assert condition.shape == (2, 1, 3, 64, 64) and set(condition.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(condition[0, 0, 0], condition[0, 0, 2])
    assert condition.mean().item() == pytest.approx(1 / 12, abs=0.02)


def test_cells_with_an_edge_or_a_change_count_three_times():
    condition = torch.zeros(1, 1, 3, 64, 64)
    condition[..., 17, 40] = 1  # a pixel of cell (2, 5)
    x = torch.zeros(1, 4, 8, 8)
    changed = x.clone()
    changed[0, :, 2, 5] = 1
    for cells in (edge_cells(condition, 8), changed_cells(changed, x)):
        assert cells.mean().item() == pytest.approx(1)
        assert (cells == cells.max()).nonzero().tolist() == [[0, 0, 2, 5]]
        assert (cells.max() / cells.min()).item() == pytest.approx(3)
