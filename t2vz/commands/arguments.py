"""Everything that can be typed after `t2vz`: a function for each command, whose docstring is what its --help says.

What a command does is `run` of the module of its name, which is imported when the command is asked for. Nothing here
imports torch, so that --help is quick.
"""

import argparse

from ..pipelines.settings import ControlSettings, EditSettings, Settings, TuneSettings
from . import flags
from .flags import DTYPES, Parser, add_settings, adder, path

METHOD = "the method (paper §3.3)"  # a group of flags
FRAMES = 6  # of an explanation, unless it is said: a page is read in one sitting
SCENE = "a red ball on a green meadow"
A_CLIP = "a folder, or a hub id such as openai/clip-vit-large-patch14; the embedded one knows only the picture world"


def add_model(parser: argparse.ArgumentParser, repeats: bool = True) -> None:
    """--weights, --tokenizer, --vae, --lora, --device, --dtype. repeats: is there a --from?"""
    add_weights(parser, " (off: none, where --from names one)" if repeats else "")
    add, dtypes = adder(parser, "machine"), ["auto", *DTYPES]
    add("--device", "WHERE", "auto (CUDA, else MPS, else CPU), cpu, cuda, cuda:1, mps (auto)", default="auto")
    words = f"{', '.join(dtypes)}; auto is float16 on CUDA and MPS, float32 on the CPU (auto)"
    add("--dtype", "WHICH", words, default="auto", choices=dtypes)


def add_weights(parser: argparse.ArgumentParser, more: str = "") -> None:
    """--weights, --tokenizer, --vae, --lora. more: said of the last two."""
    add = adder(parser, "the model")
    add("--weights", "PATH", "a .safetensors file or a folder with unet/ vae/ text_encoder/ (embedded)", path)
    add("--tokenizer", "DIR", "folder with vocab.json and merges.txt, if the weights carry none", path)
    add("--vae", "PATH", f"another VAE: its folder or .safetensors file{more}", path)
    words = f"a LoRA file to merge into the model, and how strongly (1); may be given several times{more}"
    add("--lora", "PATH[:WEIGHT]", words, flags.lora, action="append")


def add_output(parser: argparse.ArgumentParser) -> None:
    """--out, --sheet, --latents, --overwrite, --masks, --from, --quiet."""
    add = adder(parser, "files")
    add("-o --out", "PATH", "NAME.mp4, NAME.gif, or a folder/ of PNGs (named after the prompt, .mp4)", path)
    add("--sheet", "", "also write all frames on one picture, NAME-sheet.png")
    add("--latents", "", "also write the latents, NAME-latents.safetensors")
    add("--overwrite", "", "replace files that exist")
    add("--masks", "PATH", "foreground for smoothing: a folder of PNGs or a video (from the model's attention)", path)
    add("--from", "RUN.json", "repeat a run; flags given beside it replace its settings", path, dest="from_")
    add("-q --quiet", "", "no progress bar, no notes, but of what has changed since --from")


def add_clip(parser: argparse.ArgumentParser) -> None:
    """VIDEO, --start, --end, --fps, --resolution. Call it before the other positional arguments are added."""
    adder(parser)("video", "VIDEO", "a video, a GIF, or a folder of pictures (t2vz example draws one)", path, nargs="?")
    add = adder(parser, "the video that comes in")
    add("--start", "SECONDS", "leave out what comes before (0)", float)
    add("--end", "SECONDS", "leave out what comes after (the video's end)", float)
    add("--fps", "FPS", "resample to this many frames per second (as they are; 4 for a folder of pictures)", float)
    add("--resolution", "PIXELS", "the larger side; both become multiples of 8 (the model's own: 512 for SD 1.5)", int)


def generate(parser: Parser) -> None:
    """Make a video from a prompt.

    Without --weights the small embedded model is used, which knows a world of simple pictures.

    examples:
      t2vz generate "a red ball on a green meadow"
      t2vz generate "a blue fish on the sea" --frames 16 --motion 20,0 --out fish.gif --sheet
      t2vz generate "a horse galloping" --weights v1-5-pruned-emaonly.safetensors --tokenizer DIR --device cuda
      t2vz generate "a white cat in a room" --attention own --motion off      without the paper's two ideas
      t2vz generate "a red car in the city" --motion-from walk.mp4            the camera moves as in walk.mp4
      t2vz generate --from fish.json --seed 7                                 the same settings, another seed
    """
    add = add_settings(parser, Settings, {"video": "the video", "method": METHOD})["method"]
    add("--motion-from", "CLIP", "move the camera as in this video, in place of --motion", path)
    add("--dense", "", "with --motion-from: every part as in the video, by optical flow", default=None)
    add_output(parser)
    add_model(parser)


def control(parser: Parser) -> None:
    """Make a video that follows another one's edges, poses or depth.

    It shows what the prompt says and moves as VIDEO does, which steers every frame through a ControlNet. Frame count,
    rate and duration are VIDEO's. Without --weights and --controlnet the small embedded models are used, which know a
    world of simple pictures, and edges.

    examples:
      t2vz example                                                            draws example.mp4
      t2vz control example.mp4 "a blue ball on the beach"
      t2vz control example.mp4 "a green ball in the snow" --scale 0.7 --save-control edges.mp4 --sheet
      t2vz control dance.mp4 "an astronaut on the moon" --with pose --pose-model usyd-community/vitpose-base-simple
          --weights v1-5-pruned-emaonly.safetensors --controlnet control_openpose/ --end 4 --fps 8 --resolution 512
      t2vz control skeletons.gif "a robot dancing" --with pose --weights … --controlnet …      skeletons ready-made
      t2vz control room.mp4 "a room in winter" --with edges --with depth --depth-model LiheYoung/depth-anything-small-hf
          --controlnet canny/ --controlnet depth/ --scale 0.5 --scale 1 --weights …            two at once
      t2vz control --from a-blue-ball-on-the-beach.json --seed 7              the same settings, another seed
    """
    add_clip(parser)
    titles = {"follow": "what it follows", "video": "how it is made", "method": METHOD}
    add = add_settings(parser, ControlSettings, titles)["follow"]
    words = (
        "edges: by Canny; depth: by --depth-model; pose: by --pose-model, or without one VIDEO shows skeletons; "
        "asis: VIDEO shows condition pictures already; =VIDEO: of another video. Repeat it to follow several (edges)"
    )
    add("--with", "KIND[=VIDEO]", words, flags.kind_and_video, action="append", dest="with_")
    add("--controlnet", "PATH", "a folder or a .safetensors file, for each --with (embedded)", path, action="append")
    add("--edge-thresholds", "LOW,HIGH", "Canny's (100,200)", flags.thresholds)
    add("--depth-model", "NAME", "a transformers depth-estimation model: a folder, or a name on the hub", path)
    add("--pose-model", "NAME", "a transformers pose (VitPose) model: a folder, or a name on the hub", path)
    add("--save-control", "PATH", "also write the condition pictures, as --out", path)
    add_output(parser)
    add_model(parser)


def edit(parser: Parser) -> None:
    """Change a video by an instruction.

    This is Video Instruct-Pix2Pix: every frame is edited beside its source frame, and looks at frame 1, so that all are
    edited alike. Frame count, rate and duration are VIDEO's. Without --weights the small embedded edit model is used,
    which knows a world of simple pictures.

    examples:
      t2vz example                                                    draws example.mp4
      t2vz edit example.mp4 "make it snow"
      t2vz edit example.mp4 "make the ball blue" --image-scale 1.5 --guidance-scale 5 --sheet
      t2vz edit example.mp4 "make it night" --attention own           frame by frame: the paper's comparison
      t2vz edit dance.mp4 "make it a van gogh painting" --weights instruct-pix2pix-00-22000.safetensors --tokenizer DIR
          --end 4 --fps 8 --resolution 512 --device cuda
      t2vz edit --from make-it-snow.json --seed 7                     the same settings, another seed
    """
    add_clip(parser)
    titles = {"video": "the edit (paper §3.5)", "method": METHOD}
    add_settings(parser, EditSettings, titles)
    add_output(parser)
    add_model(parser)


def tune(parser: Parser) -> None:
    """Tune the model on one video, to make it again from another prompt (Tune-A-Video).

    PROMPT describes VIDEO. Tune-A-Video (arXiv 2212.11565) is a trained baseline to compare with: what is left in --out
    is a model that makes VIDEO again from other prompts, starting from VIDEO's inverted latents.

    examples:
      t2vz example                                                     draws example.mp4
      t2vz tune example.mp4 "a red ball on a green meadow" --out tuned
      t2vz generate "a blue ball on a green meadow" --weights tuned
      t2vz tune dance.mp4 "a man is dancing" --out dance --weights v1-5-pruned-emaonly.safetensors --tokenizer DIR
          --end 3 --fps 8 --resolution 512 --device cuda --steps 500
    """
    add_clip(parser)
    add_settings(parser, TuneSettings, {"video": "tuning"})
    add = adder(parser, "files")
    add("-o --out", "FOLDER", "the checkpoint folder to write (needed)", path)
    add("--overwrite", "", "replace a checkpoint that is there")
    add("-q --quiet", "", "no progress bar, no notes")
    add_model(parser, repeats=False)


def example(parser: Parser) -> None:
    """Draw a small video to try control and edit on.

    Its contents are known: a thing that moves before a place that pans a little.

    examples:
      t2vz example                                              a red ball on a green meadow, example.mp4
      t2vz example "a blue fish on the sea" --out fish.gif
      t2vz example "a yellow balloon over the city" --frames 48 --size 512 --seed 3 --masks masks/
    """
    add = adder(parser)
    add("scene", "SCENE", f"a colour, a thing and a place of the picture world ({SCENE})", nargs="?", default=SCENE)
    add("-o --out", "PATH", "NAME.mp4, NAME.gif, or a folder/ (example.mp4)", path, default="example.mp4")
    add("--masks", "PATH", "also write where the thing is, white on black: as --out", path)
    add("--frames", "M", "number of frames (16)", int, default=16)
    add("--size", "PIXELS", "both sides (256)", int, default=256)
    add("--fps", "FPS", "frames per second (8)", float, default=8)
    add("--seed", "N", "another look, another way to move (0)", int, default=0)
    add("--overwrite", "", "replace files that exist")


def ablate(parser: Parser) -> None:
    """Compare settings over prompts and seeds, with statistics and a report.

    Every variant on every prompt and seed is measured, compared with a baseline, and laid out in one HTML file. Each
    video has its own folder and is found again: after Ctrl-C or a crash the same command goes on where it was, and a
    finished study costs nothing. Several commands, also on other machines that see the same folder, may work on one.

    examples:
      t2vz ablate paper --prompts 2                      a first look: 16 videos, two minutes
      t2vz ablate paper --workers 2                      the whole of it, two processes
      t2vz ablate mine.toml --dry-run                    what would be done
      t2vz ablate mine.toml --weights v1-5-pruned-emaonly.safetensors --clip openai/clip-vit-large-patch14 --device cuda
      t2vz ablate mine.toml --out /shared/mine --workers 8 --executor submitit:slurm_partition=gpu,gpus_per_node=1
      torchrun --nnodes 4 --nproc-per-node 8 -m t2vz.cli ablate mine.toml --out /shared/mine    a worker on every GPU
    """
    adder(parser)(
        "study",
        "STUDY",
        "a .toml file, or: paper, attention, noise, delta-t, lambda, approximations, tune-a-video",
        path,
    )
    add = adder(parser, "the study")
    add("-o --out", "DIR", "where runs, tables and report go (ablate-NAME)", path)
    add("--prompts", "N", "only the study's first N prompts (all)", int)
    add("--seeds", "N", "only its first N seeds (all)", int)
    add("--clip", "PATH", f"the CLIP that measures: {A_CLIP} (embedded)", path)
    add("--controlnet", "PATH", "for control studies: a folder or a .safetensors file (the embedded one)", path)
    add("--report", "", "write report.html (yes)", action=argparse.BooleanOptionalAction, default=True)
    add("--dry-run", "", "say what would be done, and do nothing")
    add("-q --quiet", "", "no progress, no notes")
    add = adder(parser, "workers")
    words = "processes on this machine (one for each core, at most 4, with the embedded model on a CPU; else 1)"
    add("-w --workers", "N", f"{words}; under torchrun every rank is one", flags.count)
    words = "CPU threads of each worker; with 1 the results are the same, to the last digit, however many workers (1)"
    add("--threads", "N", words, flags.count, default=1)
    words = "processes of this machine, dask[:tcp://HOST:8786], or submitit[:slurm_partition=gpu] for Slurm (processes)"
    add("--executor", "WHERE", words, default="processes")
    add_model(parser, repeats=False)


def explain(parser: Parser) -> None:
    """Make one HTML page that shows how a video is made, step by step.

    It walks through frame 1's way down, each warp with its arrow, the noise added again, the clean picture every step
    had in mind, where each frame looks in frame 1, which words were read where, and the same video without cross-frame
    attention. Beside each picture stand its equation and the function that computed it. The page needs nothing but a
    browser.

    examples:
      t2vz explain "a red ball on a green meadow" --open
      t2vz explain "a blue fish on the sea" --frames 8 --motion 20,0 --out fish.html
      t2vz explain "a white cat in a room" --point 0.5,0.4 --point 0.1,0.9      where these two points look
      t2vz explain "a horse galloping" --weights v1-5-pruned-emaonly.safetensors --tokenizer DIR --device cuda
    """
    add_settings(parser, Settings, {"video": "the video", "method": METHOD}, defaults={"frames": FRAMES})
    add = adder(parser, "the page")
    add("-o --out", "PAGE.html", "where the page goes (named after the prompt)", path)
    words = "where to follow attention from: 0,0 is left and top; several are possible (one on the subject, one behind)"
    add("--point", "X,Y", words, flags.point, action="append")
    add("--link-base", "URL", "the root of the source tree that links lead to (the installed one's)")
    add("--overwrite", "", "replace a page that exists")
    add("--open", "", "show the page in the browser")
    add("-q --quiet", "", "no progress bar, no notes")
    add_model(parser, repeats=False)


def app(parser: Parser) -> None:
    """Open a page to play with, in the browser: generate, control, edit, explain.

    The camera's motion is an arrow on the first frame, and two videos can be made side by side, with one of the paper's
    ideas and without it. Whoever can open the address can use this machine; without --host that is this machine alone.

    examples:
      t2vz app --open
      t2vz app --weights v1-5-pruned-emaonly.safetensors --tokenizer DIR --device cuda
      t2vz app --host 0.0.0.0 --port 8080 --folder /data/t2vz        for others in the network
    """
    add = adder(parser, "the page")
    add("--host", "ADDRESS", "address to listen at; 0.0.0.0 lets others in (127.0.0.1)", default="127.0.0.1")
    add("--port", "N", "0 is any that is free (7860)", int, default=7860)
    add("--folder", "DIR", "all that the page reads and writes (t2vz-app)", path, default="t2vz-app")
    add("--open", "", "show the page in the browser")
    add_model(parser, repeats=False)


def inspect(parser: Parser) -> None:
    """Tell what checkpoint files are: model, layout, sizes, float types, what is missing or extra.

    Headers alone are read, so it takes no time and no memory. Exit code 0 when all could be told, 2 when one could not
    be read.

    examples:
      t2vz inspect v1-5-pruned-emaonly.safetensors
      t2vz inspect *.safetensors
      t2vz inspect sd15-folder style-lora.safetensors --json
    """
    add = adder(parser)
    add("files", "FILE", ".safetensors files, or folders", path, nargs="+")
    add("--json", "", "a JSON list of full reports, for programs")


def score(parser: Parser) -> None:
    """Measure videos, and compare sets of them: CLIP score, consistency, motion, background.

    Measured are the CLIP score against a prompt (E16), frame consistency, the camera's motion, warp error, and how
    still the background is. Prompt and motion are taken from the run file beside a video that t2vz made (NAME.json),
    unless they are given. What cannot be measured is listed with what it needs. Of a folder of videos, or several,
    every video is measured: means with 95 % intervals, and the differences to the first folder, video by video; videos
    of one name are a pair.

    examples:
      t2vz score a-red-ball-on-a-green-meadow.mp4                 prompt and motion from its .json
      t2vz score clip.gif --prompt "a blue fish on the sea" --motion 20,0
      t2vz score frames/ --prompt "a horse galloping" --clip openai/clip-vit-large-patch14
      t2vz score clip.mp4 --masks masks/ --json                   for a program to read
      t2vz score ours/ theirs/                                    two folders of videos, prompts from their .json
      t2vz score ours/ theirs/ --prompts prompts.txt              a line for each video, in the order of their names
      t2vz score ours/ theirs/ --prompts prompts.csv --csv all.csv    columns video,prompt; every number into a table
    """
    add = adder(parser)
    add("videos", "VIDEO", "a file, a folder of pictures, or a folder of videos; several are compared", path, nargs="+")
    either = adder(parser.add_mutually_exclusive_group())
    either("--prompt", "TEXT", "what the video should show, for the CLIP score; of several: all of them")
    either("--prompts", "FILE", "a prompt for each video: one a line, or a .csv with the columns video,prompt", path)
    add("--clip", "PATH", f"the CLIP that measures: {A_CLIP} (embedded)", path)
    motion = flags.typed(Settings.__dataclass_fields__["motion"])
    words = "the motion asked for, in 1/512ths of the frame a frame; off: none"
    add("--motion", "DX,DY", words, motion, default=argparse.SUPPRESS)
    add("--masks", "PATH", "foreground masks, white is foreground: a folder of pictures, or a video", path)
    add("--json", "", "print one JSON object in place of the table")
    add("--csv", "FILE", "write every measure of every video to a table", path)
    add("--device", "WHERE", "where CLIP runs: cpu, cuda, mps, auto (cpu)", default="cpu")


def weights(parser: Parser) -> None:
    """Export a checkpoint: as a single file, as a folder, with LoRAs merged.

    The embedded model, if none is named. OUT.safetensors is a single file in the original naming, OUT without an ending
    a folder in diffusers' layout. Nothing is lost: weights keep the float type they are stored in. LoRAs and another
    VAE that are named are in what is written; their own files stay as they are.

    examples:
      t2vz weights export embedded.safetensors                                the embedded model as a single file
      t2vz weights export sd15-folder --weights v1-5-pruned-emaonly.safetensors --tokenizer DIR
      t2vz weights export styled.safetensors --weights sd15-folder --lora style.safetensors:0.7
    """
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    about = {"description": parser.description, "epilog": parser.epilog}
    export = actions.add_parser("export", help="write a checkpoint again", **about)
    add = adder(export)
    add("out", "OUT", "NAME.safetensors, or a folder", path)
    add_weights(export)
    dtypes = [dtype for dtype in DTYPES if dtype != "float64"]
    words = f"of the weights written: {', '.join(dtypes)} (auto: as they are stored)"
    add("--dtype", "WHICH", words, default="auto", choices=["auto", *dtypes])
    add("--overwrite", "", "replace what exists")
    add("-q --quiet", "", "no remarks")


NEEDS = {  # packages that not everyone has; t2vz[lab] brings them
    "ablate": ("filelock", "scipy"),
    "explain": ("jinja2", "matplotlib"),
    "app": ("jinja2", "matplotlib"),
}
COMMANDS = {
    one.__name__: one for one in (generate, control, edit, tune, example, ablate, explain, app, inspect, score, weights)
}
