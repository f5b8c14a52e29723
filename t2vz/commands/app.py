"""`t2vz app`: a page to play with, in the browser. A button runs one of the commands, and shows its command line.

The controls follow from the settings' declarations, as the flags do: what is left empty is the default. What a command
reads and writes lies in the page's own folder, a folder for each job; one job runs at a time, the others queue.
"""

import argparse
import html
import json
import os
import secrets
import shlex
import time
from collections.abc import Callable, Iterable
from dataclasses import fields
from importlib import import_module
from pathlib import Path

from PIL import Image, ImageDraw

from ..checkpoints import checkpoint_defaults
from ..errors import FailedError, InputError, library
from ..model import StableDiffusion
from ..pipelines.settings import ControlSettings, EditSettings, Settings
from ..pipelines.values import OFF, Choice, Pair, as_typed, declared
from ..video import read_video
from .arguments import COMMANDS, FRAMES
from .flags import MODEL, Parser, flag_of, words_of
from .inputs import choose_machine

TABS = {  # of each command: its settings, and a prompt to begin with
    "generate": (Settings, "a red ball on a green meadow"),
    "control": (ControlSettings, "a blue ball on the beach"),
    "edit": (EditSettings, "make it snow"),
    "explain": (Settings, "a red ball on a green meadow"),
}
FIRST = ("seed", "frames", "motion", "attention", "image_scale")  # the settings that are seen at once
WITHOUT = {  # an idea of the paper: its flag, a value with it, and the value without
    "cross-frame attention": ("attention", "first", "own"),
    "motion": ("motion", "12,12", "off"),
    "background smoothing": ("smooth_background", "0.6", "0"),
}
SIDE = 512  # pixels of the picture that the arrow is drawn on: one of them is --motion's unit
ARROW, WHITE = (38, 50, 190), (255, 255, 255)
CSS = """
.gradio-container { max-width: 1200px !important; margin: auto; }
#words p { opacity: .8 }
.pixels video, .pixels img { image-rendering: pixelated; }
iframe.page { width: 100%; height: 80vh; border: 1px solid var(--border-color-primary); border-radius: 8px; }
"""


def run(args: argparse.Namespace) -> None:
    """Check what can be checked, then serve the page until Ctrl-C."""
    if not 0 <= args.port < 65536:
        raise InputError(f"--port {args.port}: a number from 0 to 65535 is needed")
    choose_machine(args.device, args.dtype)  # raises for a device that is not there
    page = serve(args)
    print(f"{page.local_url}: open it in a browser; Ctrl-C ends the page. Its files are in {args.folder}", flush=True)
    page.block_thread()


def serve(args: argparse.Namespace):
    """The page, being served: a gradio Blocks with its local_url. args: as parsed; port 0 is any that is free."""
    folder = Path(args.folder).resolve()
    os.environ |= {"GRADIO_TEMP_DIR": str(folder / "uploads"), "GRADIO_ANALYTICS_ENABLED": "False"}
    gr = library("gradio", "t2vz app needs", "app")  # it reads these when it is imported
    folder.mkdir(parents=True, exist_ok=True)
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
        self.folder, self.weights, self.models, self.stopped = folder, args.weights, {}, set()
        self.model = words_of({name: getattr(args, name) for name in MODEL})

    def new_folder(self) -> Path:
        """A folder for one job."""
        folder = self.folder / f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
        folder.mkdir()
        return folder

    def defaults(self, command: str) -> dict[str, str]:
        """{setting: what it is if it is left empty}, as typed: the checkpoint's own, else ours."""
        own = checkpoint_defaults(self.weights, edit=command == "edit")
        given = {"prompt": "…", **({"frames": FRAMES} if command == "explain" else {})}
        settings = TABS[command][0].resolve(given, own)
        values = {one: getattr(settings, one.name) for one in fields(settings)}
        return {one.name: declared(one).none if value is None else as_typed(value) for one, value in values.items()}

    def stop(self, user: str) -> None:
        """End the job of a user, if one is at work, before its next step."""
        self.stopped.add(user)

    def make(self, command: str, variants: dict[str, list[str]], user: str, progress: Callable) -> dict[Path, str]:
        """Run a command for each of {name: words}. Returns {file: the command line that makes it}.

        progress: of gradio.
        """
        self.stopped.discard(user)  # what was stopped before does not count
        folder, made = self.new_folder(), {}
        for k, (name, words) in enumerate(variants.items()):

            def told(done: int, total: int, stage: str, k=k, name=name) -> None:
                progress((k * total + done) / (total * len(variants)), desc=f"{name}: {stage}")

            out = folder / (f"{name}.html" if command == "explain" else f"{name}.mp4")
            made[out] = self.run(command, words, out, user, told)
        return made

    def run(self, command: str, words: list[str], out: Path, user: str, progress: Callable) -> str:
        """Run one command, writing `out`; returns the command line that does the same. words: flags, then positionals.

        progress(done, total, stage), as a pipeline's. Raises InputError, FailedError and Stopped.
        """

        def heard(done: int, total: int, stage: str) -> None:
            if user in self.stopped:
                raise Stopped("stopped")
            progress(done, total, stage)

        parser = Parser(prog=f"t2vz {command}")
        COMMANDS[command](parser)
        model = [*self.model, "--quiet"] if command in TABS else []
        args = parser.parse_args([*model, f"--out={out}", *words])
        args.progress, args.load = heard, self.load
        import_module(f".{command}", __package__).run(args)
        return shlex.join(["t2vz", command, *self.model, *words])

    def load(self, *arguments, **options) -> StableDiffusion:
        """`StableDiffusion.load`, whose models are kept; of each kind (for videos, for edits) the last."""
        kind = tuple(options.items())
        if self.models.get(kind, (None,))[0] != arguments:
            self.models.pop(kind, None)  # first, for there may be memory for one
            self.models[kind] = arguments, StableDiffusion.load(*arguments, **options)
        return self.models[kind][1]


def variants_of(
    command: str, prompt: str, values: dict[str, str], beside: str = "nothing", source: str | None = None
) -> dict[str, list[str]]:
    """{name: words of a command line} for what stands in the controls of a tab: one video, or two to compare.

    values: of the settings; "" is the default. beside: a key of WITHOUT, the idea of the paper that the second lacks.
    """
    given = {"page" if command == "explain" else "video": values}
    if beside in WITHOUT:
        name, on, off = WITHOUT[beside]
        with_it = on if values[name].strip() in ("", off) else values[name]
        given = {"with": {**values, name: with_it}, "without": {**values, name: off}}
    known = {one.name: flag_of(one) for one in fields(TABS[command][0])}
    words = [source, prompt] if source else [prompt]
    lines = {}
    for variant, settings in given.items():
        typed = words_of({known[name]: value.strip() or None for name, value in settings.items()})
        lines[variant] = [*typed, "--", *words] if prompt.startswith("-") else [*words, *typed]
    return lines


def build(gr, jobs: Jobs):
    """The whole page. gr: the module gradio."""
    with gr.Blocks(title="t2vz", analytics_enabled=False) as page:
        gr.Markdown(
            "# Text2Video-Zero\nVideos from a text-to-image model, without training. What is left empty is the "
            "default; below each result stands the command that makes the same.",
            elem_id="words",
        )
        for name in TABS:
            with gr.Tab(name.capitalize(), elem_id=f"tab-{name}"):
                _tab(gr, jobs, name)
    return page.queue(max_size=32)


def _tab(gr, jobs: Jobs, name: str) -> None:
    """One command: its settings left, its result right; on a phone one below the other."""
    (settings, example), own = TABS[name], jobs.defaults(name)
    needs_source = bool(settings.OF_THE_SOURCE)
    with gr.Row():
        with gr.Column(scale=2):
            source = _source(gr, jobs, name) if needs_source else gr.State()
            prompt = gr.Textbox(example, label="instruction" if name == "edit" else "prompt", lines=2)
            controls = _settings(gr, settings, own)
            first = _arrow(gr, controls, own) if name == "generate" else gr.State()
            choices = ["nothing", *WITHOUT]
            beside = gr.Radio(choices, value="nothing", label="beside it, without", visible=name == "generate")
            with gr.Row():
                button = gr.Button(name.capitalize(), variant="primary", elem_id=f"make-{name}", min_width=100)
                stop = gr.Button("Stop", elem_id=f"stop-{name}", min_width=100)
        with gr.Column(scale=3):
            with gr.Row():
                options = {"autoplay": True, "loop": True, "interactive": False, "min_width": 200}
                options |= {"elem_classes": ["pixels", f"made-{name}"]}
                video = gr.Video(label="the video", visible=name != "explain", **options)
                without = gr.Video(label="without", visible=False, **options)
            page = gr.HTML("The page appears here." if name == "explain" else "")
            said = gr.Markdown()
            options = {"language": "shell", "lines": 1, "wrap_lines": True, "show_line_numbers": False}
            line = gr.Code(label="the command that does the same", visible=False, elem_id=f"line-{name}", **options)
            files = gr.File(label="to keep", file_count="multiple", interactive=False, visible=False)

    def make(given: dict, request: gr.Request, progress=gr.Progress()):
        """Run what the page asks for, and give what it shows."""
        values = {one: given[component] or "" for one, component in controls.items()}
        try:
            if needs_source and not given[source]:
                raise InputError("give a source video, or draw an example")
            variants = variants_of(name, given[prompt], values, given[beside], given[source])
            made = jobs.make(name, variants, request.session_hash, progress)
        except Stopped:
            return {said: "stopped"}
        except (InputError, FailedError) as error:
            raise gr.Error(str(error), title="not made", print_exception=False) from error
        outs, runs = list(map(str, made)), [run for out in made if (run := out.with_suffix(".json")).exists()]
        shown = {line: gr.Code("\n".join(made.values()), visible=True), said: _notes(runs)}
        shown[files] = gr.File([*outs, *map(str, runs)], visible=True)
        if name == "explain":
            return shown | {page: _framed(outs[0])}
        second = gr.Video(outs[1], visible=True) if outs[1:] else gr.Video(visible=False)
        return shown | {video: gr.Video(outs[0], visible=True), without: second, first: outs[0]}

    inputs = {prompt, beside, source, *controls.values()}  # a set: make is given a dict
    outputs = [video, without, page, said, line, files, first]
    shows = page if name == "explain" else video
    job = button.click(make, inputs, outputs, concurrency_limit=1, concurrency_id="job", show_progress_on=shows)

    def end(request: gr.Request):
        jobs.stop(request.session_hash)

    stop.click(end, None, None, cancels=[job], queue=False)


def _framed(page: str) -> str:
    """A page of explain's within the page."""
    text = html.escape(Path(page).read_text(encoding="utf-8"))
    return f'<iframe class="page" sandbox="allow-scripts" srcdoc="{text}"></iframe>'


def _notes(runs: Iterable[Path]) -> str:
    """The notes of these run files, as a list."""
    notes = [note for run in runs for note in json.loads(run.read_text(encoding="utf-8"))["notes"]]
    return "\n".join(f"- {note}" for note in dict.fromkeys(notes))


def _settings(gr, settings: type[Settings], own: dict[str, str]) -> dict:
    """{name: component} of all settings that have a flag: a few at once, the others behind a click.

    Empty is the default.
    """
    components = {}
    for at_once in (True, False):
        with gr.Row() if at_once else gr.Accordion("more settings", open=False):
            for one in fields(settings):
                if one.name not in ("prompt", *settings.OF_THE_SOURCE) and (one.name in FIRST) == at_once:
                    components[one.name] = _component(gr, one, own[one.name])
    return components


def _component(gr, one, default: str):
    """A setting's control, which shows its default."""
    kind, options = declared(one).kind, {"label": one.name.replace("_", " "), "info": declared(one).help}
    options |= {"min_width": 140, "elem_classes": f"set-{one.name}"}
    if isinstance(kind, Choice):
        return gr.Dropdown([(default, ""), *(word for word in kind.phrases if word != default)], value="", **options)
    return gr.Textbox(placeholder=default, **options)


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
    options = {"show_label": False, "height": 300, "interactive": False, "buttons": []}
    drawing = arrow_picture(None, own["motion"], own["frames"])
    picture = gr.Image(drawing, elem_id="arrow", elem_classes="pixels", **options)

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
    return ",".join(f"{(at - SIDE / 2) / steps:.1f}".removesuffix(".0") for at in tip)


def arrow_picture(first: str | None, motion: str, frames: str):
    """The first frame of the video `first` (None: an empty field) with the arrow of --motion, SIDE pixels wide."""
    frame = Image.fromarray(read_video(first).frames[0]) if first else Image.new("RGB", (8, 8), (226, 230, 236))
    picture = frame.resize((SIDE, SIDE), Image.Resampling.NEAREST)
    if motion.lower() in OFF:
        return picture
    draw, middle = ImageDraw.Draw(picture), complex(SIDE / 2, SIDE / 2)  # points of the plane: x + iy
    way = complex(*Pair().check("motion", Pair().parse(motion))) * max(int(frames) - 1, 1)
    if abs(way) > 1:
        head = way / abs(way) * min(28, abs(way))
        tip, back = middle + way, middle + way - head
        for width, colour in ((14, WHITE), (8, ARROW)):
            draw.line(_points(middle, back), fill=colour, width=width)
        draw.polygon(_points(tip, back + 0.5j * head, back - 0.5j * head), fill=ARROW, outline=WHITE)
    draw.ellipse(_points(middle - 7 - 7j, middle + 7 + 7j), fill=ARROW, outline=WHITE, width=2)
    return picture


def _points(*plane: complex) -> list[tuple[float, float]]:
    return [(point.real, point.imag) for point in plane]
