"""`t2vz edit`: a video changed by an instruction, frame by frame from file to file."""

import argparse
from functools import partial

from ..pipelines.settings import EditSettings
from .flags import OF_THE_SOURCE, add_clip, add_masks, add_model, add_output, add_settings

DESCRIPTION = """Change VIDEO as an instruction says, with Video Instruct-Pix2Pix: every frame is edited beside its
source frame, and looks at frame 1, so that all are edited alike. Frame count, rate and duration are VIDEO's. Without
--weights the small embedded edit model is used, which knows a world of simple pictures."""
EXAMPLES = """examples:
  t2vz example                                                    draws example.mp4
  t2vz edit example.mp4 "make it snow"
  t2vz edit example.mp4 "make the ball blue" --image-scale 1.5 --guidance-scale 5 --sheet
  t2vz edit example.mp4 "make it night" --attention own           frame by frame: the paper's comparison
  t2vz edit dance.mp4 "make it a van gogh painting" --weights instruct-pix2pix-00-22000.safetensors --tokenizer DIR
      --end 4 --fps 8 --resolution 512 --device cuda
  t2vz edit --from make-it-snow.json --seed 7                     the same settings, another seed
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """All of edit's arguments."""
    add_clip(parser)
    titles = {"video": "the edit (paper §3.5)", "method": "the method (paper §3.3)"}
    add_masks(add_settings(parser, EditSettings, titles, without=OF_THE_SOURCE)["method"])
    add_output(parser)
    add_model(parser)


def run(args: argparse.Namespace) -> None:
    """Check everything that can be checked first; then load, read, edit, and write."""
    from ..pipelines.edit import edit_job
    from .inputs import check_clip, load, of_source, open_source
    from .making import make_video
    from .output import output_paths
    from .request import resolve

    give = 'give an instruction after the video, for example: t2vz edit example.mp4 "make it snow"'
    request = resolve(args, EditSettings, give)
    paths = output_paths(request, check_clip(request))
    sd = load(request, edit=True)
    with open_source(request, sd.default_size) as clip:
        settings = of_source(request.settings, clip)
        make_video(request, settings, sd, paths, partial(edit_job, sd, settings, clip), clip=clip)
