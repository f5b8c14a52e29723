"""The page of `t2vz explain`: one HTML file, each picture of a generation beside its equation and function."""

from math import floor

import numpy as np

from .. import __version__
from ..attention import attention_weights, cross_frame_attention, cross_frame_weights
from ..motion import motion_dynamics, smooth_background, warp
from ..motion.flow import global_motion, translation_flow
from ..pipelines.algorithm_1 import algorithm_1
from ..pipelines.decoding import decoded
from ..pipelines.denoise import denoise
from ..pipelines.masks import attention_share, foreground_from_attention
from ..schedulers import classifier_free_guidance, ddim_step, forward_jump, predict_x0
from ..text import encode_text
from .explain import Explained
from .page import render, source_of
from .pictures import false_colours, heat_over, masked, png_uri, small, strip

FUNCTIONS = (
    encode_text,
    classifier_free_guidance,
    algorithm_1,
    ddim_step,
    global_motion,
    translation_flow,
    warp,
    forward_jump,
    motion_dynamics,
    denoise,
    predict_x0,
    decoded,
    cross_frame_attention,
    cross_frame_weights,
    attention_weights,
    attention_share,
    foreground_from_attention,
    smooth_background,
)
LARGE = 256  # videos at least this wide are shown smooth; smaller ones with square pixels
ARROWS = 4  # a side, where the flow is not the same everywhere


def page(explained: Explained, sd, link_base: str = "", command: str = "t2vz explain …") -> str:
    """The page's HTML. sd: the model it was made with. link_base: see `page.Source.link`. command: what made it."""
    frames = small(explained.video.frames)
    m, height, width = explained.video.frames.shape[:3]
    return render(
        "explain.html",
        explained=explained,
        settings=explained.settings,
        moves=explained.settings.motion is not None,
        attention=explained.settings.attention,
        model="the embedded model" if sd.path is None or sd.path.name == "embedded" else sd.path.name,
        frames=m,
        fps=explained.video.fps,
        aspect=round(width / height, 4),
        cells=explained.trace["x_T"].shape[:-3:-1],
        strips={"this": png_uri(strip(explained.video.frames)), "other": png_uri(strip(explained.other.frames))},
        pixelated=max(height, width) < LARGE,
        tokens=_tokens(explained, sd),
        length=sd.tokenizer.length,
        **_motion(explained),
        **_together(explained, sd, frames),
        **_attention(explained, sd, frames),
        **_foreground(explained, frames),
        sources={function.__name__: source_of(function) for function in FUNCTIONS},
        link_base=link_base,
        command=command,
        version=__version__,
    )


def _tokens(explained: Explained, sd) -> list[dict]:
    """The prompt's tokens as CLIP cuts them, and which belong to the foreground's words."""
    prompt = explained.settings.prompt
    subject = set(sd.tokenizer.positions(prompt, explained.subject))
    return [
        {"text": text, "subject": place in subject} for place, text in enumerate(sd.tokenizer.texts(prompt), start=1)
    ]


def _motion(explained: Explained) -> dict:
    """E6 to E9: frame 1 alone, the warps, the noise added; or with motion off, where the frames start."""
    run = explained.trace
    values = {"x_T": _latents(run["x_T"]), "channels": run["x_T"].shape[1]}
    if explained.settings.motion is None:
        return values
    (x_T_prime,), flow = _latents(run["x_T'"]), run["flow"]
    values["x_T_prime"] = x_T_prime
    values["alone"] = [
        {"t": t, "x_t": _latents(x_t)[0], "x_0": png_uri(small(picture[None])[0])}
        for t, (x_t, picture) in explained.alone.items()
    ]
    values["warped"] = [{"uri": x_T_prime, "arrows": [], "asked": "0, 0", "moved": "0, 0"}]
    for uri, displacement in zip(_latents(run["warped"]), flow[1:], strict=True):
        asked, moved = _in_words(displacement)
        values["warped"].append({"uri": uri, "arrows": _arrows(displacement), "asked": asked, "moved": moved})
    return values


def _uniform(flow) -> bool:
    return bool((flow - flow[:, :1, :1]).abs().max() < 1e-6)


def _in_words(flow) -> tuple[str, str]:
    """A flow (2, h, w), in cells, as it is and as the warp rounds it; if it differs from cell to cell, the largest."""
    if not _uniform(flow):
        asked, moved = (float(each.norm(dim=0).max()) for each in (flow, (flow + 0.5).floor()))
        return f"up to {asked:.1f}", f"up to {moved:.1f}"
    dx, dy = flow[:, 0, 0].tolist()
    return f"{dx:.2f}, {dy:.2f}", f"{floor(dx + 0.5)}, {floor(dy + 0.5)}"


def _arrows(flow) -> list[tuple[float, float, float, float]]:
    """Lines from cells p to p + flow(p), in cells: one, or a few if the flow (2, h, w) is not the same everywhere."""
    _, h, w = flow.shape
    count = 1 if _uniform(flow) else ARROWS
    lines = []
    for i in range(count):
        for j in range(count):
            row, column = int((i + 0.5) * h / count), int((j + 0.5) * w / count)
            dx, dy = (float(d) for d in flow[:, row, column])
            lines.append((column + 0.5, row + 0.5, round(column + 0.5 + dx, 2), round(row + 0.5 + dy, 2)))
    return lines


def _together(explained: Explained, sd, frames) -> dict:
    """E10: x̂_0 of every frame at some timesteps, the finished frames, and those of the other video."""
    grid = sd.schedule.timesteps(explained.settings.steps)
    other = small(explained.other.frames)
    difference = np.abs(frames.astype(np.int16) - other).astype(np.uint8)
    return {
        "together": [{"t": t, "uris": _uris(small(pictures))} for t, pictures in explained.together.items()],
        "finished": _uris(frames),
        "finished_other": _uris(other),
        "difference": _uris(difference),
        "steps_together": sum(t <= explained.timesteps["T"] for t in grid),
    }


def _attention(explained: Explained, sd, frames) -> dict:
    """E12 from each point, and for each word who reads it."""
    means = {word: float(share[0].mean()) for word, share in explained.words.items()}
    most = max(means.values())
    words = [
        {
            "text": word,
            "uri": png_uri(heat_over(frames[0], share[0])),
            "percent": f"{100 * means[word]:.0f}",
            "width": round(100 * means[word] / most, 1),
        }
        for word, share in explained.words.items()
    ]
    layers = sum(name.endswith("attn1.to_q.weight") for name in sd.unet.state_dict())
    return {
        "attention_layers": layers,
        "looks": [_look(explained, frames, p) for p in range(len(explained.points))],
        "words": words,
    }


def _look(explained: Explained, frames, p: int) -> dict:
    """One point: where it is, and for each layer, frame by frame, the heat over the frame that is looked at."""
    flow, (x, y) = explained.trace["flow"], explained.points[p]
    h, w = flow.shape[-2:]
    row, column = min(int(y * h), h - 1), min(int(x * w), w - 1)
    rings = [None]  # where the warp took the point from, if that is inside frame 1
    for dx, dy in flow[1:, :, row, column].tolist():
        from_ = (x + dx / w, y + dy / h)
        rings.append(from_ if 0 <= min(from_) and max(from_) <= 1 else None)
    layers = []
    for layer, maps in explained.looks.items():
        cells = [
            {"uri": png_uri(heat_over(frames[target], maps[k, p])), "ring": rings[k] if target == 0 else None}
            for k, target in enumerate(explained.targets)
        ]
        name = layer.split(".transformer_blocks")[0].replace(".attentions", "")
        layers.append({"name": name, "size": f"{maps.shape[-1]} × {maps.shape[-2]} cells", "cells": cells})
    place = "on the subject" if explained.foreground[0, 0, row, column] > 0 else "in the background"
    return {"at": (x, y), "where": f"{place}, ({x:.2f}, {y:.2f})", "layers": layers}


def _foreground(explained: Explained, frames) -> dict:
    """E13: the masks, and the smoothed latents if there are any."""
    run = explained.trace
    masks = [masked(frame, mask) for frame, mask in zip(frames, explained.foreground[:, 0], strict=True)]
    return {"masks": _uris(masks), "smoothed": _latents(run["smoothed"]) if "smoothed" in run else []}


def _uris(frames) -> list[str]:
    return [png_uri(frame) for frame in frames]


def _latents(latents) -> list[str]:
    return _uris(false_colours(latents))
