"""Depth by a `transformers` depth-estimation model, near is bright: what the ControlNets named "depth" read.

find = DepthFinder.load("LiheYoung/depth-anything-small-hf")     # or a folder
find(frame)                                                      # uint8 (H, W, 3)
"""

import numpy as np
import torch

from ..video.frames import check_frame
from .hub import load_from_hub

# Models whose output is a distance, larger for what is farther; the others give inverse depth, up to scale and shift.
METRIC = ("zoedepth", "glpn", "depth_pro", "prompt_depth_anything")


class DepthFinder:
    """uint8 (H, W, 3) -> uint8 (H, W, 3): how near each pixel is, 255 the nearest of the frame, 0 the farthest.

    Each frame is scaled by its own range, as in the release (MiDaS) and ControlNet's annotators.
    model, processor: of `transformers`, for depth estimation. metric: the model gives distances, so that near is small.
    """

    def __init__(self, model, processor, metric: bool):
        self.model, self.processor, self.metric = model, processor, metric

    @classmethod
    def load(cls, name: str, device: str | torch.device = "cpu") -> "DepthFinder":
        """From a folder, or a name on the Hugging Face hub. Raises InputError as `load_from_hub`."""
        from transformers import AutoModelForDepthEstimation

        model, processor = load_from_hub(AutoModelForDepthEstimation, name, "depth-estimation", device)
        kind = getattr(model.config, "depth_estimation_type", "relative")
        return cls(model, processor, metric=kind == "metric" or model.config.model_type in METRIC)

    @torch.no_grad()
    def __call__(self, frame: np.ndarray) -> np.ndarray:
        size = check_frame(frame).shape[:2]
        pixels = self.processor(frame, return_tensors="pt")["pixel_values"].to(self.model.device)
        # ZoeDepth's processor pads, and wants to know what was there before
        before = {"source_sizes": [size]} if self.model.config.model_type == "zoedepth" else {}
        found = self.processor.post_process_depth_estimation(self.model(pixels), target_sizes=[size], **before)
        depth = found[0]["predicted_depth"].double().cpu().numpy()  # (H, W)
        return _as_picture(-depth if self.metric else depth)


def _as_picture(nearness: np.ndarray) -> np.ndarray:
    """Any numbers (H, W) -> uint8 (H, W, 3), the least 0 and the most 255; all equal: all 0."""
    nearness = nearness - nearness.min()
    grey = nearness / max(nearness.max(), 1e-12) * 255
    return np.repeat(grey.round().astype(np.uint8)[:, :, None], 3, axis=2)
