"""Foreground masks for background smoothing (E13) without a further network: where the subject's words look.

The UNet's text cross-attention says for every latent cell how much it reads each word of the prompt. A cell that reads
the subject's words more than the rest of the sentence is foreground. (The release used a salient-object detector that
was never published; masks from the caller are the other way.)
"""

from collections.abc import Container, Sequence
from contextlib import suppress

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from ..attention import cross_frame_weights
from ..errors import InputError
from ..text import words_of
from .settings import Settings

PREPOSITIONS = frozenset(
    "in on at under over above below beside by near with behind before across through along around inside into onto of "
    "from to during against between among".split()
)
FUNCTION_WORDS = frozenset(
    "a an the one two three four five six some many several picture photo painting and or is are".split()
)
SHRINKS = (1, 2, 4)  # below a quarter of the latent's size a map is too coarse for a mask


class AttentionRecord:
    """Text attention, recorded: where does each word look? Give one to network calls as their `look`.

    cells: keep only layers with one of these numbers of latent cells n (default: all layers). Maps are means over
    heads, on the CPU. Those of several timesteps are added up; those of a video's chunks are put side by side by `map`.
    """

    def __init__(self, cells: Container[int] | None = None):
        self.cells = cells
        self.chunks: dict[str, dict[int, Tensor]] = {}  # layer -> index of the chunk's first frame -> (b, f, n, tokens)

    def __call__(
        self, layer: str, first_frame: int, q: Tensor, k: Tensor, seen: Sequence[tuple[int, ...]] | None
    ) -> None:
        """The hook (attention.Look): keeps text layers only."""
        if seen is None and self.wants(q.shape[-2]):
            self.add(layer, first_frame, cross_frame_weights(q, k, [(0,)] * q.shape[1])[:, :, :, 0])

    def wants(self, cells: int) -> bool:
        """Whether layers of so many latent cells are kept."""
        return self.cells is None or cells in self.cells

    def add(self, layer: str, first_frame: int, maps: Tensor) -> None:
        """Add one layer's maps (b, f, n, tokens) of the frames from `first_frame` on."""
        if not self.wants(maps.shape[-2]):
            return
        maps = maps.float().cpu()
        chunks = self.chunks.setdefault(layer, {})
        chunks[first_frame] = chunks[first_frame] + maps if first_frame in chunks else maps

    @property
    def layers(self) -> list[str]:
        """The layers that were recorded, in the order the UNet runs them."""
        return list(self.chunks)

    def map(self, layer: str) -> Tensor:
        """One layer's map over all frames: (b, m, n, tokens); each row sums to the number of recorded timesteps."""
        chunks = self.chunks[layer]
        return torch.cat([chunks[first] for first in sorted(chunks)], dim=1)


def subject_words(prompt: str) -> list[str]:
    """A guess at the words that name the foreground: those before the first preposition, articles and counts left out.

    "a red ball on a green meadow" -> ["red", "ball"]. "a picture of …" starts after "of". Pass words of your own where
    the guess is wrong. If nothing is left, all words of the prompt.
    """
    words = words_of(prompt)
    if "of" in words and set(words[: words.index("of")]) <= FUNCTION_WORDS:
        words = words[words.index("of") + 1 :]
    before = next((i for i, word in enumerate(words) if i > 0 and word in PREPOSITIONS), len(words))
    chosen = [word for word in words[:before] if word not in FUNCTION_WORDS and word not in PREPOSITIONS]
    return chosen or words


def subject_positions(tokenizer, settings: Settings) -> list[int]:
    """Positions among the 77 tokens of the words that name the foreground: the caller's, or a guess.

    Raises InputError for a word of the caller's that the prompt does not have, or if the guess finds nothing.
    """
    if settings.foreground is not None:
        return tokenizer.positions(settings.prompt, list(settings.foreground))
    positions = set()
    for word in subject_words(settings.prompt):
        with suppress(InputError):  # past the 75 tokens that are read: not this guess's fault
            positions.update(tokenizer.positions(settings.prompt, [word]))
    if not positions:
        raise InputError(
            'no word of the prompt was taken for the foreground; name some with foreground, e.g. "red ball"'
        )
    return sorted(positions)


def foreground_from_attention(
    record: AttentionRecord, subject: list[int], text_tokens: int, height: int, width: int
) -> Tensor:
    """Foreground masks M^k (m, 1, height, width) in {0, 1} from recorded text attention; height, width in latent cells.

    record, text_tokens: see `attention_share`. subject: positions of the subject's tokens among the 77. Threshold:
    Otsu's, of frame 1's shares, for all frames, so that a frame's mask does not depend on how many follow.
    """
    score = attention_share(record, subject, text_tokens, height, width)
    return (score > otsu_threshold(score[0])).float()


def attention_share(record: AttentionRecord, positions: list[int], text_tokens: int, height: int, width: int) -> Tensor:
    """How much each cell reads some words: (m, 1, height, width) in [0, 1]; height, width in latent cells.

    It is the share of the attention to the prompt's words that goes to the tokens at `positions`, averaged over layers
    from full to quarter size. record: maps of the layers of `layer_sizes` (the last of the batch is the prompt's half).
    text_tokens: how many of the 77 positions hold text. Raises InputError if no such layer was recorded.
    """
    total = torch.zeros((), device="cpu")
    count = 0
    for layer in record.layers:
        maps = record.map(layer)[-1]  # (m, n, tokens)
        h = layer_sizes(height, width)[maps.shape[1]][0]
        words = maps[:, :, 1 : 1 + text_tokens]
        share = maps[:, :, positions].sum(-1) / words.sum(-1).clamp_min(1e-8)
        share = rearrange(share, "m (h w) -> m 1 h w", h=h)
        total = total + F.interpolate(share, size=(height, width), mode="bilinear", align_corners=False)
        count += 1
    if count == 0:
        raise InputError(
            "the UNet has no text attention near the latent's size to take masks from; give masks of your own"
        )
    return total / count


def layer_sizes(height: int, width: int) -> dict[int, tuple[int, int]]:
    """The layers whose maps are used: the latent's own size, half and a quarter, rounded up; cells -> (h, w)."""
    sizes = [(-(-height // shrink), -(-width // shrink)) for shrink in SHRINKS]
    return {h * w: (h, w) for h, w in sizes}


def otsu_threshold(values: Tensor, bins: int = 256) -> float:
    """The threshold that splits values into two groups with the largest variance between them (Otsu 1979).

    values: any shape. Returns a number within their range.
    """
    low, high = float(values.min()), float(values.max())
    if high <= low:
        return high
    histogram = torch.histc(values.double().flatten(), bins=bins, min=low, max=high)
    centres = low + (torch.arange(bins, dtype=torch.float64, device=values.device) + 0.5) * (high - low) / bins
    below = histogram.cumsum(0)
    above = below[-1] - below
    mean_below = (histogram * centres).cumsum(0) / below.clamp_min(1)
    mean_above = ((histogram * centres).sum() - (histogram * centres).cumsum(0)) / above.clamp_min(1)
    between = below * above * (mean_below - mean_above) ** 2
    best = (between == between.max()).nonzero().double().mean()  # the middle of a plateau
    return float(low + (best + 1) * (high - low) / bins)
