"""The pictures of the book, one function for each, drawn from the embedded models with fixed seeds.

`python docs/make.py --pictures` calls them. Each takes a `Studio`, which holds the models and the videos that several
pictures share, and returns a matplotlib Figure. Nothing is retouched: what stands in a picture is what the functions
named in that section of method.md return.
"""

import io
from collections.abc import Callable, Sequence
from functools import cache, cached_property
from pathlib import Path
from textwrap import fill

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from t2vz.checkpoints import embedded_controlnet, embedded_edit, embedded_weights
from t2vz.conditions import edges
from t2vz.errors import InputError
from t2vz.files import write_bytes
from t2vz.lab.explain import evenly, look
from t2vz.lab.pictures import false_colours, heat_over, masked
from t2vz.metrics import clip_score, content_shift, embed_images, embed_texts, load_clip
from t2vz.model import StableDiffusion, load_controlnet
from t2vz.motion import global_motion, translation_flow, warp
from t2vz.pipelines.control import control_video
from t2vz.pipelines.denoise import denoise, invert
from t2vz.pipelines.edit import edit_video
from t2vz.pipelines.prediction import guided_by_text
from t2vz.pipelines.randomness import Noise
from t2vz.pipelines.settings import Settings, TuneSettings
from t2vz.pipelines.text_to_video import generate, text_to_video
from t2vz.pipelines.trace import Trace, trace
from t2vz.pipelines.tune import tune
from t2vz.schedulers import NoiseSchedule, ddpm_step, forward_jump, forward_step
from t2vz.video import Video
from t2vz.world import caption, paint, paint_clip, sample_scene, scene_from_words

PROMPT = "a red ball on a green meadow"
OPEN = "a house on a green meadow"  # how it is painted is left open: what attention to frame 1 does shows here
SEED = 1
FRAMES = 6
MOTION = (24.0, 12.0)  # more than the paper's 12: a small model's latents have few cells to move by
CELL = 1.15  # inches
DPI = 110
INK, ACCENT, SECOND = "#333333", "#c8442e", "#2e6fc8"
SCHEDULE = NoiseSchedule.stable_diffusion()

PICTURES: dict[str, Callable[["Studio"], Figure]] = {}
MODELS: dict[str, Callable[[], Path]] = {}  # name of a picture -> finds the model it shows


def picture(name: str, model: Callable[[], Path] = embedded_weights):
    """Register a function as the one that draws docs/pictures/NAME.png, from the model that `model()` finds."""

    def register(function: Callable[["Studio"], Figure]) -> Callable[["Studio"], Figure]:
        PICTURES[name], MODELS[name] = function, model
        return function

    return register


def missing_model(name: str) -> str:
    """What is missing to draw a picture, in words; "" if nothing is."""
    try:
        MODELS[name]()
    except InputError as error:
        return str(error)
    return ""


class Studio:
    """What pictures are drawn from, each made when it is first asked for. steps: of the sampler; 50 as in the paper."""

    def __init__(self, steps: int = 50):
        self.steps = steps

    @cached_property
    def sd(self) -> StableDiffusion:
        """The embedded model."""
        return StableDiffusion.load()

    @cache
    def video(
        self, prompt: str = PROMPT, frames: int = FRAMES, motion: tuple[float, float] | None = MOTION, **more
    ) -> tuple[Video, Trace]:
        """A video, and the trace of all but its attention maps; made once for each request."""
        with trace() as run:
            made = text_to_video(self.sd, prompt, frames, self.steps, seed=SEED, motion=motion, **more)
        return made, run

    def scene(self, words: str = PROMPT) -> Tensor:
        """The painter's picture of a scene as a scaled latent (1, 4, h, w)."""
        painted = np.array(paint(scene_from_words(words, SEED), self.sd.default_size))
        return self.sd.encode(painted[None])

    def source(self) -> np.ndarray:
        """A painted clip to control and to edit: uint8 (FRAMES, H, W, 3)."""
        clip, _ = paint_clip(scene_from_words(PROMPT, 0), self.sd.default_size, 4 * FRAMES)
        return clip[::4]  # so that the ball has somewhere to go


def save(figure: Figure, path: Path) -> None:
    """A figure as a PNG of 256 colours, the same bytes every time."""
    drawn, small = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, dpi=DPI, metadata={"Software": None})
    Image.open(drawn).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(small, format="PNG", optimize=True)
    write_bytes(path, small.getvalue())


def grid(rows: list[tuple[str, Sequence[np.ndarray]]], columns: Sequence[str] = ()) -> Figure:
    """Rows of pictures, each (label, pictures (H, W, 3)), under the columns' names; latents keep their square cells."""
    count = max(len(pictures) for _, pictures in rows)
    figure = Figure(figsize=(CELL * count + 1.0, CELL * len(rows) + 0.3))
    axes = figure.subplots(len(rows), count, squeeze=False)
    figure.subplots_adjust(
        left=0.98 / (CELL * count + 1.0),
        right=1,
        bottom=0.005,
        wspace=0.04,
        hspace=0.05,
        top=1 - 0.28 / (CELL * len(rows) + 0.3),
    )
    for (label, pictures), line in zip(rows, axes, strict=True):
        line[0].text(-0.06, 0.5, label, transform=line[0].transAxes, ha="right", va="center", fontsize=9, color=INK)
        for place in line:
            place.axis("off")
        for place, shown in zip(line, pictures, strict=False):
            place.imshow(shown, interpolation="nearest" if shown.shape[0] < 64 else "antialiased")
    for place, name in zip(axes[0], columns, strict=False):
        place.set_title(name, fontsize=9, color=INK, pad=3)
    return figure


def plots(count: int, height: float = 2.6) -> tuple[Figure, list]:
    """A figure with `count` plots in a row."""
    figure = Figure(figsize=(3.6 * count, height), layout="constrained")
    axes = figure.subplots(1, count, squeeze=False)[0]
    for place in axes:
        place.tick_params(labelsize=8)
        place.spines[["top", "right"]].set_visible(False)
    return figure, list(axes)


def frames_named(count: int = FRAMES) -> list[str]:
    """frame 1 … frame m, as the paper counts."""
    return [f"frame {k}" for k in range(1, count + 1)]


@picture("schedule")
def schedule(studio: Studio) -> Figure:
    """β_t, and the shares of picture and noise in x_t, with T' and T."""
    figure, (left, right) = plots(2)
    left.plot(SCHEDULE.betas, color=INK)
    left.set_title(r"$\beta_t$: noise that step $t$ adds", fontsize=9)
    right.plot(SCHEDULE.alpha_bar.sqrt(), color=SECOND, label=r"picture, $\sqrt{\bar\alpha_t}$")
    right.plot((1 - SCHEDULE.alpha_bar).sqrt(), color=ACCENT, label=r"noise, $\sqrt{1-\bar\alpha_t}$")
    right.set_title(r"what is in $x_t$", fontsize=9)
    for t, name in ((881, "$T'$"), (941, "$T$")):
        right.axvline(t, color=INK, linewidth=0.6, linestyle=":")
        right.text(t, 1.03, name, fontsize=8, ha="center")
    right.legend(fontsize=8, frameon=False, loc="center left")
    for place in (left, right):
        place.set_xlabel("timestep t", fontsize=8)
    return figure


@picture("e01-forward-step")
def e01(studio: Studio) -> Figure:
    """A painted picture, pixel by pixel, after 0, 50, … 999 applications of E1."""
    shown_at = (0, 50, 150, 300, 500, 999)
    x = torch.from_numpy(paint(scene_from_words(PROMPT, SEED), 128).copy()).permute(2, 0, 1).double() / 127.5 - 1
    generator, shown = torch.Generator().manual_seed(SEED), []
    for t in range(1000):
        if t in shown_at:
            shown.append(((x.permute(1, 2, 0) / 2 + 0.5).clamp(0, 1) * 255).byte().numpy())
        x = forward_step(x, float(SCHEDULE.betas[t]), torch.randn(x.shape, generator=generator, dtype=x.dtype))
    return grid([("pixels", shown)], [f"{t} steps" for t in shown_at])


@picture("e02-forward-jump")
def e02(studio: Studio) -> Figure:
    """One latent, and one jump from it to each of several timesteps; below, what the VAE makes of that."""
    x_0, times = studio.scene(), (0, 200, 400, 600, 800, 999)
    noise = Noise(SEED).draw("forward", 0, tuple(x_0.shape))
    x = torch.cat([forward_jump(x_0, SCHEDULE.jump_ratio(0, t, "paper"), noise) for t in times])
    return grid([("$x_t$", false_colours(x)), ("decoded", studio.sd.decode(x))], [f"t = {t}" for t in times])


@picture("e03-ddim")
def e03(studio: Studio) -> Figure:
    """One picture on its way from noise: x_t, and what each step took the clean picture for."""
    made, run = studio.video(frames=1, motion=None)
    steps = run.steps("x_t")
    times = evenly(list(steps), FRAMES)
    x_t, x_0 = (torch.cat([run.steps(name)[t] for t in times]) for name in ("x_t", "x_0"))
    return grid([("$x_t$", false_colours(x_t)), (r"$\hat x_0$", studio.sd.decode(x_0))], [f"t = {t}" for t in times])


@picture("e04-ddpm")
def e04(studio: Studio) -> Figure:
    """From one noise: DDIM's picture, and five draws of the ancestral sampler."""
    sd, noise, draws = studio.sd, Noise(SEED), FRAMES - 1
    x = noise.frames("shared", range(1), latent_shape(sd)).expand(draws, -1, -1, -1)
    predict = guided_by_text(sd.unet, sd.encode_text(["", PROMPT]), 7.5, "own")
    for t in sd.schedule.timesteps(studio.steps):
        s = sd.schedule.previous(t, studio.steps)
        fresh = noise.frames(f"step {t}", range(draws), x.shape[1:])
        x = ddpm_step(x, predict(x, t), sd.schedule.alpha_bar_at(t), sd.schedule.alpha_bar_at(s), fresh)
    alone, _ = studio.video(frames=1, motion=None, initial_noise="shared")
    names = ["E3", *(f"E4, draw {i + 1}" for i in range(draws))]
    return grid([("same $x_T$", [alone.frames[0], *sd.decode(x)])], names)


@picture("e05-guidance")
def e05(studio: Studio) -> Figure:
    """The same noise under growing guidance scales."""
    scales = (0.0, 1.0, 2.0, 4.0, 7.5, 15.0)
    shown = [studio.video(frames=1, motion=None, guidance_scale=w)[0].frames[0] for w in scales]
    return grid([("", shown)], [f"w = {w:g}" for w in scales])


@picture("e06-frame-1")
def e06(studio: Studio) -> Figure:
    """Frame 1's way from noise to T, and on to T': its latents, and what they were taken for."""
    made, run = studio.video()
    T, T_prime = (SCHEDULE.snap(made.settings[name], studio.steps) for name in ("t", "t_prime"))
    alone, clean = (
        {int(name.rpartition("/")[2]): x for name, x in run.find(f"{which}/frame 1 to T*").items()}
        for which in ("x_t", "x_0")
    )
    alone[T_prime], clean[T_prime] = run["x_T'"], _clean_at(run, T_prime)
    times = evenly(list(alone), FRAMES)
    names = [f"t = {t}" + {T: " = $T$", T_prime: " = $T'$"}.get(t, "") for t in times]
    x_t, x_0 = (torch.cat([found[t] for t in times]) for found in (alone, clean))
    return grid([("$x^1_t$", false_colours(x_t)), (r"$\hat x^1_0$", studio.sd.decode(x_0))], names)


@picture("e07-global-motion")
def e07(studio: Studio) -> Figure:
    """Where the camera goes, and by how many cells of a 64×64 latent each convention moves the frames."""
    figure, (path, cells) = plots(2, 2.9)
    frames = range(1, 9)
    for motion, colour in (((12.0, 12.0), INK), ((20.0, -6.0), SECOND)):
        x, y = global_motion(motion, len(frames)).T
        path.plot(x, y, "o-", color=colour, markersize=3, linewidth=0.8, label=rf"$\lambda\delta$ = {motion}")
    path.invert_yaxis()
    path.set_title(r"$\delta^k$, frames 1 to 8 (y down)", fontsize=9)
    path.set_xlabel("1/512ths of the frame", fontsize=8)
    path.set_ylabel("1/512ths of the frame", fontsize=8)
    offsets = global_motion((12.0, 12.0), len(frames))
    cells.plot(frames, offsets[:, 0] / 8, color=INK, linewidth=0.8, label=r"$\delta^k/8$")
    places = torch.arange(64.0).expand(1, 1, 64, 64)  # each cell holds its own column
    for convention, colour in (("exact", SECOND), ("release", ACCENT)):
        moved = warp(places, translation_flow(offsets, 64, 64, convention))[:, 0, 0, 0]
        cells.plot(frames, moved, "o", color=colour, markersize=4, label=f'cells, "{convention}"')
    cells.set_title(r"columns, of 64, the warp moves frame $k$, $\lambda\delta$ = 12", fontsize=9)
    cells.set_xlabel("frame k", fontsize=8)
    for place in (path, cells):
        place.legend(fontsize=8, frameon=False)
    return figure


@picture("e08-warp")
def e08(studio: Studio) -> Figure:
    """Frame 1 at T' and its warps; below, the clean latent it implies, warped alike and decoded. Arrows: −δ^k."""
    made, run = studio.video()
    flow, x = run["flow"].clone(), run["x_T'"]
    flow[0] = 0  # frame 1 stays as it is
    x_0 = _clean_at(run, SCHEDULE.snap(made.settings["t_prime"], studio.steps))
    rows = [
        (r"$\tilde x^k_{T'}$", false_colours(torch.cat([x, run["warped"]]))),
        (r"$W_k(\hat x^1_0)$", studio.sd.decode(warp(x_0, flow))),
    ]
    figure = grid(rows, frames_named())
    for row, scale in ((0, 1), (1, studio.sd.vae.factor)):
        for k in range(1, FRAMES):
            place, (dx, dy) = figure.axes[row * FRAMES + k], (flow[k, :, 0, 0] * scale).tolist()
            middle = (x.shape[-1] - 1) / 2 * scale
            place.annotate(
                "",
                (middle - dx, middle - dy),
                (middle, middle),
                arrowprops={"arrowstyle": "-|>", "color": "white", "linewidth": 1.6},
            )
    return figure


@picture("e09-motion-dynamics")
def e09(studio: Studio) -> Figure:
    """Frames warped, noised back up to T, and what the first common step takes each of them for."""
    made, run = studio.video()
    first = next(iter(run.steps("x_0").values()))
    return grid(
        [
            (r"$\tilde x^k_{T'}$", false_colours(torch.cat([run["x_T'"], run["warped"]]))),
            ("$x^k_T$", false_colours(run["x_T"])),
            (r"$\hat x^k_0$ at $T$", studio.sd.decode(first)),
        ],
        frames_named(),
    )


@picture("e10-all-frames")
def e10(studio: Studio) -> Figure:
    """All frames together, from T to the end."""
    made, run = studio.video()
    steps = run.steps("x_0")
    rows = [(rf"$\hat x_0$, t = {t}", studio.sd.decode(steps[t])) for t in evenly(list(steps), 4)[:-1]]
    return grid([*rows, ("the video", made.frames)], frames_named())


@picture("e11-self-attention")
def e11(studio: Studio) -> Figure:
    """Where one point of frame 4 looks in frame 4, in three layers, coarse to fine."""
    made, run = studio.video(OPEN, motion=None, attention="own")
    frame, point = made.frames[3], _darkest(made.frames[3])
    maps = list(_looks(studio, made, run, [point]).values())
    figure = grid(
        [("", [frame, *(heat_over(frame, found[3, 0]) for found in maps)])],
        ["frame 4", *(f"{found.shape[-2]}×{found.shape[-1]} cells" for found in maps)],
    )
    for place in figure.axes:
        _mark(place, frame, point)
    return figure


@picture("e12-cross-frame-attention")
def e12(studio: Studio) -> Figure:
    """The video with E12, where a point of each frame looks in frame 1, and the same noise without E12."""
    made, run = studio.video(OPEN, motion=None)
    other, _ = studio.video(OPEN, motion=None, attention="own")
    points = [_darkest(frame) for frame in made.frames]
    finest = list(_looks(studio, made, run, points).values())[-1]
    heat = [heat_over(made.frames[0], finest[k, k]) for k in range(FRAMES)]
    figure = grid([("E12", made.frames), ("looks in\nframe 1", heat), ("E11", other.frames)], frames_named())
    for k, point in enumerate(points):
        _mark(figure.axes[k], made.frames[k], point)
    return figure


@picture("e13-background-smoothing")
def e13(studio: Studio) -> Figure:
    """Without smoothing, the masks from attention over it, and with α = 0.6."""
    plain, _ = studio.video()
    smooth, run = studio.video(smooth_background=0.6)
    masks = [masked(frame, mask[0]) for frame, mask in zip(plain.frames, run["foreground"], strict=True)]
    return grid([(r"$\alpha$ = 0", plain.frames), ("$M^k$", masks), (r"$\alpha$ = 0.6", smooth.frames)], frames_named())


@picture("e14-controlnet", embedded_controlnet)
def e14(studio: Studio) -> Figure:
    """A painted clip, its edges, and a video that follows them."""
    network, source = load_controlnet(), studio.source()
    condition = np.stack([edges(frame) for frame in source])
    prompt = "a blue ball in the snow"
    made, without = (
        control_video(
            studio.sd,
            prompt,
            condition,
            network,
            min(studio.steps, 20),
            guidance_scale=3.0,
            seed=SEED,
            control_scale=scale,
        )
        for scale in (1.5, 0.0)
    )
    return grid(
        [("source", source), ("$c^k$", condition), ("s = 1.5", made.frames), ("s = 0", without.frames)], frames_named()
    )


@picture("e15-edit", embedded_edit)
def e15(studio: Studio) -> Figure:
    """A painted clip, edited by two instructions; the second also without cross-frame attention."""
    sd, source = StableDiffusion.load(edit=True), studio.source()
    rows = [("source", source)]
    for words, attention in (("make the ball blue", "first"), ("make it snow", "first"), ("make it snow", "own")):
        made = edit_video(sd, source, words, studio.steps, seed=SEED, attention=attention)
        rows.append((fill(words, 13) + ("" if attention == "first" else "\n(E11)"), made.frames))
    return grid(rows, frames_named())


@picture("e16-clip-score")
def e16(studio: Studio) -> Figure:
    """The CLIP score of painted scenes under their own and each other's captions."""
    rng, clip = np.random.default_rng(3), load_clip()
    scenes = [sample_scene(rng, held_out=None) for _ in range(6)]
    images = embed_images(clip, np.stack([paint(scene, studio.sd.default_size) for scene in scenes]))
    texts = embed_texts(clip, [caption(scene) for scene in scenes])
    scores = [[clip_score(image[None], text) for image in images] for text in texts]
    figure = Figure(figsize=(7.2, 2.6), layout="constrained")
    place = figure.subplots()
    place.imshow(scores, cmap="Greys", vmin=0, vmax=100, aspect="auto")
    for i, row in enumerate(scores):
        for j, score in enumerate(row):
            place.text(
                j,
                i,
                f"{score:.0f}",
                ha="center",
                va="center",
                fontsize=8,
                color="white" if score > 55 else INK,
                weight="bold" if i == j else "normal",
            )
    place.set_yticks(range(6), [caption(scene) for scene in scenes], fontsize=7)
    place.set_xticks(range(6), [f"picture {i + 1}" for i in range(6)], fontsize=7)
    return figure


@picture("e17-tune-a-video")
def e17(studio: Studio) -> Figure:
    """A painted clip, its inverted latents, the way back from them, and two prompts of a model tuned on the clip."""
    sd, source = studio.sd, studio.source()
    settings = TuneSettings(PROMPT, steps=3 * studio.steps, learning_rate=1e-3, inversion_steps=studio.steps)
    x_0 = sd.encode(source)
    eps = guided_by_text(sd.unet, sd.encode_text(["", ""]), 1.0, "own")
    x_T = invert(eps, x_0, studio.steps, sd.schedule)
    *_, back = denoise(eps, x_T, sd.schedule.timesteps(studio.steps), studio.steps, sd.schedule)
    tuned = tune(sd, source, settings)
    rows = [("source", source), ("$x_T$ (E17)", false_colours(x_T)), ("back (E3)", sd.decode(back.x_s))]
    for words in ("a blue ball on a green meadow", "a red ball in the snow"):
        rows.append((fill(words, 13), generate(tuned, Settings.for_model(tuned, prompt=words)).frames))
    return grid(rows, frames_named())


@picture("measures")
def measures(studio: Studio) -> Figure:
    """Measured motion against known shifts of a painted picture, by eighths of a pixel to begin with."""
    large = paint(scene_from_words("a red house in the mountains", SEED), 1024).astype(np.float64).mean(axis=2)
    window, oversampled = 768, 8
    known = [*range(0, 16), *range(16, 241, 16)]  # in eighths of a pixel
    pictures = [
        torch.from_numpy(large[:window, shift : shift + window].reshape(96, oversampled, 96, oversampled)).mean(
            dim=(1, 3)
        )
        for shift in known
    ]
    shifts = np.array(known) / oversampled
    found = np.array([-content_shift(pictures[0], later)[0] for later in pictures])
    figure, (left, right) = plots(2)
    left.plot(shifts, shifts, color=INK, linewidth=0.7)
    left.plot(shifts, found, "o", color=ACCENT, markersize=3)
    left.set_title("measured against known shift (pixels)", fontsize=9)
    right.axhline(0, color=INK, linewidth=0.7)
    right.plot(shifts, found - shifts, "o", color=ACCENT, markersize=3)
    right.set_title("difference (pixels)", fontsize=9)
    for place in (left, right):
        place.set_xlabel("known shift; the picture is 96 pixels wide", fontsize=8)
    return figure


@picture("ablations")
def ablations(studio: Studio) -> Figure:
    """The paper's two ideas, off and on, from the same seed."""
    made = {
        "neither": studio.video(OPEN, motion=None, attention="own"),
        "motion\n(E6–E9)": studio.video(OPEN, attention="own"),
        "attention\n(E12)": studio.video(OPEN, motion=None),
        "both": studio.video(OPEN),
    }
    return grid([(name, video.frames) for name, (video, _) in made.items()], frames_named())


def latent_shape(sd: StableDiffusion) -> tuple[int, int, int]:
    """(c, h, w) of one latent of the model's own size."""
    side = sd.default_size // sd.vae.factor
    return sd.unet.config.out_channels, side, side


def _clean_at(run: Trace, t: int) -> Tensor:
    """Frame 1's x̂_0 (1, c, h, w) at a timestep of the common stage, where it looks at nobody but itself."""
    return run.steps("x_0")[t][:1]


def _looks(studio: Studio, made: Video, run: Trace, points: list[tuple[float, float]]) -> dict[str, Tensor]:
    """Where points of each frame look, half way down: layer -> (m, points, h, w), coarse to fine."""
    steps = run.steps("x_t")
    t = list(steps)[len(steps) // 2]
    return look(studio.sd, Settings.from_dict(made.settings), steps[t], t, points)


def _darkest(frame: np.ndarray) -> tuple[float, float]:
    """The middle of the darkest 16×16 pixels of a frame, (x, y) in [0, 1]: a place on the house's roof."""
    height, width, _ = frame.shape
    blocks = frame.reshape(height // 16, 16, width // 16, 16, 3).mean(axis=(1, 3, 4))
    y, x = np.unravel_index(blocks.argmin(), blocks.shape)
    return (x + 0.5) * 16 / width, (y + 0.5) * 16 / height


def _mark(place, frame: np.ndarray, point: tuple[float, float]) -> None:
    """A ring around a point (x, y) in [0, 1] of a frame."""
    x, y = point[0] * frame.shape[1], point[1] * frame.shape[0]
    place.plot([x], [y], "o", markersize=7, markerfacecolor="none", markeredgecolor="white", markeredgewidth=1.5)
