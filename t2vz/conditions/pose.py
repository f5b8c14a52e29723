"""Poses as skeletons in OpenPose's colours on black: what the ControlNets named "openpose" read.

    find = PoseFinder.load("usyd-community/vitpose-base-simple")     # or a folder
    find(frame)                                                      # uint8 (H, W, 3)

The release takes a video of such skeletons, ready-made; that needs nothing of this file.
"""

import math
from colorsys import hsv_to_rgb

import numpy as np
import torch

from ..errors import library
from ..video.frames import check_frame
from .edges import load_opencv
from .hub import load_from_hub

# OpenPose's 18 points in the order of COCO's 17 (0 nose, 5 left shoulder …) and the neck, which is made: number 17.
SHOULDERS = [5, 6]
FROM_COCO = (0, 17, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3)
# Seventeen limbs from one point to another, and the colours of points and limbs: the hues, in steps of 20 degrees.
LIMBS_FROM = (1, 1, 2, 3, 5, 6, 1, 8, 9, 1, 11, 12, 1, 0, 14, 0, 15)
LIMBS_TO = (2, 5, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 0, 14, 16, 15, 17)
COLOURS = tuple(tuple(round(255 * part) for part in hsv_to_rgb(k / 18, 1, 1)) for k in range(18))
LEAST_SCORE = 0.3  # a point that the model is less sure of is not drawn


class PoseFinder:
    """uint8 (H, W, 3) -> uint8 (H, W, 3): the skeleton of the person in the frame, black where there is none.

    model, processor: of `transformers`, a pose model of the VitPose family that knows COCO's 17 points. It looks at the
    whole frame as one person; of several it draws the one it sees best, so crop the video, or bring skeletons.
    """

    def __init__(self, model, processor):
        self.model, self.processor = model, processor

    @classmethod
    def load(cls, name: str, device: str | torch.device = "cpu") -> "PoseFinder":
        """From a folder, or a name on the Hugging Face hub. Raises InputError as `load_from_hub`."""
        from transformers import VitPoseForPoseEstimation

        load_opencv()
        library("scipy", "poses need", "control")
        return cls(*load_from_hub(VitPoseForPoseEstimation, name, "pose (VitPose)", device))

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        return draw_skeleton(*self.find(frame), *np.shape(frame)[:2])

    @torch.no_grad()
    def find(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """COCO's points in the frame: positions (17, 2), x and y in pixels, and the model's scores (17,)."""
        height, width = check_frame(frame).shape[:2]
        boxes = [[[0.0, 0.0, float(width), float(height)]]]
        pixels = self.processor(frame, boxes=boxes, return_tensors="pt")["pixel_values"].to(self.model.device)
        experts = getattr(self.model.config.backbone_config, "num_experts", 1) > 1  # VitPose+: expert 0 is COCO's
        extra = {"dataset_index": torch.zeros(1, dtype=torch.long, device=pixels.device)} if experts else {}
        found = self.processor.post_process_pose_estimation(self.model(pixels, **extra), boxes=boxes)[0][0]
        return found["keypoints"].cpu().numpy(), found["scores"].cpu().numpy().reshape(-1)


def draw_skeleton(points: np.ndarray, scores: np.ndarray, height: int, width: int) -> np.ndarray:
    """COCO's points (17, 2) and scores (17,) -> a skeleton in OpenPose's colours, uint8 (height, width, 3).

    As ControlNet's annotator draws: dots of radius 4, then limbs as ellipses 8 thick at 60 % over them (sizes for 512
    pixels, and in proportion for others). Points below LEAST_SCORE are left out, with their limbs.
    """
    cv2 = load_opencv()
    picture = np.zeros((height, width, 3), np.uint8)
    joints, thick = openpose_joints(points, scores), max(1, round(4 * max(height, width) / 512))
    for (x, y), colour in zip(joints, COLOURS, strict=True):
        if not np.isnan(x):
            cv2.circle(picture, (int(x), int(y)), thick, colour, thickness=-1)
    for (xa, ya), (xb, yb), colour in zip(joints[LIMBS_FROM, :], joints[LIMBS_TO, :], COLOURS):
        if not np.isnan(xa + xb):
            half, angle = int(math.hypot(xa - xb, ya - yb) / 2), int(math.degrees(math.atan2(ya - yb, xa - xb)))
            outline = cv2.ellipse2Poly((int((xa + xb) / 2), int((ya + yb) / 2)), (half, thick), angle, 0, 360, 1)
            limb = cv2.fillConvexPoly(picture.copy(), outline, colour)
            picture = cv2.addWeighted(picture, 0.4, limb, 0.6, 0)
    return picture


def openpose_joints(points: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """OpenPose's 18 joints, x and y, (18, 2), from COCO's 17; NaN for those not seen. The neck lies between the
    shoulders."""
    seen = np.where(np.asarray(scores)[:, None] >= LEAST_SCORE, np.asarray(points, float), np.nan)
    return np.vstack([seen, seen[SHOULDERS].mean(axis=0)])[FROM_COCO, :]
