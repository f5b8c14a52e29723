"""`t2vz edit`: a video changed by an instruction, frame by frame from file to file."""

import argparse
from functools import partial

from ..pipelines.edit import edit_job
from ..pipelines.settings import EditSettings
from .inputs import check_clip, load, of_source, open_source
from .making import make_video
from .output import output_paths
from .request import resolve


def run(args: argparse.Namespace) -> None:
    """Check everything that can be checked first; then load, read, edit, and write."""
    request = resolve(args, EditSettings)
    paths = output_paths(request, check_clip(request))
    sd = load(request, edit=True)
    with open_source(request, sd.default_size) as clip:
        settings = of_source(request.settings, clip)
        make_video(request, settings, sd, paths, partial(edit_job, sd, settings, clip), clip=clip)
