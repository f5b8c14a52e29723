"""`t2vz example`: draw a small clip to control and to edit."""

import argparse

import numpy as np

from ..errors import InputError
from ..video import check_output, write_frames
from ..world import paint_clip, scene_from_words


def run(args: argparse.Namespace) -> None:
    """Check, paint, write, and say what to do next."""
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
