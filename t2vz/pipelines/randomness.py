"""Every random tensor of a video is drawn here: on the CPU, frame by frame, from one seed.

So the same seed gives the same noise on every device, frame k's noise depends neither on the number of frames nor on
the chunk size, and any draw can be replaced by the caller's own tensor (that is how results are compared across
programs).
"""

import zlib
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError

# name -> the shape of all its draws for m frames and n steps, without the latent's (c, h, w)
SHAPES: dict[str, Callable[[int, int], tuple[int, ...]]] = {
    "x_T": lambda m, n: (1,),  # frame 1's pure noise, where motion is on (all frames' x_T follow from it: E6–E9)
    "forward": lambda m, n: (m - 1,),  # E9's, frame 2's first
    "initial": lambda m, n: (m,),  # all frames' pure noise, where motion is off
    "shared": lambda m, n: (1,),  # what correlated kinds of initial noise have in common
    "eta": lambda m, n: (n, m),  # with η > 0: z of each step of the grid, noisiest first
    "ancestral": lambda m, n: (n, m),  # the Euler-ancestral sampler's fresh noise; the last step's has weight 0
}


class Noise:
    """Standard normal draws by name (SHAPES). given: tensors that replace draws, by the same names."""

    def __init__(self, seed: int, given: dict[str, Tensor] | None = None):
        self.seed = int(seed)
        names = f"noise may hold: {', '.join(SHAPES)}"
        if given is not None and not (isinstance(given, dict) and all(isinstance(z, Tensor) for z in given.values())):
            raise InputError(f"noise must be a dict of tensors by name; {names}")
        self.given = dict(given or {})
        unknown = set(self.given) - set(SHAPES)
        if unknown:
            raise InputError(f'noise "{sorted(unknown)[0]}" does not exist; {names}')

    def draw(self, name: str, index: int, shape: tuple[int, ...]) -> Tensor:
        """One standard normal tensor, float32 on the CPU, fixed by (seed, name, index) alone."""
        key = [self.seed & (2**64 - 1), zlib.crc32(name.encode()), index]
        state = int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> np.uint64(1))
        generator = torch.Generator("cpu").manual_seed(state)
        return torch.randn(shape, generator=generator, dtype=torch.float32, device="cpu")

    def frames(self, name: str, indices: Sequence[int], shape: tuple[int, ...]) -> Tensor:
        """The draws of some frames, stacked: (len(indices), *shape); or the caller's tensor's of these frames."""
        if name in self.given:
            first = 1 if name == "forward" else 0  # E9's begins with frame 2
            return self.given[name][[k - first for k in indices]]
        if not indices:
            return torch.empty(0, *shape, device="cpu")
        return torch.stack([self.draw(name, k, shape) for k in indices])

    def step(self, name: str, i: int, t: float, indices: Sequence[int], shape: tuple[int, ...]) -> Tensor:
        """What step i of the grid, from timestep t, adds to some frames: as `frames`. name: "eta" or "ancestral"."""
        if name in self.given:
            return self.given[name][i][list(indices)]
        return self.frames(f"{name} at {t:.0f}", indices, shape)
