"""The ten places of the picture world: one short function for each, in the unit square of the picture.

The caption names the place and no more. Hour of the day, hills, clouds and decoration are drawn from `rng`;
`horizon` is the height at which sky and ground meet, y pointing down.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from .canvas import Pen, arc, blob, box, mix, oval
from .decoration import (
    NIGHT,
    WHITE,
    along,
    bunting,
    cottages,
    fence,
    hills,
    jitter,
    parasols,
    sails,
    sky,
    snowmen,
    tint,
    trees,
)


def meadow(pen: Pen, rng: Generator, horizon: float) -> None:
    """Grass to the horizon, with hills, cottages, trees or a fence, and flowers or blades in front."""
    sky(pen, rng, horizon)
    grass = jitter(rng, (124, 200, 84))
    if rng.random() < 0.7:
        hills(pen, rng, horizon - 0.04, 0.05, mix(grass, (150, 200, 210), 0.45), rng.uniform(0.8, 1.6))
    hills(pen, rng, horizon + 0.02, 0.015, mix(grass, WHITE, 0.12), 1.0)
    choice = rng.random()
    if choice < 0.25:
        cottages(pen, rng, horizon + 0.05, rng.uniform(0.12, 0.17))
    elif choice < 0.45:
        trees(pen, rng, horizon + 0.05, rng.uniform(0.14, 0.2), mix(grass, (30, 90, 60), 0.5))
    hills(pen, rng, horizon + 0.1, 0.02, grass, 1.2)
    if choice > 0.65:
        fence(pen, rng, horizon + 0.15)
    blade, bloom, flowers = mix(grass, (30, 110, 50), 0.45), mix(tint(rng), WHITE, 0.25), rng.random() < 0.5
    for x, y in rng.uniform((0, horizon + 0.16), (1, 0.99), (26, 2)):
        if flowers:
            pen.fill(oval(x, y, 0.013), bloom)
            pen.fill(oval(x, y, 0.005), (250, 210, 80))
        else:
            pen.line([(x - 0.012, y - 0.02), (x, y), (x + 0.01, y - 0.024)], blade, 0.006)


def beach(pen: Pen, rng: Generator, horizon: float) -> None:
    """Sea and sand, with sails and parasols on some."""
    sky(pen, rng, horizon)
    sea_colour, sand = jitter(rng, (66, 168, 208)), jitter(rng, (246, 220, 160), 8)
    shore = horizon + rng.uniform(0.1, 0.16)
    pen.canvas.gradient(horizon, 1.0, [mix(sea_colour, NIGHT, 0.12), mix(sea_colour, WHITE, 0.4)])
    if rng.random() < 0.35:
        sails(pen, rng, horizon + 0.02)
    hills(pen, rng, shore, 0.012, sand, 1.6, rim=WHITE)
    if rng.random() < 0.5:
        parasols(pen, rng, shore + 0.1)
    for x, y in rng.uniform((0, shore + 0.05), (1, 0.99), (30, 2)):
        pen.fill(oval(x, y, 0.008, 0.004), mix(sand, (150, 110, 70), 0.4))


def night(pen: Pen, rng: Generator, horizon: float) -> None:
    """A dark sky full of stars, with a moon on most, over a dark ridge with or without lit houses."""
    top = jitter(rng, (16, 20, 62), 8)
    pen.canvas.gradient(0.0, 1.0, [top, mix(top, (74, 70, 150), 0.75)])
    sparkle, glow = rng.random() < 0.5, jitter(rng, (255, 246, 206), 8)
    for x, y in rng.uniform(0, 1, (38, 2)):
        pen.fill(oval(x, 0.9 * y, 0.0045), mix(glow, top, 0.15))
    for x, y in rng.uniform(0, 1, (9, 2)):
        r = 0.02
        if sparkle:
            pen.fill([(x - r, 0.85 * y), (x, 0.85 * y - 0.004), (x + r, 0.85 * y), (x, 0.85 * y + 0.004)], glow)
            pen.fill([(x, 0.85 * y - r), (x + 0.004, 0.85 * y), (x, 0.85 * y + r), (x - 0.004, 0.85 * y)], glow)
        else:
            pen.fill(oval(x, 0.85 * y, 0.009), glow)
    if rng.random() < 0.7:
        x, y, r = rng.uniform(0.12, 0.88), rng.uniform(0.1, 0.24), rng.uniform(0.06, 0.09)
        sickle = np.concatenate(
            [arc(x, y, r, r, -60, 210, 24), arc(x + 0.4 * r, y - 0.3 * r, 0.85 * r, 0.85 * r, 190, -40, 18)]
        )
        pen.fill(sickle if rng.random() < 0.5 else oval(x, y, r), (250, 240, 196))
    ground = mix(top, (10, 12, 30), 0.6)
    hills(pen, rng, 0.93, 0.025, ground, 1.2)
    if rng.random() < 0.5:
        window = (255, 214, 120)
        for x in along(rng, 5, 9):
            pen.fill([(x - 0.035, 0.95), (x - 0.035, 0.89), (x, 0.855), (x + 0.035, 0.89), (x + 0.035, 0.95)], ground)
            pen.fill(box(x - 0.012, 0.9, x + 0.012, 0.925), window)


def city(pen: Pen, rng: Generator, horizon: float) -> None:
    """A street before a row of houses of one style, with a pale skyline behind."""
    sky(pen, rng, horizon, clouds=False)
    street = horizon + 0.14
    wall = jitter(rng, ((206, 150, 126), (216, 196, 170), (168, 180, 196), (190, 170, 186))[rng.integers(4)], 8)
    far = mix(wall, (200, 216, 232), 0.6)
    for x in along(rng, 6, 9):
        pen.fill(box(x - 0.06, horizon - rng.uniform(0.2, 0.44), x + 0.07, street), far)
    round_top, lit, columns = rng.random() < 0.4, rng.random() < 0.4, int(rng.integers(2, 4))
    pane, places = ((255, 226, 140) if lit else (84, 108, 140)), along(rng, 3, 5)
    half = 0.46 / (len(places) - 1)
    for k, x in enumerate(places):  # one style of building in two heights
        top = horizon - (0.34 if k % 2 else 0.24)
        pen.fill(box(x - half, top, x + half, street), wall)
        pen.fill(box(x - 1.08 * half, top - 0.018, x + 1.08 * half, top + 0.008), mix(wall, NIGHT, 0.35))
        for y in np.arange(top + 0.04, street - 0.07, 0.085):
            for column in range(columns):
                cx, w = x - half + (2 * column + 1) * half / columns, 0.48 * half / columns
                pen.fill(box(cx - w, y + (0.012 if round_top else 0), cx + w, y + 0.05), pane)
                if round_top:
                    pen.fill(oval(cx, y + 0.012, w, 0.014), pane)
    pen.fill(box(-0.02, street, 1.02, 1.02), jitter(rng, (196, 194, 196), 6))
    pen.fill(box(-0.02, street + 0.06, 1.02, 1.02), jitter(rng, (118, 120, 130), 6))
    for x in along(rng, 4, 6):
        pen.fill(
            [(x, street + 0.2), (x + 0.1, street + 0.2), (x + 0.09, street + 0.225), (x - 0.01, street + 0.225)],
            (240, 236, 220),
        )


def desert(pen: Pen, rng: Generator, horizon: float) -> None:
    """Dunes under a low sun, with pyramids or cacti on some."""
    top, bottom = (
        ((90, 176, 232), (252, 236, 200)),
        ((240, 150, 110), (254, 220, 150)),
        ((120, 190, 226), (250, 226, 210)),
    )[rng.integers(3)]
    pen.canvas.gradient(0.0, 1.0, [top, bottom, bottom])
    x, r = rng.uniform(0.1, 0.9), rng.uniform(0.07, 0.1)
    pen.fill(oval(x, rng.uniform(0.1, 0.22), r), (255, 240, 160))
    sand = jitter(rng, (232, 172, 96), 10)
    if rng.random() < 0.35:
        for k, x in enumerate(along(rng, 3, 4)):
            size = 0.13 + 0.04 * (k % 2)
            pen.fill(
                [(x - size, horizon + 0.04), (x, horizon + 0.04 - 1.1 * size), (x + size, horizon + 0.04)],
                mix(sand, (150, 90, 60), 0.25),
            )
            pen.fill(
                [(x + 0.25 * size, horizon + 0.04), (x, horizon + 0.04 - 1.1 * size), (x + size, horizon + 0.04)],
                mix(sand, (150, 90, 60), 0.5),
            )
    hills(pen, rng, horizon, 0.045, mix(sand, (255, 230, 180), 0.35), 0.9)
    hills(pen, rng, horizon + 0.1, 0.04, sand, 1.1)
    if rng.random() < 0.65:
        green, tall, arms = jitter(rng, (84, 146, 90), 10), rng.uniform(0.14, 0.2), rng.random() < 0.7
        y = horizon + 0.15
        for x in along(rng, 3, 6):
            pen.line([(x, y), (x, y - tall)], green, 0.034)
            for side, height in ((-1, 0.4), (1, 0.55)) if arms else ():
                pen.line(
                    [
                        (x, y - height * tall),
                        (x + side * 0.04, y - height * tall),
                        (x + side * 0.04, y - (height + 0.3) * tall),
                    ],
                    green,
                    0.02,
                )
    hills(pen, rng, horizon + 0.24, 0.03, mix(sand, (255, 236, 190), 0.22), 0.8)
    for y in np.linspace(horizon + 0.32, 0.97, 4):
        x = np.linspace(rng.uniform(-0.1, 0.4), rng.uniform(0.6, 1.1), 16)
        pen.line(np.stack([x, y + 0.008 * np.sin(24 * x)], axis=1), mix(sand, (150, 90, 60), 0.25), 0.006)


def snow(pen: Pen, rng: Generator, horizon: float) -> None:
    """A white field in falling snow, with firs, cottages or snowmen."""
    top = jitter(rng, ((150, 186, 220), (176, 196, 216), (182, 176, 214))[rng.integers(3)], 8)
    pen.canvas.gradient(0.0, 1.0, [top, (232, 238, 246), (232, 238, 246)])
    white = (244, 248, 253)
    hills(pen, rng, horizon - 0.03, 0.04, (214, 226, 240), 1.0)
    choice = rng.random()
    if choice < 0.5:
        trees(pen, rng, horizon + 0.05, rng.uniform(0.2, 0.28), jitter(rng, (70, 116, 112), 10), snowy=True)
    elif choice < 0.7:
        cottages(pen, rng, horizon + 0.06, rng.uniform(0.13, 0.18))
    hills(pen, rng, horizon + 0.06, 0.025, white, 1.2)
    if choice > 0.6:
        snowmen(pen, rng, horizon + 0.16)
    hills(pen, rng, horizon + 0.24, 0.02, (228, 236, 247), 0.9)
    hills(pen, rng, horizon + 0.27, 0.02, white, 0.9)
    for x, y in rng.uniform(0, 1, (46, 2)):
        pen.fill(oval(x, y, 0.008), WHITE)


def forest(pen: Pen, rng: Generator, horizon: float) -> None:
    """Two rows of trunks, far and near, firs or leafy trees, on mossy ground with ferns."""
    dark = jitter(rng, (34, 88, 70), 10)
    pen.canvas.gradient(0.0, 1.0, [mix(dark, (170, 214, 160), 0.45), mix(dark, (180, 220, 170), 0.75), dark])
    oak, beech, birch = (96, 70, 54), (122, 96, 78), (208, 204, 196)
    bark = jitter(rng, (oak, beech, birch)[rng.integers(3)], 8)
    ground, fir, marked = jitter(rng, (74, 110, 62), 8), rng.random() < 0.4, rng.random() < 0.6
    for layer, (y, width, fade) in enumerate(((horizon + 0.04, 0.016, 0.55), (horizon + 0.1, 0.032, 0.2))):
        leaf = mix(dark, (130, 180, 130), 0.35 * (1 - layer))
        hills(pen, rng, y, 0.012, mix(ground, (140, 180, 130), 0.4 * (1 - layer)), 1.5)
        for x in along(rng, 4 + 2 * (1 - layer), 6 + 3 * (1 - layer)):
            trunk = mix(bark, (120, 170, 130), fade)
            top = y - 0.3 if fir else -0.02
            pen.fill(
                [(x - width, top), (x + width, top), (x + 1.3 * width, y + 0.02), (x - 1.3 * width, y + 0.02)], trunk
            )
            for mark in np.arange(0.22, y, 0.11) if marked and layer and not fir else ():
                pen.line([(x - 0.7 * width, mark), (x + 0.2 * width, mark + 0.012)], mix(trunk, NIGHT, 0.5), 0.012)
            if fir:
                for tier, low in enumerate((y - 0.1, y - 0.2, y - 0.3)):
                    half = (3.4 - 0.6 * tier) * width
                    pen.fill([(x - half, low), (x, low - 0.17), (x + half, low)], mix(leaf, WHITE, 0.07 * tier))
    if not fir:
        for x in along(rng, 6, 9):
            pen.fill(oval(x, 0.02, 0.12, rng.uniform(0.08, 0.14)), dark)
    pen.canvas.gradient(horizon + 0.12, 1.0, [ground, mix(ground, NIGHT, 0.2)])
    fern = mix(ground, (150, 200, 110), 0.5)
    for x, y in rng.uniform((0, horizon + 0.16), (1, 0.99), (16, 2)):
        pen.line([(x - 0.02, y - 0.018), (x, y), (x, y - 0.032), (x, y), (x + 0.02, y - 0.018)], fern, 0.007)
    if rng.random() < 0.4:
        cap = tint(rng)
        for x in along(rng, 5, 8):
            pen.line([(x, horizon + 0.2), (x, horizon + 0.16)], (244, 234, 214), 0.014)
            pen.fill(arc(x, horizon + 0.165, 0.028, 0.028, 180, 360, 10), cap)


def sea(pen: Pen, rng: Generator, horizon: float) -> None:
    """Water with rows of crests of one shape, and sails or an island on the horizon."""
    sky(pen, rng, horizon)
    water = jitter(rng, ((40, 120, 190), (36, 140, 180), (60, 110, 176))[rng.integers(3)], 8)
    pen.canvas.gradient(horizon, 1.0, [mix(water, WHITE, 0.35), water, mix(water, NIGHT, 0.3)])
    choice = rng.random()
    if choice < 0.4:
        sails(pen, rng, horizon + 0.02)
    elif choice < 0.6:
        hills_line = np.stack([np.linspace(0, 1, 20), horizon - 0.05 * np.sin(np.linspace(0, np.pi, 20))], axis=1)
        pen.fill(hills_line * (rng.uniform(0.3, 0.6), 1) + (rng.uniform(0, 0.5), 0), mix(water, (110, 160, 120), 0.6))
    bend, foam, step = rng.uniform(0.3, 1.0), mix(water, WHITE, 0.45), rng.uniform(0.1, 0.16)
    for row, y in enumerate(np.linspace(horizon + 0.07, 0.97, 7)):  # crests of one shape all over the sea
        size = step * (0.45 + 0.1 * row)
        for x in np.arange(0.5 * size * (row % 2) + size * rng.random(), 1.1, 2.1 * size):
            pen.line(arc(x, y, 0.5 * size, 0.3 * bend * size, 180, 360, 7), foam, 0.004 + 0.0012 * row)


def mountains(pen: Pen, rng: Generator, horizon: float) -> None:
    """Two ranges with snow on their peaks behind green foothills."""
    sky(pen, rng, horizon)
    rock, cap = (
        jitter(rng, ((128, 130, 158), (146, 128, 130), (112, 132, 146))[rng.integers(3)], 8),
        rng.uniform(0.28, 0.42),
    )
    for far, (base, height) in enumerate(((horizon + 0.08, 0.4), (horizon + 0.1, 0.3))):
        colour = mix(rock, (196, 214, 236), 0.5 * (1 - far))
        for x in along(rng, 2 + far, 3 + far):
            tall, wide = height * rng.uniform(0.85, 1.15), rng.uniform(0.22, 0.32)
            peak = np.array([x, base - tall])
            left, right = np.array([x - wide, base]), np.array([x + wide, base])
            pen.fill([left, peak, right], colour)
            pen.fill([peak, right, peak + (0.1 * wide, 0.62 * tall)], mix(colour, NIGHT, 0.2))
            a, b = peak + cap * (left - peak), peak + cap * (right - peak)
            zigzag = [
                a + (b - a) * t + (0, 0.12 * cap * tall * (1 if k % 2 else -1.4))
                for k, t in enumerate((0.2, 0.4, 0.6, 0.8))
            ]
            pen.fill([peak, a, *zigzag, b], (250, 252, 255))
    grass = jitter(rng, (138, 168, 100), 10)
    hills(pen, rng, horizon + 0.09, 0.02, mix(grass, (90, 130, 100), 0.4), 1.3)
    if rng.random() < 0.6:
        trees(pen, rng, horizon + 0.14, rng.uniform(0.12, 0.18), mix(grass, (30, 80, 70), 0.65))
    hills(pen, rng, horizon + 0.15, 0.02, grass, 1.0)
    stone = mix(rock, WHITE, 0.25)
    for x, y in rng.uniform((0, horizon + 0.2), (1, 0.99), (12, 2)):
        pen.fill(blob([(x - 0.02, y), (x - 0.01, y - 0.016), (x + 0.012, y - 0.014), (x + 0.02, y)], 4), stone)


def room(pen: Pen, rng: Generator, horizon: float) -> None:
    """A wall with stripes or a print, perhaps pictures, a window or bunting, and floorboards with or without a rug."""
    wall, floor_y = mix(tint(rng), WHITE, 0.5), horizon + 0.14
    pen.canvas.gradient(0.0, 1.0, [wall, mix(wall, WHITE, 0.2)])
    printed, style, step = mix(wall, tint(rng), 0.5), rng.integers(4), rng.uniform(0.09, 0.14)
    if style == 0:
        for x in np.arange(step * rng.random() - step, 1.05, step):
            pen.fill(box(x, -0.02, x + 0.4 * step, floor_y), printed)
    elif style < 3:
        for row, y in enumerate(np.arange(0.03, floor_y, 0.8 * step)):
            for x in np.arange(0.5 * step * (row % 2), 1.05, step):
                across, up = 0.2 * step, 0.28 * step
                diamond = [(x - across, y), (x, y - up), (x + across, y), (x, y + up)]
                spot = oval(x, y, 0.16 * step) if style == 1 else diamond
                pen.fill(spot, printed)
    choice = rng.random()
    if choice < 0.3:
        frame, picture = mix(tint(rng), NIGHT, 0.3), tint(rng)
        for x in along(rng, 3, 4):
            pen.fill(box(x - 0.085, 0.12, x + 0.085, 0.3), frame)
            pen.fill(box(x - 0.065, 0.14, x + 0.065, 0.28), mix(picture, WHITE, 0.5))
            pen.fill([(x - 0.065, 0.28), (x - 0.01, 0.19), (x + 0.03, 0.24), (x + 0.065, 0.28)], picture)
    elif choice < 0.55:
        x = rng.uniform(0.2, 0.8)
        pen.fill(box(x - 0.15, 0.08, x + 0.15, 0.4), (252, 250, 244))
        for left, right in ((x - 0.13, x - 0.01), (x + 0.01, x + 0.13)):
            for top, bottom in ((0.1, 0.23), (0.25, 0.38)):
                pen.fill(box(left, top, right, bottom), (168, 216, 244))
        curtain = tint(rng)
        for side in (-1, 1):
            pen.fill(
                [(x + 0.2 * side, 0.06), (x + 0.06 * side, 0.06), (x + 0.15 * side, 0.44), (x + 0.22 * side, 0.44)],
                curtain,
            )
    elif choice < 0.75:
        bunting(pen, rng, rng.uniform(0.05, 0.12))
    wood = jitter(rng, ((206, 158, 112), (178, 132, 98), (224, 190, 150))[rng.integers(3)], 8)
    pen.canvas.gradient(floor_y, 1.0, [mix(wood, NIGHT, 0.1), wood])
    pen.fill(box(-0.02, floor_y - 0.03, 1.02, floor_y), (252, 248, 240))
    for x in np.linspace(-0.9, 1.9, 15):
        pen.line([(0.5 + 0.55 * (x - 0.5), floor_y), (x, 1.02)], mix(wood, NIGHT, 0.22), 0.006)
    if rng.random() < 0.5:
        rug, edge = tint(rng), tint(rng)
        pen.fill(oval(0.5, 0.88, 0.46, 0.11), mix(edge, WHITE, 0.2))
        pen.fill(oval(0.5, 0.88, 0.41, 0.09), mix(rug, WHITE, 0.3))


@dataclass(frozen=True)
class Place:
    """One background: its painter, how a caption speaks of it (on or over it), the range of its horizon."""

    draw: Callable[[Pen, Generator, float], None]
    phrases: tuple[str, ...]  # the first one is the usual
    over: str | None
    horizon: tuple[float, float]
    has_ground: bool = True


PLACES: dict[str, Place] = {
    "meadow": Place(meadow, ("on a green meadow", "on a meadow"), "over a green meadow", (0.4, 0.55)),
    "beach": Place(beach, ("on a sandy beach", "on the beach"), "over a sandy beach", (0.38, 0.5)),
    "night": Place(night, ("in the night sky",), None, (0.9, 0.92), has_ground=False),
    "city": Place(city, ("in a city street", "in the city"), "over the city", (0.44, 0.54)),
    "desert": Place(desert, ("in the desert", "in a hot desert"), "over the desert", (0.4, 0.52)),
    "snow": Place(snow, ("in the snow", "on a snowy field"), "over a snowy field", (0.4, 0.52)),
    "forest": Place(forest, ("in the forest", "in a dark forest"), None, (0.44, 0.56)),
    "sea": Place(sea, ("on the sea", "on the blue sea"), "over the sea", (0.34, 0.48)),
    "mountains": Place(mountains, ("in the mountains", "in the high mountains"), "over the mountains", (0.44, 0.56)),
    "room": Place(room, ("in a room", "in a cosy room"), None, (0.46, 0.56)),
}
