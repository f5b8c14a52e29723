"""Frames for tests of videos: noise, and films whose frames tell their own number."""

import numpy as np

from t2vz.video import Video


def noise(m, height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (m, height, width, 3), dtype=np.uint8)


def numbered(m, fps, height=32, width=32, step=4):
    """m grey frames, frame k of brightness step·k."""
    grey = (step * np.arange(m, dtype=np.uint8))[:, None, None, None]
    return Video(np.broadcast_to(grey, (m, height, width, 3)).copy(), fps=fps)


def numbers(frames, step=4):
    return [round(float(frame.mean()) / step) for frame in frames]


def tree(folder):
    """Every path below a folder, hidden ones included, with the contents of the files."""
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}
