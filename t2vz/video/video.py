"""Video, what every pipeline returns: the frames, the latents they were decoded from, how they were made."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from ..errors import InputError
from .frames import check_frames
from .sheet import contact_sheet
from .write import check_output, write_frames, write_image

DEFAULT_FPS = 4  # what the authors' release writes for text-to-video


@dataclass(eq=False, repr=False)
class Video:
    """A short video in memory.

    frames:   uint8 numpy array (m, H, W, 3), red, green, blue, 0..255
    latents:  float tensor (m, 4, H/8, W/8), scaled, as denoised; None for a video that was read from a file
    fps:      frames per second
    settings: all that made it (prompt, seed, steps …), as a run file records it
    notes:    one-line remarks for the user: what was cut, snapped to a grid, ignored

    Raises InputError when the frames are not as above or the latents are not m.
    """

    frames: np.ndarray
    latents: torch.Tensor | None = None
    fps: float = DEFAULT_FPS
    settings: dict = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.frames = frames = check_frames(self.frames)
        if self.latents is not None and len(self.latents) != len(frames):
            raise InputError(f"{len(frames)} frames come with {len(self.latents)} latents; give one for each")

    def __len__(self) -> int:
        return len(self.frames)

    def __repr__(self) -> str:
        m, height, width, _ = self.frames.shape
        return f"Video({m} frames, {height}×{width}, {self.fps:g} fps)"

    def save(self, path: str | Path, overwrite: bool = True) -> Path:
        """Save the frames by the ending of `path`; return it as a Path. The file appears whole or not at all.

            "out.mp4"   H.264, plays in a browser; an odd height or width is made even by repeating the edge
            "out.gif"   loops for ever, 255 colours, no dithering
            "out/"      a folder with frame_0001.png …, exact (also any name without an ending)

        An existing file is replaced unless overwrite is False. An existing folder is replaced only if it is
        empty or holds nothing but frames saved here before.
        Raises InputError (another ending, overwrite=False and it exists, a folder with other files) and
        FailedError (no ffmpeg, disk full, not allowed).
        """
        check_output(path, overwrite)
        write_frames(path, self.frames, self.fps)
        return Path(path)

    def sheet(self, columns: int | None = None, caption: str | None = None) -> np.ndarray:
        """All frames on one picture, uint8 (H', W', 3), at most 2000 pixels wide; see `sheet.contact_sheet`.

        caption: the line under the frames; None writes the prompt if `settings` has one, "" writes none.
        """
        if caption is None:
            caption = self.settings.get("prompt")
        return contact_sheet(self.frames, columns, caption)

    def save_sheet(self, path: str | Path, columns: int | None = None, caption: str | None = None) -> Path:
        """Save `sheet(columns, caption)` as .png, .jpg or .webp; return the path."""
        write_image(path, self.sheet(columns, caption))
        return Path(path)
