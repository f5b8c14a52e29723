"""A UNet that reads more: what InstructPix2Pix starts its training from (E15; arXiv 2211.09800, §3.2)."""

from dataclasses import replace

import torch

from ..errors import InputError
from .unet import UNet


def widen_input(unet: UNet, channels: int = 8) -> UNet:
    """A copy of a UNet whose first convolution reads `channels` channels, the new ones with weights of zero.

    So it predicts what `unet` predicts, whatever the new channels hold, until training moves their weights. The copy
    has memory of its own, in the type and on the device of `unet`. Raises InputError for fewer channels.
    """
    weight = unet.conv_in.weight
    new = channels - weight.shape[1]
    if new < 0:
        raise InputError(f"the UNet reads {weight.shape[1]} channels, so it cannot be widened to {channels}")
    wide = UNet(replace(unet.config, in_channels=channels)).to(weight.device, weight.dtype)
    zeros = weight.new_zeros(weight.shape[0], new, *weight.shape[2:])
    wide.load_state_dict(unet.state_dict() | {"conv_in.weight": torch.cat([weight, zeros], dim=1)})
    return wide.train(unet.training)
