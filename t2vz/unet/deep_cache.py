"""DeepCache, an approximation: the deep rows of the UNet are computed at every n-th timestep only (arXiv 2312.00858).

What is deep in the UNet, at small sizes, says what the picture shows, and changes slowly from one timestep to the next.
What is shallow says the detail. So the maps that enter the last row of the table (unet.py) are kept, and at the
n − 1 timesteps that follow a full one only the first row and the last are computed: conv_in, whose skip is new, and one
resnet and transformer. In SD 1.5 that is about a tenth of the work.
"""

from collections.abc import Sequence

from torch import Tensor

from .unet import UNet, add_residuals


class DeepCache:
    """A UNet that reuses its deep maps, called like the UNet itself.

    interval: n ≥ 1, every n-th timestep is computed in full; 1 is the UNet, exactly. One object serves one video: it
    keeps the maps of each chunk of frames. A denoising loop that begins again, at a larger t, begins with a full step,
    and so do frames that were not there before.
    """

    def __init__(self, unet: UNet, interval: int):
        self.unet, self.interval = unet, interval
        self.kept: dict[tuple[int, ...], tuple[Tensor, float, int]] = {}  # frames -> maps, last timestep, times used

    def __call__(
        self,
        x: Tensor,
        t: float,
        context: Tensor,
        attention: str = "own",
        *,
        first_frame: int = 0,
        residuals: Sequence[Tensor] | None = None,
        **more,
    ) -> Tensor:
        """x (b, f, c, h, w) -> ε; arguments of `UNet.forward` (more: those of `UNet.view`); t is a number."""
        unet, (*blocks, last) = self.unet, self.unet.up_blocks
        maps, time = unet.begin(x, t, context)
        view = unet.view(x, attention, first_frame, **more)
        frames = view.video, first_frame, *x.shape  # frame 1 alone (E6) is not the first chunk of many (E10)
        deep, before, used = self.kept.get(frames, (None, t, 0))
        if deep is not None and t < before and used < self.interval:
            skips = [maps if residuals is None else maps + residuals[0]]
        else:
            skips, deep = unet.go_down(maps, time, context, view)
            if residuals is not None:
                skips, deep = add_residuals(skips, deep, residuals)
            for block in blocks:
                deep = block(deep, skips, time, context, view)
            for j in range(len(last.resnets) - 1):
                deep = last.row(j, deep, skips, time, context, view)
            used = 0
        self.kept[frames] = deep, t, used + 1
        return unet.end(last.row(len(last.resnets) - 1, deep, skips, time, context, view), len(x))
