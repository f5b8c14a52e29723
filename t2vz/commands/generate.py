"""`t2vz generate`: from a prompt to a video file, a run file beside it, and a contact sheet on request."""

import argparse

from ..pipelines.settings import Settings
from .flags import add_masks, add_model, add_output, add_settings

DESCRIPTION = """Make a video from a prompt with Text2Video-Zero. Without --weights the small embedded model is used,
which knows a world of simple pictures: "a red ball on a green meadow"."""
EXAMPLES = """examples:
  t2vz generate "a red ball on a green meadow"
  t2vz generate "a blue fish on the sea" --frames 16 --motion 20,0 --out fish.gif --sheet
  t2vz generate "a horse galloping" --weights v1-5-pruned-emaonly.safetensors --tokenizer DIR --device cuda
  t2vz generate "a white cat in a room" --attention own --motion off      without the paper's two ideas
  t2vz generate --from fish.json --seed 7                                 the same settings, another seed
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """All of generate's arguments."""
    groups = add_settings(parser, Settings, {"video": "the video", "method": "the method (paper §3.3)"})
    add_masks(groups["method"])
    add_output(parser)
    add_model(parser)


def run(args: argparse.Namespace) -> None:
    """Check everything that can be checked first; then load, generate, and write."""
    from functools import partial

    from ..pipelines.text_to_video import text_job
    from .making import load, make_video
    from .output import output_paths
    from .request import resolve

    request = resolve(args, Settings, 'give a prompt, for example: t2vz generate "a red ball on a green meadow"')
    paths = output_paths(request, request.settings.fps)
    sd = load(request)
    settings = request.settings.with_sides(sd.default_size, sd.default_size)
    make_video(request, settings, sd, paths, partial(text_job, sd, settings))
