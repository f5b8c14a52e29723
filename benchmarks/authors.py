"""The authors' own published videos, measured: is what this project computes what their program showed?

    python benchmarks/authors.py RESULTS                            # the release's results folder, or any with GIFs
    python benchmarks/authors.py RESULTS --edges fox.gif=fix_edge.gif --motion horse_galloping_3=6

For every video the content's measured shift from frame 1, in latent cells of 8 pixels, beside what E7 and E8 predict
under both flow conventions (docs/method.md, difference 2); for every video with its edges, how well they were followed.
A control video NAME_edge belongs to NAME; --edges names other pairs. Needs `pip install -e '.[control]'`.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np

from t2vz.conditions import edges
from t2vz.metrics import measured_motion
from t2vz.motion import global_motion, translation_flow
from t2vz.motion.flow import CONVENTIONS
from t2vz.video import open_clip

SIDE, CELL = 512, 8  # the authors' pictures; a latent cell in pixels
NEAR = 8  # pixels of 512 within which an edge counts as followed: 2 of 128
BELIEVED = 0.4  # match of a shift (`Shifts.match`) below which the frame is left out: its content hides the motion


def main() -> None:
    options = arguments()
    videos = {path.name: path for path in sorted(options.folder.iterdir()) if path.suffix in (".gif", ".mp4", ".webp")}
    pairs = {name: f"{Path(name).stem}_edge{Path(name).suffix}" for name in videos}
    pairs = {name: control for name, control in pairs.items() if control in videos}
    pairs |= dict(pair.split("=") for pair in options.edges)
    deltas = {name: float(value) for name, value in (pair.split("=") for pair in options.motion)}
    free = [name for name in videos if name not in {*pairs, *pairs.values()}]
    if free:
        print("\n| video | δ | cells, content to the left | cells, up | predicted, release | predicted, exact |")
        print("|---|---|---|---|---|---|")
    for name in free:
        print(motion_row(name, frames_of(videos[name]), deltas.get(Path(name).stem, options.delta)))
    if pairs:
        print(f"\n| video | its edges | recall within {NEAR} pixels | precision | F |\n|---|---|---|---|---|")
    for name, control in pairs.items():
        recall, precision = followed(frames_of(videos[name]), frames_of(videos[control]))
        f = 2 * recall * precision / max(recall + precision, 1e-9)
        print(f"| {name} | {control} | {recall:.2f} | {precision:.2f} | {f:.2f} |")


def frames_of(path: Path) -> np.ndarray:
    """All frames of a video, uint8 (m, 512, 512, 3)."""
    with open_clip(path, resolution=SIDE) as clip:
        return clip[:]


def motion_row(name: str, frames: np.ndarray, delta: float) -> str:
    """The table's row of one video: measured cells, and what the warp moves for λ·δ = (delta, delta)."""
    found = measured_motion(frames)
    cells = [
        ["–" if match < BELIEVED else f"{-x / CELL:.1f}" for x, match in zip(axis, found.match, strict=True)]
        for axis in found.pixels.T
    ]
    predicted = [" ".join(map(str, predicted_cells(delta, len(frames), convention))) for convention in CONVENTIONS]
    return f"| {name} | {delta:g} | {' '.join(cells[0])} | {' '.join(cells[1])} | {predicted[0]} | {predicted[1]} |"


def predicted_cells(delta: float, frames: int, convention: str) -> list[int]:
    """By how many cells E8 moves frames 2 … m: E7's flow, rounded as the warp rounds (half a cell up)."""
    flow = translation_flow(global_motion((delta, delta), frames), SIDE // CELL, SIDE // CELL, convention)
    return [int(cells) for cells in np.floor(flow[1:, 0, 0, 0].numpy() + 0.5)]


def followed(frames: np.ndarray, asked: np.ndarray) -> tuple[float, float]:
    """(recall, precision): the share of asked edges near an edge of the video, and of the video's near an asked one."""
    kernel = np.ones((2 * NEAR + 1, 2 * NEAR + 1), np.uint8)
    hit = shown = wanted = kept = 0
    for frame, control in zip(frames, asked, strict=False):
        found, edge = edges(frame)[..., 0] > 0, control.max(axis=2) > 127
        hit += (edge & (cv2.dilate(found.astype(np.uint8), kernel) > 0)).sum()
        kept += (found & (cv2.dilate(edge.astype(np.uint8), kernel) > 0)).sum()
        shown, wanted = shown + found.sum(), wanted + edge.sum()
    return hit / max(wanted, 1), kept / max(shown, 1)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of the published videos")
    parser.add_argument("--delta", type=float, default=12.0, help="λ·δ that they were made with (12)")
    parser.add_argument("--motion", nargs="*", default=[], metavar="NAME=X", help="another λ·δ for some: horse=6")
    parser.add_argument("--edges", nargs="*", default=[], metavar="VIDEO=CONTROL", help="further pairs to compare")
    return parser.parse_args()


if __name__ == "__main__":
    main()
