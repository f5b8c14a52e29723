"""`t2vz example`: draw a small clip to control and to edit."""

import argparse

from .flags import path

DESCRIPTION = """Draw a short video with known contents: a thing that moves before a place that pans a little."""
EXAMPLES = """examples:
  t2vz example                                              a red ball on a green meadow, example.mp4
  t2vz example "a blue fish on the sea" --out fish.gif
  t2vz example "a yellow kite over the city" --frames 48 --size 512 --seed 3 --masks kite-masks/
"""
SCENE = "a red ball on a green meadow"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to draw, how long and how large."""
    parser.add_argument(
        "scene",
        nargs="?",
        default=SCENE,
        metavar="SCENE",
        help=f"a colour, a thing and a place of the picture world ({SCENE})",
    )
    add = parser.add_argument
    add(
        "-o",
        "--out",
        type=path,
        default="example.mp4",
        metavar="PATH",
        help="NAME.mp4, NAME.gif, or a folder/ (example.mp4)",
    )
    add("--masks", type=path, metavar="PATH", help="also write where the thing is, white on black: as --out")
    add("--frames", type=int, default=16, metavar="M", help="number of frames (16)")
    add("--size", type=int, default=256, metavar="PIXELS", help="both sides (256)")
    add("--fps", type=float, default=8, help="frames per second (8)")
    add("--seed", type=int, default=0, help="another look, another way to move (0)")
    add("--overwrite", action="store_true", help="replace files that exist")


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
