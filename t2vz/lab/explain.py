"""A generation, kept with all that explains it: what `t2vz explain` shows, gathered by tracing Algorithm 1 as it runs.

Two videos are made from the same noise, with cross-frame attention and without. From the first: frame 1's way down to
T', the warps, the jump back up, x̂_0 of every frame at some steps, what each word was read by, and, from some points of
each frame, where they look in frame 1.
"""

from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..attention import frames_seen
from ..errors import InputError
from ..pipelines.job import Progress
from ..pipelines.masks import AttentionRecord, attention_share, foreground_from_attention, subject_positions
from ..pipelines.prediction import chunk_of, guided_by_text
from ..pipelines.settings import Settings
from ..pipelines.text_to_video import generate, text_job
from ..pipelines.trace import Trace, layer_size, trace
from ..text import words_of
from ..video import Video

SHOWN = 5  # timesteps at which x̂_0 is shown, and text attention read
LAYERS = 3  # layers whose cross-frame attention is shown, of different sizes
MOST_WORDS = 16
STAGE = "all frames"


@dataclass(frozen=True)
class Explained:
    """What the page shows. Latents and maps are on the CPU; frames are counted from 0 here, from 1 on the page."""

    settings: Settings
    video: Video
    other: Video  # from the same noise, attention as `other_attention` says
    other_attention: str
    trace: Trace  # x_T, warped, … of the first video; see pipelines.trace.NAMES
    timesteps: dict[str, int]  # "start", "T", "T_prime", on the sampler's grid
    ratio: float  # r of the jump from T' to T (E9)
    alone: dict[int, tuple[Tensor, np.ndarray]]  # t -> frame 1's x_t (1, c, h, w) and its x̂_0, decoded (H, W, 3)
    together: dict[int, np.ndarray]  # t -> x̂_0 of all frames, decoded (m, H, W, 3)
    words: dict[str, Tensor]  # word -> the share of the attention to words that it gets, (m, h, w)
    subject: list[str]  # the words taken for the foreground
    foreground: Tensor  # (m, 1, h, w) in {0, 1}
    points: list[tuple[float, float]]  # from where attention is followed, (x, y) in [0, 1] of the frame
    look_t: int  # at this timestep
    looks: dict[str, Tensor]  # layer -> (m, points, h, w), in frame `targets[k]`
    targets: list[int]  # for each frame, the first one it looks at: 0 with first-frame attention


def explain(
    sd, settings: Settings, points: list[tuple[float, float]] | None = None, progress: Progress | None = None
) -> Explained:
    """Make the video twice and keep what explains it. sd: a StableDiffusion.

    points: from where to follow cross-frame attention, (x, y) in [0, 1] of the frame; None: one on the subject and one
    in the background, found from the text attention. progress(done, total, stage), as for `generate`.
    Raises as `generate`, and InputError for fewer than two frames.
    """
    if settings.frames < 2:
        raise InputError("an explanation follows one frame to the next; ask for at least 2 frames")
    subject, job = subject_positions(sd.tokenizer, settings), text_job(sd, settings)
    shown = evenly([t for t in job.grid if t <= job.T], SHOWN)
    patterns = ["noise/*", "flow", "x_T*", "warped", "forward", "foreground", "smoothed", "x_?/frame 1 to T*"]
    patterns += [f"{name}/{STAGE}/{t}" for name in ("x_0", "x_t", "attention/*attn2") for t in shown]
    without = replace(settings, attention=other_attention(settings.attention))
    with trace(*patterns, points=points) as run:  # points are checked before the work
        video = generate(sd, settings, progress=_half(progress, 0, settings))
    other = generate(sd, without, progress=_half(progress, 1, without))

    words = _words(sd, settings)
    record, used = _text_record(run), sd.tokenizer.encode(settings.prompt).used
    found = foreground_from_attention(record, sd.tokenizer, settings)
    points = points or notable_points(attention_share(record, subject, used)[0, 0], found[0, 0])
    look_t = shown[len(shown) // 2]
    return Explained(
        settings=settings,
        video=video,
        other=other,
        other_attention=without.attention,
        trace=run,
        timesteps={"start": job.grid[0], "T": job.T, "T_prime": job.T_prime},
        ratio=sd.schedule.jump_ratio(job.T_prime, job.T, settings.jump_convention),
        alone=_frame_1_alone(sd, run),
        together={t: sd.decode(run[f"x_0/{STAGE}/{t}"]) for t in shown},
        words={word: attention_share(record, positions, used)[:, 0] for word, positions in words.items()},
        subject=[word for word, positions in words.items() if set(positions) & set(subject)],
        foreground=run["foreground"] if "foreground" in run else found,
        points=points,
        look_t=look_t,
        looks=look(sd, settings, run[f"x_t/{STAGE}/{look_t}"], look_t, points),
        targets=[frames_seen(settings.attention, k, settings.frames)[0] for k in range(settings.frames)],
    )


def other_attention(attention: str) -> str:
    """The second video's attention, by the first's: none between frames, or E12 where the first has none."""
    return "own" if attention != "own" else "first"


def evenly(values: list[int], count: int) -> list[int]:
    """At most `count` of the values, evenly spaced, first and last among them."""
    return [values[round(place)] for place in np.linspace(0, len(values) - 1, min(count, len(values)))]


def look(sd, settings: Settings, x_t: Tensor, t: int, points: list[tuple[float, float]]) -> dict[str, Tensor]:
    """Where the points of each frame look, at one timestep: layer -> (m, points, h, w) of the layer's own cells.

    The UNet is asked once more about x_t (m, c, h, w), and its self-attention traced. Maps are those of the first frame
    that frame k sees (E12: frame 1), of the prompt's half of the batch; the layers are `chosen_layers`.
    """
    height, width = x_t.shape[-2:]
    context = sd.encode_text([settings.negative_prompt, settings.prompt])
    predict = guided_by_text(sd.unet, context, settings.guidance_scale, settings.attention, chunk_of(sd.unet, settings))
    with trace("attention/*attn1/*", points=points) as run:
        predict(x_t.to(sd.device), t)
    maps = {name.split("/")[1]: found[-1, :, :, 0] for name, found in run.find("attention/*").items()}
    chosen = chosen_layers({layer: weights.shape[-1] for layer, weights in maps.items()})
    return {layer: maps[layer].unflatten(-1, layer_size(maps[layer].shape[-1], height, width)) for layer in chosen}


def chosen_layers(cells: dict[str, int]) -> list[str]:
    """One attention layer for each of the largest sizes, coarse to fine: the last but one of that size in the UNet.

    cells: of every layer, in the order the UNet runs them. The way up decides what the picture shows; its last layers
    are the ones to look at, the very last least, which only sharpens.
    """
    sizes = sorted(set(cells.values()), reverse=True)[:LAYERS]
    of_size = {size: [layer for layer in cells if cells[layer] == size] for size in sizes}
    return [of_size[size][max(len(of_size[size]) - 2, 0)] for size in sorted(sizes)]


def notable_points(share: Tensor, mask: Tensor) -> list[tuple[float, float]]:
    """Two points (x, y) in [0, 1] to look from: where the subject's words are read most; far from it and the border.

    share (h, w): the subject's share of the attention to words. mask (h, w): the foreground, 1. One point if there is
    no background.
    """
    h, w = mask.shape
    cells = torch.cartesian_prod(*(torch.arange(n, device="cpu", dtype=torch.float64) for n in (h, w)))  # (h·w, 2)
    smooth = F.avg_pool2d(share[None], kernel_size=3, stride=1, padding=1, count_include_pad=False)
    chosen = [cells[smooth.flatten().argmax()]]
    inside = mask.flatten() > 0.5
    if bool(inside.any()) and not bool(inside.all()):
        background = cells[~inside]
        to_border = torch.minimum(background, cells[-1] - background).amin(dim=1) + 1
        to_foreground = torch.cdist(background, cells[inside]).amin(dim=1)
        chosen.append(background[torch.minimum(to_foreground, 2 * to_border).argmax()])
    return [((float(x) + 0.5) / w, (float(y) + 0.5) / h) for y, x in chosen]


def _text_record(run: Trace) -> AttentionRecord:
    """The traced text attention of all frames as the record that E13's masks are made from."""
    record = AttentionRecord(*run["x_T"].shape[-2:])
    for name, maps in run.find(f"attention/*attn2/{STAGE}/*").items():
        record.add(name.split("/")[1], 0, maps)
    return record


def _frame_1_alone(sd, run: Trace) -> dict[int, tuple[Tensor, np.ndarray]]:
    """Some of the steps that only frame 1 took (E6), noisiest first."""
    steps = {int(name.rpartition("/")[2]): name for name in run.names if name.startswith("x_t/frame 1")}
    chosen = {t: steps[t] for t in evenly(list(steps), SHOWN)}
    return {t: (run[name], sd.decode(run[name.replace("x_t", "x_0", 1)])[0]) for t, name in chosen.items()}


def _words(sd, settings: Settings) -> dict[str, list[int]]:
    """The prompt's words, each once, and their positions among the tokens; words that were cut off are left out."""
    words = {}
    for word in words_of(settings.prompt):
        with suppress(InputError):  # it stands past the tokens that are read
            words[word] = sd.tokenizer.positions(settings.prompt, [word])
    return dict(list(words.items())[:MOST_WORDS])


def _half(progress: Progress | None, half: int, settings: Settings) -> Progress | None:
    """The progress of the first (0) or second (1) of two videos, as that of both."""
    if progress is None:
        return None
    said = f'attention "{settings.attention}"'
    return lambda done, total, stage: progress(half * total + done, 2 * total, f"{said}: {stage}")
