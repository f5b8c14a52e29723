"""Tracing: any intermediate tensor of a generation, by the name the method gives it, without changing the generation.

    with t2vz.trace("x_T*", "x_0/*", "attention/up_blocks.3*attn1/*") as run:
        video = t2vz.text_to_video(sd, "a red ball on a green meadow", frames=4)
    run["x_T"]                       # all frames' latents at T, (4, 4, h, w), on the CPU
    run.steps("x_0")[881]            # x̂_0 of all frames, as seen from timestep 881

The pipelines name their tensors where they make them (`show`, `enter`, `watched`); each of these asks which traces are
open in this context, and does nothing if none is. So a trace never changes a number, and costs
nothing when there is none. The names are the keys of NAMES; STAGE and T say which loop and which timestep, as in
"eps/all frames/881", LAYER is the attention layer's place in the checkpoint: …attn1 looks at frames, …attn2 at words.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from difflib import get_close_matches
from fnmatch import fnmatchcase

import torch
from torch import Tensor
from torch.nn import functional as F

from ..attention import Look, cross_frame_weights, text_weights
from ..errors import InputError

NAMES = {
    "noise/NAME": "what was drawn, or given by the caller, by the names of randomness.SHAPES: (f, c, h, w)",
    "noise/NAME/STAGE/T": "of these eta and ancestral, which the step from T adds: (f, c, h, w)",
    "flow": "where each frame looks in frame 1, in latent cells (E7): (m, 2, h, w)",
    "x_T'": "frame 1 at T' (E6): (1, c, h, w)",
    "warped": "frames 2 … m: frame 1 at T', warped (E8): (m−1, c, h, w)",
    "forward": "frames 2 … m: the warped latents noised back up to T (E9): (m−1, c, h, w)",
    "x_T": "all frames where E10 starts, before any smoothing: (m, c, h, w)",
    "foreground": "the masks M^k of E13, dilated: (m, 1, h, w) in {0, 1}",
    "smoothed": "x_T after background smoothing (E13): (m, c, h, w)",
    "latents": "all frames, denoised: (m, c, h, w)",
    "x_t/STAGE/T": "latents before the step from T: (f, c, h, w)",
    "eps/STAGE/T": "the noise predicted in them, guided (E5): (f, c, h, w)",
    "x_0/STAGE/T": "x̂_0, the clean latents that prediction implies (E3): (f, c, h, w)",
    "attention/LAYER/STAGE/T": "attn1: (b, f, queries, frames seen, cells) (E11, E12); attn2: (b, f, cells, tokens)",
}
FAMILIES = sorted({name.partition("/")[0] for name in NAMES})


class Trace:
    """The tensors of one generation that match some patterns, by name, on the CPU.

    patterns: names with * and ? (and * also covers "/"); none: everything but attention maps, which are large.
    points: from which places to follow cross-frame attention, (x, y) in [0, 1] of the frame; None: from every cell.
    Attention maps are means over heads; their first axis is the guidance batch (negative prompt first).
    """

    def __init__(self, patterns: tuple[str, ...], points: list[tuple[float, float]] | None = None):
        self.patterns = patterns or tuple(f"{family}*" for family in FAMILIES if family != "attention")
        for pattern in self.patterns:
            _check_pattern(pattern)
        for x, y in points or []:
            if not (0 <= x <= 1 and 0 <= y <= 1):
                raise InputError(f"trace point ({x}, {y}): x and y run from 0 (left, top) to 1 (right, bottom)")
        self.points = points
        self.stage = ""  # the denoising loop under way
        self.passed: dict[str, None] = {}  # every name that occurred, asked for or not, in order
        self.kept: dict[str, dict[int, Tensor]] = {}  # name -> index of a chunk's first frame -> tensor

    @property
    def names(self) -> list[str]:
        """The names that were kept, in the order they occurred."""
        return list(self.kept)

    def __contains__(self, name: str) -> bool:
        return name in self.kept

    def __getitem__(self, name: str) -> Tensor:
        """The tensor of that name. Raises InputError for a name that did not occur, or was not asked for."""
        if name not in self.kept:
            raise InputError(self._missing(name))
        chunks = self.kept[name]
        if len(chunks) == 1:
            return next(iter(chunks.values()))
        return _side_by_side([chunks[start] for start in sorted(chunks)])

    def find(self, pattern: str) -> dict[str, Tensor]:
        """All kept tensors whose names match the pattern, in the order they occurred. Raises as above if none does."""
        found = {name: self[name] for name in self.kept if fnmatchcase(name, pattern)}
        if not found:
            raise InputError(self._missing(pattern))
        return found

    def steps(self, name: str, stage: str = "all frames") -> dict[int, Tensor]:
        """One tensor per timestep of a stage, noisiest first: t -> tensor. name: "x_t", "noise/eta", "attention/…"."""
        return {int(found.rpartition("/")[2]): tensor for found, tensor in self.find(f"{name}/{stage}/*").items()}

    def wants(self, name: str) -> bool:
        """Whether a tensor of that name is to be kept; remembers that the name occurred."""
        self.passed[name] = None
        return any(fnmatchcase(name, pattern) for pattern in self.patterns)

    def keep(self, name: str, tensor: Tensor, start: int = 0) -> None:
        """Keep a copy. start: the first frame of a chunk.

        Raises InputError if the name is taken, as by a second generation in the same block.
        """
        chunks = self.kept.setdefault(name, {})
        if start in chunks:
            raise InputError(f'the trace already holds "{name}", of an earlier generation; open a trace for each')
        chunks[start] = tensor.detach().to("cpu", copy=True)

    def watches_attention(self) -> bool:
        """Whether any pattern can match an attention map."""
        return any(_can_match(pattern, "attention/") for pattern in self.patterns)

    def _missing(self, name: str) -> str:
        """The line for a name that is not there: asked for too late, mistyped, or not of this generation."""
        matching = [passed for passed in self.passed if fnmatchcase(passed, name)]
        if matching:
            return f'"{matching[0]}" occurred but was not traced; ask for it with t2vz.trace("{name}")'
        if not self.passed:
            return f'no "{name}": nothing was generated inside the trace'
        near = get_close_matches(name, self.passed, n=1)
        hint = f'; nearest: "{near[0]}"' if near else ""
        others = [passed for passed in self.passed if name.startswith("attention") or "attention/" not in passed]
        maps = len(self.passed) - len(others)
        listed = ", ".join(_grouped(others) + [f"{maps} attention maps"] * bool(maps))
        return f'no tensor named "{name}" occurred{hint}; there were: {listed}'


_open: ContextVar[tuple[Trace, ...]] = ContextVar("t2vz_traces", default=())  # those of this thread or task


@contextmanager
def trace(*patterns: str, points: list[tuple[float, float]] | None = None) -> Iterator[Trace]:
    """Keep intermediate tensors of the one generation made inside the block; see `Trace` for the arguments.

    Raises InputError at once for a pattern that can match no name. Traces may be nested; each keeps its own.
    """
    opened = Trace(patterns, points)
    token = _open.set((*_open.get(), opened))
    try:
        yield opened
    finally:
        _open.reset(token)


def show(tensors: dict[str, Tensor]) -> None:
    """Show tensors to the open traces, by name; those that hold nothing are left out."""
    for opened in _open.get():
        for name, tensor in tensors.items():
            if tensor.numel() and opened.wants(name):
                opened.keep(name, tensor)


def enter(stage: str) -> None:
    """A denoising loop begins: the attention maps that follow belong to it."""
    for opened in _open.get():
        opened.stage = stage


def watched(look: Look | None, t: float, height: int, width: int) -> Look | None:
    """The hook for a UNet call at timestep t: the pipeline's own, and with it the open traces that want attention.

    height, width: of the latents, in cells. Without such a trace this is `look` as it came.
    """
    watching = [opened for opened in _open.get() if opened.watches_attention()]
    if not watching:
        return look

    def watch(layer: str, first_frame: int, q: Tensor, k: Tensor, seen: Sequence[tuple[int, ...]] | None) -> None:
        if look is not None:
            look(layer, first_frame, q, k, seen)
        for opened in watching:
            name = f"attention/{layer}/{opened.stage}/{t:.0f}"
            if opened.wants(name):
                opened.keep(name, _maps(q, k, seen, opened.points, height, width), first_frame)

    return watch


def _maps(q, k, seen, points: list[tuple[float, float]] | None, height: int, width: int) -> Tensor:
    """What a trace keeps of one attention layer: see NAMES. points: of the frame, for attention between frames."""
    if seen is None:
        return text_weights(q, k)
    if points is not None:
        h, w = layer_size(q.shape[3], height, width)
        q = q[:, :, :, [min(int(y * h), h - 1) * w + min(int(x * w), w - 1) for x, y in points]]
    return cross_frame_weights(q, k, seen)


def layer_size(cells: int, height: int, width: int) -> tuple[int, int]:
    """(h, w) of the UNet's layers with so many cells: the latent's size, halved, rounding up, as often as it takes."""
    while height * width > cells:
        height, width = -(-height // 2), -(-width // 2)
    return height, width


def _side_by_side(chunks: list[Tensor]) -> Tensor:
    """Attention maps of a video's chunks along the frame axis; fewer frames seen by the first ones become zeros."""
    if chunks[0].ndim == 5:  # (b, f, queries, frames seen, cells)
        most = max(chunk.shape[3] for chunk in chunks)
        chunks = [F.pad(chunk, (0, 0, 0, most - chunk.shape[3])) for chunk in chunks]
    return torch.cat(chunks, dim=1)


def _check_pattern(pattern: str) -> None:
    """Refuse a pattern that matches nothing whatever happens, before minutes of work."""
    if any(_can_match(pattern, name) for name in NAMES):
        return
    near = get_close_matches(pattern.partition("/")[0], FAMILIES, n=1)
    hint = f' (did you mean "{near[0]}"?)' if near else ""
    raise InputError(f'trace: no tensor is called "{pattern}"{hint}; names are: {", ".join(NAMES)}')


def _can_match(pattern: str, name: str) -> bool:
    """Whether the pattern could match the name, or for a name with parts some name of that family."""
    if "/" not in name:
        return fnmatchcase(name, pattern)
    family = name.partition("/")[0] + "/"
    literal = re.split(r"[*?\[]", pattern)[0]  # up to the first wildcard
    return literal.startswith(family) or (literal != pattern and family.startswith(literal))


def _grouped(names: list[str]) -> list[str]:
    """Names for a message: those that differ in the timestep alone become one, "eps/all frames/941 … 1"."""
    groups: dict[str, list[str]] = {}
    for name in names:
        head, slash, last = name.rpartition("/")
        key, time = (head + slash, last) if last.isdigit() else (name, "")
        groups.setdefault(key, []).append(time)
    return [key + (times[0] if len(times) == 1 else f"{times[0]} … {times[-1]}") for key, times in groups.items()]
