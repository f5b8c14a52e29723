"""The camera's path taken from a real video: E7's δ^k measured instead of asked for.

    path = camera_path(frames)      # robust: one translation, zoom and turn for every frame
    path.offsets, path.zoom, path.rotation
    text_to_video(sd, prompt, flow=path.flow(h, w))                  # or motion_from=frames
    text_to_video(sd, prompt, flow=dense_flow(frames, h, w))         # every cell by itself

Points are tracked from frame to frame (Lucas and Kanade 1981) and the one similarity that most of them follow is found
by random sampling (RANSAC, Fischler and Bolles 1981), so that a moving thing or a subtitle does not steer the camera.
Dense motion is optical flow (DIS, Kroeger et al. 2016). Both by OpenCV. The sign is the warp's, E8: frame k shows at p
what frame 1 shows at p + flow(p).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError
from ..motion.warping import cell_grid, warp
from ..video.frames import of_one_size
from .edges import load_opencv

GRID, PER_PLACE = 8, 12  # points are looked for in 8×8 parts of the frame, so that no corner has them all
LEAST_POINTS = 12  # tracked from one frame to the next; with fewer, a similarity is a guess
LEAST_AGREEING = 0.35  # of the tracked points that follow the one motion; fewer after a cut
LEAST_TRACKED = 0.3  # of the points that are found again in the next frame; fewer after a cut
STILL = 0.25  # pixels; a path that never leaves this circle is no motion


@dataclass(frozen=True)
class CameraPath:
    """to_first (m, 2, 3), float64: for every frame the affine map from its pixels (x, y, 1) to those of frame 1 that
    show the same; a turn, a zoom and a shift. height, width: pixels of the frames it was measured on."""

    to_first: Tensor
    height: int
    width: int

    def flow(self, height: int, width: int) -> Tensor:
        """The path as E8 takes it: (m, 2, height, width), float64, in cells of a latent of that size."""
        scale, cells = _float64(self.width / width, self.height / height)[:, None, None], cell_grid(height, width)
        pixels = (cells + 0.5) * scale - 0.5  # the middle of each cell
        seen = torch.einsum("mij,jhw->mihw", self.to_first[:, :, :2], pixels) + self.to_first[:, :, 2, None, None]
        return (seen + 0.5) / scale - 0.5 - cells

    @property
    def offsets(self) -> Tensor:
        """δ^k: how far right and down the camera has gone since frame 1, at the frame's middle: (m, 2) pixels."""
        middle = _float64((self.width - 1) / 2, (self.height - 1) / 2, 1.0)
        return self.to_first @ middle - middle[:2]

    @property
    def zoom(self) -> Tensor:
        """How many times larger frame k shows what frame 1 shows: (m,)."""
        return 1 / self.to_first[:, :, 0].norm(dim=1)

    @property
    def rotation(self) -> Tensor:
        """By how many degrees the picture has turned clockwise since frame 1: (m,)."""
        return -torch.rad2deg(torch.atan2(self.to_first[:, 1, 0], self.to_first[:, 0, 0]))

    @property
    def still(self) -> bool:
        """Whether the camera never moves by as much as a quarter of a pixel anywhere in the frame."""
        corners = self.flow(2, 2) * _float64(self.width / 2, self.height / 2)[:, None, None]
        return float(corners.norm(dim=1).max()) < STILL


def camera_path(frames: Iterable[np.ndarray]) -> CameraPath:
    """The path of the camera through a video: frames uint8 (m, H, W, 3), an array or one frame after the other.

    Raises InputError for fewer than two frames, for frames without anything to follow, and where the video is cut.
    """
    path = [np.eye(3)]
    for k, (before, after) in enumerate(_pairs(frames), start=2):
        path.append(path[-1] @ _step(before, after, k))
    return CameraPath(torch.from_numpy(np.stack(path)[:, :2]), *before.shape)


def dense_flow(frames: Iterable[np.ndarray], height: int, width: int) -> Tensor:
    """Optical flow from every frame back to frame 1: frames uint8 (m, H, W, 3) -> (m, 2, height, width) latent cells.

    Flows from frame to frame are followed one after the other. Raises as `camera_path`, but for what cannot be tracked.
    """
    opencv = load_opencv()
    finder = opencv.DISOpticalFlow_create(opencv.DISOPTICAL_FLOW_PRESET_MEDIUM)
    so_far, flows = None, [torch.zeros(1, 2, height, width, dtype=torch.float64, device="cpu")]
    for before, after in _pairs(frames):
        back = torch.from_numpy(finder.calc(after, before, None)).permute(2, 0, 1)[None].double()
        so_far = back if so_far is None else back + warp(so_far, back, "bilinear")
        flows.append(F.adaptive_avg_pool2d(so_far, (height, width)))
    rows, columns = so_far.shape[-2:]
    return torch.cat(flows) * _float64(width / columns, height / rows)[:, None, None]


def motion_of_clip(
    clip, frames: int, fps: float, height: int, width: int, dense: bool = False
) -> tuple[Tensor, list[str]]:
    """The flow (frames, 2, height, width) of a video to be made that moves as a clip does, and notes for the user.

    clip: a `video.Clip`, or an array uint8 (m, H, W, 3), whose frames are then taken one for one. Frame k follows the
    clip at its own time, (k − 1)/fps seconds. Raises InputError for a clip that is too short, and as `camera_path`.
    """
    rate = getattr(clip, "fps", fps)
    places = [round(k * rate / fps) for k in range(frames)]
    if places[-1] >= len(clip):
        enough = sum(place < len(clip) for place in places)
        raise InputError(
            f"the motion is to come from {len(clip)} frames at {rate:g} a second, which is enough for {enough} frames "
            f"at {fps:g} a second, not for {frames}; make fewer frames, or more a second"
        )
    seen = (clip[k] for k in range(min(max(places[-1] + 1, 2), len(clip))))
    if dense:
        return dense_flow(seen, height, width)[places], []
    path = camera_path(seen)
    path = replace(path, to_first=path.to_first[places])
    notes = ["the clip's camera stands still, so the video's does, too"] if path.still else []
    beyond = float((path.offsets.abs() / _float64(path.width, path.height)).max())
    if beyond > 0.5:
        notes.append(
            f"the clip's camera leaves its first frame by {100 * beyond:.0f} % of the side; "
            "what lies beyond frame 1 is its mirror image"
        )
    return path.flow(height, width), notes


def _pairs(frames: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Each frame with the one after it, in grey (H, W)."""
    opencv = load_opencv()
    grey = (opencv.cvtColor(np.ascontiguousarray(frame), opencv.COLOR_RGB2GRAY) for frame in of_one_size(frames))
    first, second = next(grey), next(grey, None)
    if second is None:
        raise InputError("motion is taken from a video of at least 2 frames; this one has 1")
    yield from pairwise(chain([first, second], grey))


def _step(before: np.ndarray, after: np.ndarray, k: int) -> np.ndarray:
    """The similarity (3, 3) from pixels of frame k to those of the frame before it."""
    opencv = load_opencv()
    points = _corners(before)
    if len(points) < LEAST_POINTS:
        seen = f"{len(points)} points, {LEAST_POINTS} are needed"
        raise InputError(f"frame {k - 1} shows too little detail to follow ({seen}); take another clip")
    there, found, _ = opencv.calcOpticalFlowPyrLK(before, after, points, None, winSize=(21, 21), maxLevel=4)
    back, found_back, _ = opencv.calcOpticalFlowPyrLK(after, before, there, None, winSize=(21, 21), maxLevel=4)
    good = (found & found_back).ravel().astype(bool) & (np.linalg.norm((back - points)[:, 0], axis=1) < 1.0)
    opencv.setRNGSeed(0)
    matrix, agree = None, np.zeros(1)
    if good.sum() >= max(LEAST_POINTS, LEAST_TRACKED * len(points)):
        matrix, agree = opencv.estimateAffinePartial2D(
            there[good], points[good], method=opencv.RANSAC, ransacReprojThreshold=0.75, maxIters=5000, confidence=0.999
        )
    if matrix is None or agree.mean() < LEAST_AGREEING:
        raise InputError(
            f"frames {k - 1} and {k} do not show the same scene moved (a cut, or everything moves by itself); "
            "cut the clip there, or take its whole field of motion (dense)"
        )
    return np.vstack([matrix, [0, 0, 1]])


def _corners(picture: np.ndarray) -> np.ndarray:
    """Corners to follow, the best of each part of the picture: float32 (n, 1, 2)."""
    opencv = load_opencv()
    height, width = picture.shape
    quality, distance = opencv.cornerMinEigenVal(picture, 5), max(3, min(height, width) // 64)
    least, found = max(0.005 * float(quality.max()), 1e-6), [np.zeros((0, 1, 2), np.float32)]
    for top, bottom in pairwise(np.linspace(0, height, GRID + 1).astype(int)):
        for left, right in pairwise(np.linspace(0, width, GRID + 1).astype(int)):
            place = slice(top, bottom), slice(left, right)
            if quality[place].size and quality[place].max() > least:
                corners = opencv.goodFeaturesToTrack(picture[place], PER_PLACE, 0.1, distance)
                found += [] if corners is None else [corners + np.float32((left, top))]
    return np.concatenate(found)


def _float64(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64, device="cpu")
