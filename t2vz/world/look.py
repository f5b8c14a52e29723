"""What a thing looks like beyond its name, and the parts that many drawings share: bodies, faces, wheels.

`Look` says what the caption leaves open: pattern, accents, face and a few numbers that each drawing uses as
it likes. Two things with one `Look` are alike, which is how a flock is drawn.
"""

from dataclasses import dataclass

import numpy as np

from .canvas import RGB, Pattern, Pen, arc, mix, oval
from .style import Style

COLOURS: dict[str, RGB] = {
    "red": (218, 28, 36),
    "orange": (248, 130, 12),
    "yellow": (253, 226, 40),
    "green": (44, 160, 62),
    "blue": (36, 92, 218),
    "purple": (132, 48, 178),
    "pink": (252, 142, 194),
    "brown": (126, 76, 40),
    "white": (246, 246, 246),
    "black": (32, 32, 36),
}
INK, PAPER, GLASS = (34, 30, 44), (252, 250, 244), (176, 222, 244)
EDGE = 0.055  # width of outlines in the thing's own frame


@dataclass(frozen=True)
class Look:
    """Everything about a thing's appearance that its caption leaves open, and the colour that it names."""

    colour: RGB
    shade: RGB
    light: RGB
    edge: RGB
    ink: RGB  # for faces: dark on light colours, light on dark ones
    pattern: Pattern
    accent: RGB
    face: int  # 0 none, 1 dots, 2 round eyes, 3 happy closed eyes
    vary: tuple[float, float, float]  # numbers in [0, 1] for whatever the drawing leaves open


def draw_look(rng: np.random.Generator, colour_name: str, style: Style) -> Look:
    """A random look in the named colour."""
    colour = COLOURS[colour_name]
    others = [rgb for name, rgb in COLOURS.items() if name not in (colour_name, "brown", "black")]
    accent = others[rng.integers(len(others))]
    cool = colour_name in ("green", "blue", "purple", "brown")
    darker = dim(colour, 0.62) if cool else accent  # a dim red or orange would be brown
    printed = [mix(colour, PAPER, 0.82), darker, accent][rng.choice(3, p=[0.45, 0.2, 0.35])]
    if colour_name in ("black", "white"):
        printed = accent if rng.random() < 0.4 else (196, 198, 206)
    name = ("plain", "stripes", "dots", "checks")[rng.choice(4, p=style.patterns)]
    angle = (0.0, 90.0, 45.0, -30.0)[rng.integers(4)] if name != "dots" else 0.0
    pattern = Pattern(name, printed, angle, float(rng.uniform(*style.period)))
    edge = mix(colour, INK, 0.42 if colour_name == "white" else 0.6)
    if colour_name == "black":
        edge = (132, 132, 142)  # a light rim, or it would be lost in the night
    eyes = int(rng.choice(4, p=style.faces))
    if eyes == 1 and colour_name in ("red", "blue", "purple", "brown"):
        eyes = 2  # dots would drown in a dark colour
    return Look(
        colour,
        dim(colour, 0.76),
        mix(colour, PAPER, 0.78),
        edge,
        PAPER if colour_name == "black" else INK,
        pattern,
        accent,
        eyes,
        tuple(float(v) for v in rng.random(3)),
    )


def dim(colour: RGB, gain: float) -> RGB:
    """The colour in weaker light: unlike a mix with ink, it keeps its hue."""
    return tuple(round(gain * c) for c in colour)


def body(pen: Pen, look: Look, points, colour: RGB | None = None, printed: bool = True, depth: float = 0.14) -> None:
    """A part of the thing: filled (with its own colour unless told), printed, shaded and outlined."""
    shade = look.shade if colour is None else dim(colour, 0.78)
    edge = look.edge if colour is None else mix(colour, INK, 0.55)
    pen.surface(points, look.colour if colour is None else colour, shade, look.pattern if printed else None, depth)
    pen.outline(points, edge, EDGE)


def plain(pen: Pen, look: Look, points, colour: RGB | None = None, depth: float = 0.1) -> None:
    """A part without a pattern."""
    body(pen, look, points, colour, printed=False, depth=depth)


def shine(pen: Pen, look: Look, x: float, y: float, r: float) -> None:
    """A highlight: one slanted oval, towards the light at the upper left."""
    leaning = oval(0, 0, r, 0.55 * r) @ np.array([[0.76, -0.65], [0.65, 0.76]]) + (x, y)
    pen.fill(leaning, mix(look.colour, (255, 255, 255), 0.72))


def eye(pen: Pen, look: Look, x: float, y: float, r: float, style: int) -> None:
    """One eye of the given style (1 dot, 2 round, 3 closed)."""
    if style == 3:
        pen.line(arc(x, y + 0.3 * r, r, r, 195, 345, 8), look.ink, 0.55 * r)
    elif style == 2:
        pen.fill(oval(x, y, 1.25 * r), PAPER)
        pen.outline(oval(x, y, 1.25 * r), INK, 0.3 * r)
        pen.fill(oval(x + 0.15 * r, y, 0.72 * r), INK)
        pen.fill(oval(x - 0.1 * r, y - 0.3 * r, 0.26 * r), PAPER)
    else:
        pen.fill(oval(x, y, 0.85 * r, r), look.ink)


def face(pen: Pen, look: Look, x: float, y: float, size: float, always: bool = False) -> None:
    """Two eyes, a smile and cheeks about (x, y); `size` is half the distance between the eyes."""
    style = look.face or (1 if always else 0)
    if style == 0:
        return
    for side in (-size, size):
        eye(pen, look, x + side, y, 0.42 * size, style)
        pen.fill(oval(x + 1.5 * side, y + 0.75 * size, 0.34 * size, 0.24 * size), (244, 150, 160))
    smile = 0.45 + 0.35 * look.vary[2]
    pen.line(arc(x, y + 0.45 * size, smile * size, 0.5 * size, 20, 160, 8), look.ink, 0.2 * size)


def wheel(pen: Pen, look: Look, x: float, y: float, r: float) -> None:
    """A tyre and its hub."""
    pen.fill(oval(x, y, r), (44, 44, 52))
    pen.outline(oval(x, y, r), (112, 112, 122), 0.035)
    pen.fill(oval(x, y, 0.52 * r), (206, 208, 214))
    pen.fill(oval(x, y, 0.2 * r), (90, 92, 100))
