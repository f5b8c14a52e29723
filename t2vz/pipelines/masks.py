"""Foreground masks for background smoothing (E13) without a further network: where the subject's words look.

The UNet's text cross-attention says for every latent cell how much it reads each word of the prompt. A cell that reads
the subject's words more than the rest of the sentence is foreground. (The release used a salient-object detector that
was never published; masks from the caller are the other way.)
"""

from collections.abc import Sequence
from contextlib import suppress

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from ..attention import text_weights
from ..errors import InputError
from ..text import Tokenizer, subject_words
from .settings import Settings
from .trace import layer_size

BINS = 256  # of the histogram that Otsu's threshold is found in


class AttentionRecord:
    """Text attention, recorded: where does each word look? Give one to network calls as their `look`.

    height, width: of the latents, in cells. Layers of their size, half and a quarter are kept; below it a map is too
    coarse for a mask. Maps are means over heads, on the CPU. Those of several timesteps are added up; those of a
    video's chunks are put side by side by `map`.
    """

    def __init__(self, height: int, width: int):
        self.height, self.width = height, width
        self.chunks: dict[str, dict[int, Tensor]] = {}  # layer -> index of the chunk's first frame -> (b, f, n, tokens)

    def __call__(
        self, layer: str, first_frame: int, q: Tensor, k: Tensor, seen: Sequence[tuple[int, ...]] | None
    ) -> None:
        """The hook (attention.Look): keeps text layers only."""
        if seen is None:
            self.add(layer, first_frame, text_weights(q, k))

    def add(self, layer: str, first_frame: int, maps: Tensor) -> None:
        """Add one layer's maps (b, f, n, tokens) of the frames from `first_frame` on, if it is large enough."""
        if maps.shape[2] >= -(-self.height // 4) * -(-self.width // 4):
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


def subject_positions(tokenizer: Tokenizer, settings: Settings) -> list[int]:
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


def foreground_from_attention(record: AttentionRecord, tokenizer: Tokenizer, settings: Settings) -> Tensor:
    """Foreground masks M^k (m, 1, h, w) in {0, 1} from recorded text attention to the prompt's subject.

    Threshold: Otsu's, of frame 1's shares, for all frames, so that a frame's mask does not depend on how many follow.
    Raises as `subject_positions` and `attention_share`.
    """
    used = tokenizer.encode(settings.prompt).used
    score = attention_share(record, subject_positions(tokenizer, settings), used)
    return (score > otsu_threshold(score[0])).float()


def attention_share(record: AttentionRecord, positions: list[int], text_tokens: int) -> Tensor:
    """How much each cell reads some words: (m, 1, h, w) in [0, 1], h and w the record's.

    It is the share of the attention to the prompt's words that goes to the tokens at `positions`, averaged over layers;
    of the batch the last, the prompt's half. text_tokens: how many of the 77 positions hold text. Raises InputError if
    no layer was recorded.
    """
    size, shares = (record.height, record.width), []
    for layer in record.layers:
        maps = record.map(layer)[-1]  # (m, n, tokens)
        h, _ = layer_size(maps.shape[1], *size)
        words = maps[:, :, 1 : 1 + text_tokens]
        share = maps[:, :, positions].sum(-1) / words.sum(-1).clamp_min(1e-8)
        share = rearrange(share, "m (h w) -> m 1 h w", h=h)
        shares.append(F.interpolate(share, size=size, mode="bilinear", align_corners=False))
    if not shares:
        raise InputError(
            "the UNet has no text attention near the latent's size to take masks from; give masks of your own"
        )
    return torch.stack(shares).mean(dim=0)


def otsu_threshold(values: Tensor) -> float:
    """The threshold that splits values into two groups with the largest variance between them (Otsu 1979).

    values: any shape. Returns a number within their range.
    """
    low, high = float(values.min()), float(values.max())
    if high <= low:
        return high
    histogram = torch.histc(values.double().flatten(), bins=BINS, min=low, max=high)
    centres = low + (torch.arange(BINS, dtype=torch.float64, device=values.device) + 0.5) * (high - low) / BINS
    below = histogram.cumsum(0)
    above = below[-1] - below
    mean_below = (histogram * centres).cumsum(0) / below.clamp_min(1)
    mean_above = ((histogram * centres).sum() - (histogram * centres).cumsum(0)) / above.clamp_min(1)
    between = below * above * (mean_below - mean_above) ** 2
    best = (between == between.max()).nonzero().double().mean()  # the middle of a plateau
    return float(low + (best + 1) * (high - low) / BINS)
