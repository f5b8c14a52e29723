"""The README's moving picture, docs/opening.webp: four videos of the embedded models side by side.

    python docs/moving.py

The first command's own video; the same seed without the paper's two ideas; a painted clip whose edges are followed; the
same clip edited. Drawn anew whenever the embedded models change.
"""

import sys
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from t2vz import StableDiffusion, control_video, edit_video, text_to_video  # noqa: E402
from t2vz.conditions import edges  # noqa: E402
from t2vz.files import write_bytes  # noqa: E402
from t2vz.model import load_controlnet  # noqa: E402
from t2vz.world import paint_clip, scene_from_words  # noqa: E402

PROMPT = "a red ball on a green meadow"
CONTROLLED, INSTRUCTION = "a blue ball on a sandy beach", "make it snow"
SIDE, GAP, LINE = 200, 8, 18  # pixels: a tile, the space between tiles, a line of its caption
MILLISECONDS = 250


def main() -> None:
    """Make the four videos and write them as one animated WebP."""
    sd = StableDiffusion.load()
    source = paint_clip(scene_from_words(PROMPT, 0), sd.default_size, 16)[0][::2]
    tiles = {
        f'"{PROMPT}"\nas the first command makes it': text_to_video(sd, PROMPT).frames,
        "the same seed, without the motion\nand without attention to frame 1": text_to_video(
            sd, PROMPT, attention="own", motion=None
        ).frames,
        f'a clip\'s edges followed:\n"{CONTROLLED}"': control_video(
            sd, CONTROLLED, np.stack([edges(frame) for frame in source]), load_controlnet()
        ).frames,
        f'the same clip edited:\n"{INSTRUCTION}"': edit_video(
            StableDiffusion.load(edit=True), source, INSTRUCTION
        ).frames,
    }
    pages = [page({words: frames[k] for words, frames in tiles.items()}) for k in range(len(source))]
    data = BytesIO()
    pages[0].save(
        data, "WebP", save_all=True, append_images=pages[1:], duration=MILLISECONDS, loop=0, quality=85, method=6
    )
    write_bytes(Path(__file__).with_name("opening.webp"), data.getvalue())


def page(tiles: dict[str, np.ndarray]) -> Image.Image:
    """One moment of all videos: their frames in a row, each above its caption."""
    sheet = Image.new("RGB", (len(tiles) * (SIDE + GAP) - GAP, SIDE + 2 * LINE + GAP), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for i, (words, frame) in enumerate(tiles.items()):
        x = i * (SIDE + GAP)
        sheet.paste(Image.fromarray(frame).resize((SIDE, SIDE), Image.Resampling.BICUBIC), (x, 0))
        draw.multiline_text((x + SIDE / 2, SIDE + 4), words, "#333333", font, anchor="ma", align="center", spacing=3)
    return sheet


if __name__ == "__main__":
    main()
