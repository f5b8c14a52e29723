"""`t2vz app`: a page to play with, in the browser. A button runs one of the commands, and shows its command line.

The controls follow from the settings' declarations, as the flags do: what is left empty is the default. What a command
reads and writes lies in the page's own folder, a folder for each job; one job runs at a time, the others queue.
"""

import argparse
import json
import os
import secrets
import shlex
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from ..errors import FailedError, InputError
from ..pipelines.kinds import OFF, Choice, Pair, as_typed, declared
from ..pipelines.settings import ControlSettings, EditSettings, Sampling, Settings
from .explain import FRAMES
from .flags import OF_THE_SOURCE, add_model, path
from .output import SESSION, Session

DESCRIPTION = """Open a page to play with: generate, control, edit, explain. The camera's motion is an arrow on the
first frame, and two videos can be made side by side, with one of the paper's ideas and without it. Whoever can open the
address can use this machine; without --host that is this machine alone."""
EXAMPLES = """examples:
  t2vz app --open
  t2vz app --weights v1-5-pruned-emaonly.safetensors --tokenizer DIR --device cuda
  t2vz app --host 0.0.0.0 --port 8080 --folder /data/t2vz        for others in the network
"""
TABS = {"generate": Settings, "control": ControlSettings, "edit": EditSettings, "explain": Settings}
PROMPTS = {
    "generate": "a red ball on a green meadow",
    "control": "a blue ball on the beach",
    "edit": "make it snow",
    "explain": "a red ball on a green meadow",
}
FIRST = ("seed", "frames", "motion", "attention", "image_scale")  # the settings that are seen at once
WITHOUT = {  # an idea of the paper: its flag, a value with it, and the value without
    "cross-frame attention": ("attention", "first", "own"),
    "motion": ("motion", "12,12", "off"),
    "background smoothing": ("smooth_background", "0.6", "0"),
}
SIDE = 512  # pixels of the picture that the arrow is drawn on
ARROW = (38, 50, 190)
CSS = """
.gradio-container { max-width: 1200px !important; margin: auto; }
#words p { opacity: .8 }
.pixels video, .pixels img { image-rendering: pixelated; }
iframe.page { width: 100%; height: 80vh; border: 1px solid var(--border-color-primary); border-radius: 8px; }
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """All of app's arguments."""
    add = parser.add_argument_group("the page").add_argument
    add("--host", default="127.0.0.1", help="address to listen at; 0.0.0.0 lets others in (127.0.0.1)")
    add("--port", type=int, default=7860, help="0 is any that is free (7860)")
    add("--folder", type=path, default="t2vz-app", metavar="DIR", help="all that the page reads and writes (t2vz-app)")
    add("--open", action="store_true", help="show the page in the browser")
    add_model(parser, repeats=False)


def run(args: argparse.Namespace) -> None:
    """Check what can be checked, then serve the page until Ctrl-C."""
    from .machine import choose_machine

    for name in ("gradio", "jinja2", "matplotlib"):
        if find_spec(name) is None:
            raise InputError(f"the page needs {name}, which is not installed; run: pip install 't2vz[app,lab]'")
    if not 0 <= args.port < 65536:
        raise InputError(f"--port {args.port}: a number from 0 to 65535 is needed")
    choose_machine(args.device, args.dtype)  # raises for a device that is not there
    page = serve(args)
    print(f"{page.local_url}: open it in a browser; Ctrl-C ends the page. Its files are in {args.folder}", flush=True)
    page.block_thread()


def serve(args: argparse.Namespace):
    """The page, being served: a gradio Blocks with its local_url. args: as parsed; port 0 is any that is free."""
    folder = Path(args.folder).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["GRADIO_TEMP_DIR"] = str(folder / "uploads")
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    import gradio as gr

    page = build(gr, Jobs(args, folder))
    try:
        page.launch(
            server_name=args.host,
            server_port=args.port or None,
            inbrowser=args.open,
            share=False,
            quiet=True,
            prevent_thread_lock=True,
            allowed_paths=[str(folder)],
            ssr_mode=False,
            footer_links=[],
            css=CSS,
            theme=gr.themes.Soft(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]),
        )
    except OSError as error:
        raise InputError(f"--host {args.host} --port {args.port}: {error}; choose another --port") from error
    return page


class Stopped(FailedError):
    """The user pressed Stop."""


class Jobs:
    """Runs commands in this process, each with a folder of its own; keeps the models that it loads.

    args: the page's own, whose model is used for all. folder: where the jobs' folders go.
    """

    def __init__(self, args: argparse.Namespace, folder: Path):
        self.folder, self.weights, self.models, self.stops = folder, args.weights, {}, {}
        names = [(name, getattr(args, name)) for name in ("weights", "tokenizer", "vae", "device", "dtype")]
        self.model = [f"--{name}={value}" for name, value in names if value not in (None, "auto")]
        self.model += [f"--lora={file}:{weight}" for file, weight in args.lora or []]

    def new_folder(self) -> Path:
        """A folder for one job."""
        folder = self.folder / f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
        folder.mkdir()
        return folder

    def defaults(self, command: str) -> dict[str, str]:
        """{setting: what it is if it is left empty}, as typed: the checkpoint's own, else ours."""
        from ..checkpoints import checkpoint_defaults  # here, so that --help does not wait for torch

        own = checkpoint_defaults(self.weights, edit=command == "edit")
        given = {"prompt": "…", **({"frames": FRAMES} if command == "explain" else {})}
        settings = TABS[command].resolve(given, own)
        said = {one.name: declared(one).none for one in fields(settings)}
        values = {name: getattr(settings, name) for name in said}
        return {name: said[name] if value is None else as_typed(value) for name, value in values.items()}

    def begin(self, user: str) -> None:
        """A job of a user begins: what was stopped before does not count."""
        self.stops[user] = threading.Event()

    def stop(self, user: str) -> None:
        """End the job of a user, if one is at work, before its next step."""
        self.stops.setdefault(user, threading.Event()).set()

    def run(self, command: str, words: list[str], out: Path, user: str, progress: Callable) -> str:
        """Run one command, writing `out`; returns the command line that does the same. words: flags, then positionals.

        progress(done, total, stage), as a pipeline's. Raises InputError, FailedError and Stopped.
        """
        stop = self.stops.setdefault(user, threading.Event())

        def heard(done: int, total: int, stage: str) -> None:
            if stop.is_set():
                raise Stopped("stopped")
            progress(done, total, stage)

        token = SESSION.set(Session(heard, self.load))
        try:
            module = import_module(f".{command}", __package__)
            parser = _Parser(allow_abbrev=False)
            module.add_arguments(parser)
            model = [*self.model, "--quiet"] if command in TABS else []
            module.run(parser.parse_args([*model, f"--out={out}", *words]))
        finally:
            SESSION.reset(token)
        return shlex.join(["t2vz", command, *self.model, *words])

    def load(self, load: Callable, *arguments, **options):
        """What `load` loads, kept; of each kind (for videos, for edits) the last."""
        key = (arguments, tuple(options.items()))
        if self.models.get(tuple(options), (None,))[0] != key:
            self.models.pop(tuple(options), None)  # first, for there may be memory for one
            self.models[tuple(options)] = key, load(*arguments, **options)
        return self.models[tuple(options)][1]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str):
        """One line, for the page."""
        raise InputError(message)


def flags(settings: type[Sampling], values: dict[str, str]) -> list[str]:
    """The flags of the settings that are not left empty: {"motion": "20,0", "seed": ""} -> ["--motion=20,0"]."""
    known = {one.name: declared(one).flag or one.name for one in fields(settings)}
    return [f"--{known[name].replace('_', '-')}={value.strip()}" for name, value in values.items() if value.strip()]


def build(gr, jobs: Jobs):
    """The whole page. gr: the module gradio."""
    with gr.Blocks(title="t2vz", analytics_enabled=False) as page:
        gr.Markdown(
            "# Text2Video-Zero\nVideos from a text-to-image model, without training. What is left empty is the "
            "default; below each result stands the command that makes the same.",
            elem_id="words",
        )
        for name, settings in TABS.items():
            with gr.Tab(name.capitalize(), elem_id=f"tab-{name}"):
                _tab(gr, jobs, name, settings)
    return page.queue(max_size=32)


def _tab(gr, jobs: Jobs, name: str, settings: type[Sampling]) -> None:
    """One command: its settings left, its result right; on a phone one below the other."""
    with gr.Row():
        with gr.Column(scale=2):
            source = _source(gr, jobs, name) if name in ("control", "edit") else gr.State()
            prompt = gr.Textbox(PROMPTS[name], label="instruction" if name == "edit" else "prompt", lines=2)
            own = jobs.defaults(name)
            controls = _settings(gr, settings, own, OF_THE_SOURCE if name in ("control", "edit") else ())
            first = _arrow(gr, controls, own) if name == "generate" else gr.State()
            choices = ["nothing", *WITHOUT]
            beside = gr.Radio(choices, value="nothing", label="beside it, without", visible=name == "generate")
            with gr.Row():
                button = gr.Button(name.capitalize(), variant="primary", elem_id=f"make-{name}", min_width=100)
                stop = gr.Button("Stop", elem_id=f"stop-{name}", min_width=100)
        with gr.Column(scale=3):
            with gr.Row():
                options = {
                    "autoplay": True,
                    "loop": True,
                    "elem_classes": ["pixels", f"made-{name}"],
                    "interactive": False,
                }
                videos = [
                    gr.Video(label="the video", min_width=200, visible=name != "explain", **options),
                    gr.Video(label="without", min_width=200, visible=False, **options),
                ]
            page = gr.HTML("The page appears here." if name == "explain" else "")
            said = gr.Markdown()
            options = {"language": "shell", "lines": 1, "wrap_lines": True, "show_line_numbers": False}
            line = gr.Code(label="the command that does the same", visible=False, elem_id=f"line-{name}", **options)
            files = gr.File(label="to keep", file_count="multiple", interactive=False, visible=False)

    def make(given: dict, request: gr.Request, progress=gr.Progress()):
        """Run what the page asks for, and give what it shows."""
        values = {one: given[component] or "" for one, component in controls.items()}
        asked = Asked(name, given[prompt], values, given[beside], given[source])
        try:
            made = asked.make(jobs, request.session_hash, progress)
        except Stopped:
            return {said: "stopped"}
        except (InputError, FailedError) as error:
            raise gr.Error(str(error), title="not made", print_exception=False) from error
        two = len(made.videos) > 1
        return {
            **dict(zip(videos, (gr.Video(video, visible=True) for video in made.videos))),
            **({} if two else {videos[1]: gr.Video(visible=False)}),
            page: made.page,
            said: made.notes,
            line: gr.Code("\n".join(made.lines), visible=True),
            files: gr.File(made.files, visible=True),
            first: made.videos[0] if made.videos else None,
        }

    inputs = {prompt, beside, source, *controls.values()}  # a set: make is given a dict
    outputs = [*videos, page, said, line, files, first]
    shows = page if name == "explain" else videos[0]
    job = button.click(make, inputs, outputs, concurrency_limit=1, concurrency_id="job", show_progress_on=shows)

    def end(request: gr.Request):
        jobs.stop(request.session_hash)

    stop.click(end, None, None, cancels=[job], queue=False)


def _settings(gr, settings: type[Sampling], own: dict[str, str], without: tuple[str, ...]) -> dict:
    """{name: component} of all settings but the prompt; a few at once, the others behind a click."""
    shown = [one for one in fields(settings) if one.name not in ("prompt", *without)]
    components = {}
    with gr.Row():
        for one in shown:
            if one.name in FIRST:
                components[one.name] = _component(gr, one, own[one.name])
    with gr.Accordion("more settings", open=False):
        for one in shown:
            if one.name not in FIRST:
                components[one.name] = _component(gr, one, own[one.name])
    return components


def _component(gr, one, default: str):
    """A setting's control. Empty is the default, which is shown."""
    said, label, info = declared(one), one.name.replace("_", " "), declared(one).help
    if isinstance(said.kind, Choice):
        choices = [(default, ""), *((word, word) for word in said.kind.phrases if word != default)]
        return gr.Dropdown(choices, value="", label=label, info=info, min_width=140, elem_id=f"set-{one.name}")
    return gr.Textbox(placeholder=default, label=label, info=info, min_width=140, elem_classes=f"set-{one.name}")


def _source(gr, jobs: Jobs, name: str):
    """A video to begin with: uploaded, or drawn."""
    source = gr.Video(label="the source video", sources=["upload"], loop=True, autoplay=True, elem_id=f"source-{name}")
    draw = gr.Button("Draw an example", size="sm", elem_id=f"draw-{name}")

    def example(request: gr.Request):
        out = jobs.new_folder() / "example.mp4"
        jobs.run("example", [], out, request.session_hash, lambda *told: None)
        return str(out)

    draw.click(example, None, source, concurrency_limit=1, concurrency_id="job")
    return source


def _arrow(gr, controls: dict, own: dict[str, str]):
    """The camera's path from the first frame to the last, as an arrow from the middle; a click says where it ends.

    Returns the state that holds the last video, whose first frame the arrow is drawn on.
    """
    motion, frames, first = controls["motion"], controls["frames"], gr.State()
    gr.Markdown("The camera's path over all frames. Click where the arrow should end.")
    picture = gr.Image(
        arrow_picture(None, own["motion"], own["frames"]),
        show_label=False,
        height=300,
        interactive=False,
        buttons=[],
        elem_id="arrow",
        elem_classes="pixels",
    )

    def drawn(first, motion, frames):
        try:
            return arrow_picture(first, motion.strip() or own["motion"], frames.strip() or own["frames"])
        except (InputError, ValueError):  # half typed
            return gr.skip()

    def clicked(frames, event: gr.SelectData):
        return motion_to(event.index, frames.strip() or own["frames"])

    picture.select(clicked, frames, motion, queue=False, show_progress="hidden")
    for changed in (motion, frames, first):
        changed.change(drawn, [first, motion, frames], picture, queue=False, show_progress="hidden")
    return first


def motion_to(tip: tuple[int, int], frames: str) -> str:
    """--motion for an arrow from the middle of the picture to `tip`, pixels of SIDE, walked over all frames."""
    steps = max(int(frames) - 1, 1)
    return ",".join(f"{(at - SIDE / 2) * 512 / SIDE / steps:.1f}".removesuffix(".0") for at in tip)


def arrow_picture(first: str | None, motion: str, frames: str):
    """The first frame of the video `first` (None: an empty field) with the arrow of --motion, SIDE pixels wide."""
    from PIL import Image, ImageDraw

    from ..video import read_video

    frame = Image.fromarray(read_video(first).frames[0]) if first else Image.new("RGB", (8, 8), (226, 230, 236))
    picture = frame.resize((SIDE, SIDE), Image.Resampling.NEAREST)
    if motion.lower() in OFF:
        return picture
    per_frame, steps = Pair().check("motion", Pair().parse(motion)), max(int(frames) - 1, 1)
    middle = SIDE / 2
    tip = [middle + delta * steps * SIDE / 512 for delta in per_frame]
    draw = ImageDraw.Draw(picture)
    length = sum((at - middle) ** 2 for at in tip) ** 0.5
    if length > 1:
        x, y = ((at - middle) / length for at in tip)
        head = min(28.0, length)
        back = tip[0] - head * x, tip[1] - head * y
        wings = [(back[0] - side * 0.5 * head * y, back[1] + side * 0.5 * head * x) for side in (1, -1)]
        for width, colour in ((14, (255, 255, 255)), (8, ARROW)):
            draw.line([(middle, middle), back], fill=colour, width=width)
        draw.polygon([tuple(tip), *wings], fill=ARROW, outline=(255, 255, 255))
    draw.ellipse([middle - 7, middle - 7, middle + 7, middle + 7], fill=ARROW, outline=(255, 255, 255), width=2)
    return picture


@dataclass(frozen=True)
class Made:
    """What a job left: paths, the page as HTML, the command lines, and the pipelines' notes."""

    lines: list[str]
    files: list[str]
    videos: list[str]
    notes: str = ""
    page: str = ""


@dataclass(frozen=True)
class Asked:
    """What stands in the controls of a tab when its button is pressed."""

    command: str
    prompt: str
    values: dict[str, str]  # of the settings; "" is the default
    beside: str = "nothing"  # or a key of WITHOUT
    source: str | None = None

    def variants(self) -> list[tuple[str, dict[str, str]]]:
        """(name, settings) of the video; or of two, with an idea of the paper and without it."""
        if self.beside not in WITHOUT:
            return [("video", self.values)]
        name, on, off = WITHOUT[self.beside]
        given = on if self.values[name].strip() in ("", off) else self.values[name]
        return [("with", {**self.values, name: given}), ("without", {**self.values, name: off})]

    def words(self, values: dict[str, str]) -> list[str]:
        """The command line without its first two words."""
        words = [*([self.source] if self.source else []), self.prompt]
        typed = flags(TABS[self.command], values)
        return [*typed, "--", *words] if self.prompt.startswith("-") else [*words, *typed]

    def make(self, jobs: Jobs, user: str, progress: Callable) -> Made:
        """Run the command, or two. progress: of gradio."""
        if self.command in ("control", "edit") and not self.source:
            raise InputError("give a source video, or draw an example")
        jobs.begin(user)
        folder, variants, lines, outs = jobs.new_folder(), self.variants(), [], []
        for k, (name, values) in enumerate(variants):

            def told(done: int, total: int, stage: str, k=k, name=name) -> None:
                progress((k * total + done) / (total * len(variants)), desc=f"{name}: {stage}")

            outs.append(folder / (f"{name}.mp4" if self.command != "explain" else "page.html"))
            lines.append(jobs.run(self.command, self.words(values), outs[-1], user, told))
        if self.command == "explain":
            text = outs[0].read_text(encoding="utf-8").replace("&", "&amp;").replace('"', "&quot;")
            page = f'<iframe class="page" sandbox="allow-scripts" srcdoc="{text}"></iframe>'
            return Made(lines, [str(outs[0])], [], page=page)
        runs = [out.with_suffix(".json") for out in outs]
        notes = [note for run in runs for note in json.loads(run.read_text(encoding="utf-8"))["notes"]]
        said = "\n".join(f"- {note}" for note in dict.fromkeys(notes))
        return Made(lines, list(map(str, [*outs, *runs])), list(map(str, outs)), said)
