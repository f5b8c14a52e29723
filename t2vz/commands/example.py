"""`t2vz example`: draw a small clip to control and to edit."""

import argparse

from .flags import adder, path

DESCRIPTION = """Draw a short video with known contents: a thing that moves before a place that pans a little."""
EXAMPLES = """examples:
  t2vz example                                              a red ball on a green meadow, example.mp4
  t2vz example "a blue fish on the sea" --out fish.gif
  t2vz example "a yellow kite over the city" --frames 48 --size 512 --seed 3 --masks kite-masks/
"""
SCENE = "a red ball on a green meadow"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to draw, how long and how large."""
    add = adder(parser)
    add("scene", "SCENE", f"a colour, a thing and a place of the picture world ({SCENE})", nargs="?", default=SCENE)
    add("-o --out", "PATH", "NAME.mp4, NAME.gif, or a folder/ (example.mp4)", path, default="example.mp4")
    add("--masks", "PATH", "also write where the thing is, white on black: as --out", path)
    add("--frames", "M", "number of frames (16)", int, default=16)
    add("--size", "PIXELS", "both sides (256)", int, default=256)
    add("--fps", "FPS", "frames per second (8)", float, default=8)
    add("--seed", "N", "another look, another way to move (0)", int, default=0)
    add("--overwrite", "", "replace files that exist")


def run(args: argparse.Namespace) -> None:
    """Check, paint, write, and say what to do next."""
    import numpy as np

    from ..errors import InputError
    from ..video import check_output, write_frames
    from ..world import paint_clip, scene_from_words

    scene = scene_from_words(args.scene, args.seed)
    for file in (args.out, args.masks):
        if file is not None:
            check_output(file, args.overwrite, args.fps)
    if args.frames < 2:
        raise InputError(f"--frames {args.frames}: a video has at least 2")
    pictures, masks = paint_clip(scene, args.size, args.frames)
    write_frames(args.out, pictures, args.fps)
    if args.masks is not None:
        write_frames(args.masks, np.repeat(masks[..., None], 3, axis=3), args.fps)
    colour = "blue" if scene.colour != "blue" else "red"
    place = "on the beach" if scene.background != "beach" else "in the snow"
    print(
        f"{args.out}: {args.scene}, {args.frames} frames of {args.size}×{args.size}\n"
        f'try: t2vz edit {args.out} "make it {colour}"\n'
        f'     t2vz control {args.out} "a {colour} {scene.kind} {place}"'
    )
