"""All measures of one video at once, by name: what `t2vz score` prints and studies compare."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..video.frames import check_frames
from .clip_model import CLIP, clip_score, embed_images, embed_texts, frame_consistency
from .motion import measured_motion, motion_error, motion_per_frame, requested_motion
from .pixels import background_change, histogram_similarity, warp_error

REACH = 1 / 3  # of the frame: phase correlation is reliable up to here


@dataclass(frozen=True)
class Measure:
    """label, scale: in words. best: "higher", "lower", or "" where neither is better. needs: what must be given."""

    label: str
    scale: str
    best: str
    needs: tuple[str, ...] = ()


MEASURES = {
    "clip_score": Measure("CLIP score (E16)", "0 to 100", "higher", ("prompt",)),
    "consistency_next": Measure("frame consistency, each with the next", "-1 to 1", "higher", ("frames",)),
    "consistency_first": Measure("frame consistency, each with the first", "-1 to 1", "higher", ("frames",)),
    "histogram_similarity": Measure("colour histogram, each with the next", "0 to 1", "higher", ("frames",)),
    "motion_x": Measure("camera motion to the right, a frame", "pixels", "", ("frames",)),
    "motion_y": Measure("camera motion down, a frame", "pixels", "", ("frames",)),
    "motion_match": Measure("match of the frames, moved back", "-1 to 1", "", ("frames",)),
    "motion_error": Measure("motion, away from what was asked", "pixels", "lower", ("frames", "motion")),
    "warp_error": Measure("warp error, after the measured motion", "0 to 255", "lower", ("frames",)),
    "warp_error_asked": Measure("warp error, after the motion asked for", "0 to 255", "lower", ("frames", "motion")),
    "background_change": Measure("background change outside the masks", "0 to 255", "lower", ("frames", "masks")),
}


def score_video(
    frames: np.ndarray,
    clip: CLIP | None = None,
    prompt: str | None = None,
    motion: tuple[float, float] | None = None,
    masks: Tensor | None = None,
) -> dict[str, float | None]:
    """Every measure of `MEASURES` for frames uint8 (m, H, W, 3); None for those that cannot be taken.

    clip: for the CLIP score and frame consistency. prompt: for the CLIP score. motion: λ·(δ_x, δ_y) as it was asked
    for, in 1/512ths of the frame. masks (m, 1, H, W) in [0, 1], 1 is foreground: motion is then the background's. The
    background is compared after the motion asked for, or else the measured one.
    """
    frames, found = check_frames(frames), dict.fromkeys(MEASURES)
    if clip is not None:
        images = embed_images(clip, frames)
        if prompt is not None:
            found["clip_score"] = clip_score(images, embed_texts(clip, [prompt])[0])
        if len(frames) > 1:
            found["consistency_next"], found["consistency_first"] = frame_consistency(images)
    if len(frames) < 2:
        return found
    found["histogram_similarity"] = histogram_similarity(frames)
    moved = measured_motion(frames, masks)
    found["motion_x"], found["motion_y"] = (-motion_per_frame(moved.pixels)).tolist()
    found["motion_match"] = float(moved.match.mean())
    offsets = F.pad(-moved.pixels, (0, 0, 1, 0))  # frame 1's before them: none
    found["warp_error"] = warp_error(frames, offsets)
    if motion is not None:
        asked = requested_motion(motion, *frames.shape[:3])
        near = (asked.abs() <= REACH * torch.tensor(frames.shape[2:0:-1], device="cpu")).all(dim=1)
        found["motion_error"] = motion_error(moved.pixels[near], asked[near]) if near.any() else None
        offsets = F.pad(asked, (0, 0, 1, 0))
        found["warp_error_asked"] = warp_error(frames, offsets)
    if masks is not None:
        found["background_change"] = background_change(frames, masks, offsets)
    return found
