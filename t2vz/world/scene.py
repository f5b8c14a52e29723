"""Scenes: what a caption says, where things stand, and the picture of it.

A `Scene` is a caption's facts plus a seed. The seed decides everything the caption leaves open, in separate
streams (horizon, place, layout, looks), so that the same scene is the same picture at every size. About a
tenth of all (kind, colour, background) triples are held out of training by a fixed hash, to ask later for
what was never shown.
"""

import hashlib
from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from .backgrounds import PLACES
from .canvas import Canvas, Pen, mix, oval
from .look import COLOURS, Look, draw_look
from .objects import KINDS
from .style import STYLES, Style

OBJECTS: tuple[str, ...] = tuple(KINDS)
BACKGROUNDS: tuple[str, ...] = tuple(PLACES)
COUNTS = {2: "two", 3: "three", 4: "a row of", 5: "many"}
SIZES = ("small", "big")
OPENINGS = ("", "a picture of ", "a drawing of ")

# How much smaller things are when there are several, and half the width that each may take: by count;
# 0 stands for two different things.
SHRINK = {0: 0.78, 1: 1.0, 2: 0.74, 3: 0.62, 4: 0.5, 5: 0.42}
HALF_SPACE = {0: 0.24, 1: 0.47, 2: 0.24, 3: 0.165, 4: 0.125, 5: 0.12}


@dataclass(frozen=True)
class Scene:
    """Everything that determines a picture.

    `count` is 1, 2, 3, 4 (a row) or 5 (many: seven of them); `companion` is a second thing, (kind, colour).
    """

    kind: str
    colour: str
    background: str
    count: int
    caption: str
    seed: int
    size: str = ""  # "", "small" or "big"
    floating: bool = False  # "over" the place, not on it
    companion: tuple[str, str] | None = None
    style: str = "bold"  # or "fine"


def is_held_out(kind: str, colour: str, background: str) -> bool:
    """Whether this triple is kept out of training: a fixed tenth, by SHA-256 of its three words."""
    return hashlib.sha256(f"{kind}/{colour}/{background}".encode()).digest()[0] < 26


def sample_scene(rng: np.random.Generator, held_out: bool | None = False, style: str = "bold") -> Scene:
    """A random scene of the training split (False), of the held-out split (True) or of both (None)."""
    chances = STYLES[style]
    kinds = [kind for kind in OBJECTS if kind not in chances.leave_out]
    while True:
        kind, colour = kinds[rng.integers(len(kinds))], list(COLOURS)[rng.integers(len(COLOURS))]
        background = BACKGROUNDS[rng.integers(len(BACKGROUNDS))]
        if held_out is None or is_held_out(kind, colour, background) == held_out:
            break
    place = PLACES[background]
    count = int(rng.choice([1, 2, 3, 4, 5], p=chances.counts))
    size = SIZES[rng.integers(2)] if count == 1 and rng.random() < 0.12 else ""
    floating = KINDS[kind].floats and place.over is not None and rng.random() < 0.5
    companion = None
    if count == 1 and not size and not floating and rng.random() < chances.companion:
        other = kinds[rng.integers(len(kinds))], list(COLOURS)[rng.integers(len(COLOURS))]
        split_agrees = held_out is not False or not is_held_out(*other, background)
        companion = other if other[0] != kind and split_agrees else None
    usual = floating or rng.random() < 0.75
    phrase = place.over if floating else place.phrases[0 if usual else rng.integers(len(place.phrases))]
    opening = OPENINGS[rng.choice(3, p=[0.9, 0.06, 0.04])]
    words = opening + name(kind, colour, count, size, one=rng.random() < 0.06)
    words += f" beside {name(*companion)}" if companion else ""
    return Scene(
        kind, colour, background, count, f"{words} {phrase}", int(rng.integers(2**31)), size, floating, companion, style
    )


def name(kind: str, colour: str, count: int = 1, size: str = "", one: bool = False) -> str:
    """The noun phrase: "a red ball", "an orange cat", "a small blue fish", "two pink stars"."""
    if count > 1:
        return f"{COUNTS[count]} {colour} {KINDS[kind].plural}"
    words = f"{size} {colour} {kind}".strip()
    article = "one" if one else "an" if words[0] in "aeiou" else "a"
    return f"{article} {words}"


def caption(scene: Scene) -> str:
    """The scene's caption."""
    return scene.caption


def scene_from_words(words: str, seed: int, style: str = "bold") -> Scene:
    """The scene of one thing that a description names: "a yellow balloon over the city" (without a colour: red).

    Raises InputError unless it names a thing and a place of the picture world.
    """
    text = " ".join(words.lower().replace(",", " ").split())
    said = text.split()
    kinds = [i for i, word in enumerate(said) if word in KINDS]
    if not kinds:
        raise InputError(f'"{words}" names nothing that the picture world can draw; it has {", ".join(KINDS)}')
    places = [name for name, place in PLACES.items() if name in said or any(p in text for p in place.phrases)]
    if not places:
        raise InputError(f'"{words}" names no place of the picture world; it has {", ".join(PLACES)}')
    before = [word for word in said[: kinds[0]] if word in COLOURS]
    kind, place = said[kinds[0]], PLACES[places[-1]]
    floating = KINDS[kind].floats and place.over is not None and "over" in said
    size = next((word for word in said if word in SIZES), "")
    return Scene(kind, before[-1] if before else "red", places[-1], 1, words, seed, size, floating, style=style)


def vocabulary() -> list[str]:
    """Every lower-case word that a caption may contain, sorted."""
    text = " ".join([*COLOURS, *OBJECTS, *COUNTS.values(), *SIZES, *OPENINGS, "a an one beside"])
    text += " " + " ".join(kind.plural for kind in KINDS.values())
    for place in PLACES.values():
        text += " " + " ".join([*place.phrases, place.over or ""])
    return sorted(set(text.split()))


@dataclass(frozen=True)
class Placed:
    """One thing in the picture: centre and half height in the unit square, turn, on the ground or not."""

    kind: str
    look: Look
    x: float
    y: float
    half: float
    angle: float
    mirror: bool
    grounded: bool


def paint(scene: Scene, size: int) -> np.ndarray:
    """The picture of a scene: uint8 (size, size, 3).

    Raises InputError for a size below 8 or a word that the picture world does not know.
    """
    canvas, things = backdrop(scene, size), layout(scene)
    draw_shadows(canvas, things)
    draw_things(canvas, things)
    return canvas.finish()


def paint_backdrop(scene: Scene, size: int) -> np.ndarray:
    """The same picture without the named things (their shadows stay): uint8 (size, size, 3)."""
    canvas = backdrop(scene, size)
    draw_shadows(canvas, layout(scene))
    return canvas.finish()


def foreground_mask(scene: Scene, size: int) -> np.ndarray:
    """How much of each pixel the named things cover: uint8 (size, size), 255 inside them."""
    _check(scene, size)
    return stencil(layout(scene), size, STYLES[scene.style])


def backdrop(scene: Scene, size: int) -> Canvas:
    """The place alone, nothing standing in it yet. Raises InputError as `paint`."""
    _check(scene, size)
    canvas = Canvas(size, style=STYLES[scene.style])
    PLACES[scene.background].draw(Pen(canvas), np.random.default_rng([scene.seed, 1]), _horizon(scene))
    return canvas


def draw_shadows(canvas: Canvas, things: list[Placed]) -> None:
    """The shadows of the things that stand on the ground."""
    for thing in things:
        if thing.grounded:
            _shadow(canvas, thing)


def draw_things(canvas: Canvas, things: list[Placed]) -> None:
    """The things themselves, the first one farthest behind."""
    for thing in things:
        KINDS[thing.kind].draw(Pen(canvas, (thing.x, thing.y), thing.half, thing.angle, thing.mirror), thing.look)


def stencil(things: list[Placed], size: int, style: Style) -> np.ndarray:
    """How much of each pixel the things cover: uint8 (size, size)."""
    canvas = Canvas(size, "L", style)
    draw_things(canvas, things)
    return canvas.finish()


def _check(scene: Scene, size: int) -> None:
    if size < 8:
        raise InputError(f"picture size {size}: a picture is at least 8 pixels wide; ask for 128 or 256")
    facts = [
        (scene.kind, OBJECTS),
        (scene.colour, COLOURS),
        (scene.background, BACKGROUNDS),
        (scene.size, ("", *SIZES)),
        (scene.style, STYLES),
    ]
    if scene.companion:
        facts += [(scene.companion[0], OBJECTS), (scene.companion[1], COLOURS)]
    for word, known in facts:
        if word not in known:
            raise InputError(f"the picture world has no {word!r}; choose one of {', '.join(known)}")
    if scene.count not in (1, *COUNTS):
        raise InputError(f"{scene.count} things: a scene has 1, 2 or 3, or 4 for a row, or 5 for many")
    if scene.seed < 0:
        raise InputError(f"scene seed {scene.seed}: seeds are not negative; give 0 or more")


def _horizon(scene: Scene) -> float:
    low, high = PLACES[scene.background].horizon
    return float(np.random.default_rng([scene.seed, 0]).uniform(low, high))


def layout(scene: Scene) -> list[Placed]:
    """Where everything stands, the farthest first. All things of the caption's noun share one look."""
    horizon = _horizon(scene)
    rng = np.random.default_rng([scene.seed, 2])
    place, kind, style = PLACES[scene.background], KINDS[scene.kind], STYLES[scene.style]
    look = draw_look(np.random.default_rng([scene.seed, 3]), scene.colour, style)
    grounded = place.has_ground and not scene.floating
    number = 0 if scene.companion else scene.count
    half = rng.uniform(*style.half) * getattr(style, scene.size or "normal") * SHRINK[number]
    half = min(half, HALF_SPACE[number] / kind.half_width)
    mirror, lean = bool(rng.random() < 0.5), rng.normal(0, 3.0 if grounded else 9.0)
    things = []
    for x, y in _spots(rng, scene, half, horizon, grounded, kind.half_width):
        things.append(Placed(scene.kind, look, x, y, half, lean + rng.normal(0, 1.5), mirror, grounded))
    if scene.companion:
        first, other = things[0], KINDS[scene.companion[0]]
        second = draw_look(np.random.default_rng([scene.seed, 4]), scene.companion[1], style)
        small = min(first.half * rng.uniform(0.85, 1.1), 0.24 / other.half_width)
        things.append(
            Placed(
                scene.companion[0],
                second,
                1.0 - first.x,
                first.y + first.half - small,
                small,
                rng.normal(0, 3),
                mirror,
                grounded,
            )
        )
    return sorted(things, key=lambda thing: thing.y)


def _spots(
    rng, scene: Scene, half: float, horizon: float, grounded: bool, half_width: float
) -> list[tuple[float, float]]:
    """Centres of the things: feet on the ground below the horizon, or hanging in the air above it."""
    if grounded:
        low, high = max(horizon + 0.16, 0.72), 0.95
        feet = rng.uniform(max(low, 2 * half + 0.04), high) if 2 * half + 0.04 < high else high
        level = feet - half
    else:
        level = rng.uniform(half + 0.05, max(half + 0.06, min(0.9 - half, horizon + 0.12 - 0.5 * half)))
    side = half * half_width
    if scene.companion:
        return [(0.26 + float(rng.random() < 0.5) * 0.48, level)]
    if scene.count == 1:
        margin = min(side + 0.02, 0.5)
        return [(rng.uniform(margin, 1 - margin), level)]
    if scene.count == 4:
        return [(x, level) for x in np.linspace(0.13, 0.87, 4)]
    columns = scene.count if scene.count < 5 else 3
    middle = (np.arange(columns) + 0.5) / columns
    rise = rng.uniform(-0.05, 0.05, columns)
    if scene.count == 5:
        upper = level - 1.9 * half if not grounded or level - 1.9 * half > 0.12 else level
        rows = [
            (0.25, upper),
            (0.5, upper + 0.02),
            (0.75, upper),
            (0.14, level),
            (0.38, level + 0.02),
            (0.62, level),
            (0.86, level + 0.02),
        ]
        return [(x + rng.uniform(-0.02, 0.02), y) for x, y in rows]
    return [
        (x + rng.uniform(-0.02, 0.02), float(np.clip(level + dy, half + 0.02, 0.97 - half)))
        for x, dy in zip(middle, rise)
    ]


def _shadow(canvas: Canvas, thing: Placed) -> None:
    """A flat dark oval under the feet, mixed with the ground there."""
    side = canvas.side
    at = (min(side - 1, max(0, int(thing.x * side))), min(side - 1, int((thing.y + thing.half) * side)))
    colour = mix(canvas.image.getpixel(at), (20, 24, 50), 0.3)
    width = 0.86 * thing.half * KINDS[thing.kind].half_width
    Pen(canvas).fill(oval(thing.x, thing.y + 0.98 * thing.half, width, 0.12 * thing.half + 0.01), colour)
