"""The contact sheet: all frames of a video on one picture, for papers, slides and a quick look."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..errors import InputError

PAPER = (250, 250, 248)
INK = (70, 70, 70)
FULL_ROW = 8  # the method's number of frames: up to here they stand in one row


def contact_sheet(
    frames: np.ndarray, columns: int | None = None, caption: str | None = None, max_width: int = 2000
) -> np.ndarray:
    """Lay the frames out in reading order. uint8 (m, H, W, 3) -> uint8 (H', W', 3), W' <= max_width.

    columns: frames per row; None puts up to 8 in one row, more in rows of 8. Frames are never enlarged, and
    made smaller only as far as `max_width` asks. caption: one line under the frames, cut with "…" where it
    does not fit.
    Raises InputError when columns < 1, or so many that a frame would be less than one pixel wide.
    """
    m, height, width, _ = frames.shape
    columns = min(m, FULL_ROW if columns is None else columns)
    if columns < 1:
        raise InputError(f"columns is {columns}; a contact sheet needs at least 1")
    gap = max(2, min(width, max_width // columns) // 48)
    cell_width = min(width, (max_width - gap) // columns - gap)
    if cell_width < 1:
        raise InputError(f"{columns} columns do not fit into {max_width} pixels; ask for fewer columns")
    cell_height = max(1, round(height * cell_width / width))

    sheet_width, sheet_height = gap + columns * (cell_width + gap), gap + -(-m // columns) * (cell_height + gap)
    text = _caption(caption, sheet_width, gap) if caption else None
    sheet = Image.new("RGB", (sheet_width, sheet_height + (text.height if text else 0)), PAPER)
    for k, frame in enumerate(frames):
        row, column = divmod(k, columns)
        cell = Image.fromarray(frame).resize((cell_width, cell_height), Image.Resampling.LANCZOS)
        sheet.paste(cell, (gap + column * (cell_width + gap), gap + row * (cell_height + gap)))
    if text:
        sheet.paste(text, (0, sheet_height))
    return np.asarray(sheet)


def _caption(caption: str, width: int, gap: int) -> Image.Image:
    """One line of text as a Pillow image `width` pixels wide, cut with "…" to fit."""
    size = min(26, max(11, width // 75))
    font = ImageFont.load_default(size)
    line = " ".join(caption.split())
    room = width - 2 * (gap + 2)
    if font.getlength(line) > room:
        fits = (line[:end] for end in range(len(line), -1, -1) if font.getlength(line[:end] + "…") <= room)
        line = next(fits, "").rstrip() + "…"
    picture = Image.new("RGB", (width, round(1.9 * size)), PAPER)
    ImageDraw.Draw(picture).text((gap + 2, picture.height / 2), line, font=font, fill=INK, anchor="lm")
    return picture
