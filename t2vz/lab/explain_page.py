"""The page of `t2vz explain`: one HTML file, each picture of a generation beside its equation and function.

What the pictures show is said in templates/explain.html, which also names the functions that it cites.
"""

from math import floor

import numpy as np
from torch import Tensor

from .. import __version__
from .explain import Explained
from .page import render
from .pictures import false_colours, heat_over, masked, picture_uri, small, strip

LARGE = 256  # videos at least this wide are shown smooth; smaller ones with square pixels
ARROWS = 4  # a side, where the flow is not the same everywhere


def page(explained: Explained, sd, link_base: str = "", command: str = "t2vz explain …") -> str:
    """The page's HTML. sd: the model it was made with. link_base: see `page.Source.link`. command: what made it."""
    settings, run = explained.settings, explained.trace
    m, height, width = explained.video.frames.shape[:3]
    frames, other = small(explained.video.frames), small(explained.other.frames)
    subject = set(sd.tokenizer.positions(settings.prompt, explained.subject))
    return render(
        "explain.html",
        explained=explained,
        settings=settings,
        model="the embedded model" if sd.path is None or sd.path.name == "embedded" else sd.path.name,
        frames=m,
        aspect=round(width / height, 4),
        cells=run["x_T"].shape[:-3:-1],
        strips={
            "this": picture_uri(strip(explained.video.frames)),
            "other": picture_uri(strip(explained.other.frames)),
        },
        pixelated=max(height, width) < LARGE,
        tokens=[(text, place in subject) for place, text in enumerate(sd.tokenizer.texts(settings.prompt), start=1)],
        length=sd.tokenizer.length,
        warped=_warped(run["x_T'"], run["warped"], run["flow"]) if "warped" in run else [],
        steps_together=sum(t <= explained.timesteps["T"] for t in sd.schedule.timesteps(settings.steps)),
        uris=_uris,
        latents=_latents,
        finished=_uris(frames),
        finished_other=_uris(other),
        difference=_uris(np.abs(frames.astype(np.int16) - other).astype(np.uint8)),
        attention_layers=sum(name.endswith("attn1.to_q.weight") for name in sd.unet.state_dict()),
        looks=[_look(explained, frames, p) for p in range(len(explained.points))],
        words={
            word: (picture_uri(heat_over(frames[0], share[0])), float(share[0].mean()))
            for word, share in explained.words.items()
        },
        masks=[picture_uri(masked(*pair)) for pair in zip(frames, explained.foreground[:, 0], strict=True)],
        link_base=link_base,
        command=command,
        version=__version__,
    )


def _uris(frames: np.ndarray) -> list[str]:
    """Frames (m, H, W, 3) as data: addresses, no larger than a grid shows them."""
    return [picture_uri(frame) for frame in small(frames)]


def _latents(latents: Tensor) -> list[str]:
    """Latents (f, c, h, w) as data: addresses, in false colours."""
    return [picture_uri(frame) for frame in false_colours(latents)]


def _warped(x_T_prime: Tensor, warped: Tensor, flow: Tensor) -> list[dict]:
    """E7 and E8: every frame's latent at T', with arrows and words for the flow (m, 2, h, w) that it was warped by."""
    (first,) = _latents(x_T_prime)
    cells = [{"uri": first, "arrows": [], "asked": "0, 0", "moved": "0, 0"}]
    for uri, displacement in zip(_latents(warped), flow[1:], strict=True):
        uniform = bool((displacement - displacement[:, :1, :1]).abs().max() < 1e-6)
        if uniform:
            dx, dy = displacement[:, 0, 0].tolist()
            asked, moved = f"{dx:.2f}, {dy:.2f}", f"{floor(dx + 0.5)}, {floor(dy + 0.5)}"
        else:
            lengths = [float(each.norm(dim=0).max()) for each in (displacement, (displacement + 0.5).floor())]
            asked, moved = (f"up to {length:.1f}" for length in lengths)
        arrows = _arrows(displacement, 1 if uniform else ARROWS)
        cells.append({"uri": uri, "arrows": arrows, "asked": asked, "moved": moved})
    return cells


def _arrows(flow: Tensor, count: int) -> list[tuple[float, float, float, float]]:
    """Lines from cells p to p + flow(p), in cells: count × count of them, evenly over the flow (2, h, w)."""
    rows, columns = ([int((i + 0.5) * side / count) for i in range(count)] for side in flow.shape[1:])
    cells = [(column + 0.5, row + 0.5, *flow[:, row, column].tolist()) for row in rows for column in columns]
    return [(x, y, round(x + dx, 2), round(y + dy, 2)) for x, y, dx, dy in cells]


def _look(explained: Explained, frames: np.ndarray, p: int) -> dict:
    """E12 from one point: where it is, and by layer and frame the heat over the frame that is looked at."""
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
            (picture_uri(heat_over(frames[target], maps[k, p])), rings[k] if target == 0 else None)
            for k, target in enumerate(explained.targets)
        ]
        name = layer.split(".transformer_blocks")[0].replace(".attentions", "")
        layers.append({"name": name, "size": f"{maps.shape[-1]} × {maps.shape[-2]} cells", "cells": cells})
    place = "on the subject" if explained.foreground[0, 0, row, column] > 0 else "in the background"
    return {"at": (x, y), "where": f"{place}, ({x:.2f}, {y:.2f})", "layers": layers}
