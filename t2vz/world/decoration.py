"""What several places share: skies, ground, and the things that come in rows.

A row shares one unnamed look (a fence, houses of one style, trees of one shape): to paint it alike, a
network has to look far across the picture. Everything is in the unit square of the picture, y down.
"""

import numpy as np
from numpy.random import Generator

from .canvas import RGB, Pen, arc, box, mix, oval

WHITE, NIGHT = (255, 255, 255), (24, 26, 60)
SKIES = (  # top and bottom of the sky: noon, clear, morning, evening, grey
    ((92, 172, 238), (206, 234, 250)),
    ((120, 196, 246), (226, 244, 252)),
    ((150, 196, 236), (252, 228, 208)),
    ((136, 146, 214), (254, 206, 160)),
    ((168, 190, 210), (226, 234, 240)),
)
TINTS = (
    (226, 120, 110),
    (240, 184, 110),
    (238, 222, 140),
    (140, 190, 130),
    (120, 170, 214),
    (176, 150, 206),
    (236, 176, 196),
    (244, 240, 232),
)


def jitter(rng: Generator, colour: RGB, amount: int = 12) -> RGB:
    """The colour, moved a little at random."""
    return tuple(int(np.clip(c + d, 0, 255)) for c, d in zip(colour, rng.integers(-amount, amount + 1, 3)))


def tint(rng: Generator) -> RGB:
    """A soft colour for decoration, so that it does not compete with the thing in front."""
    return jitter(rng, TINTS[rng.integers(len(TINTS))], 8)


def along(rng: Generator, low: int, high: int) -> np.ndarray:
    """Evenly spaced places across the picture, a random number of them from a random start."""
    n = int(rng.integers(low, high + 1))
    return (np.arange(n + 1) + rng.random() - 0.5) / n


def sky(pen: Pen, rng: Generator, horizon: float, clouds: bool = True) -> None:
    """A daylight sky down to the horizon, with perhaps a sun and some clouds of one shape."""
    top, bottom = SKIES[rng.choice(5, p=[0.32, 0.24, 0.16, 0.16, 0.12])]
    bottom = jitter(rng, bottom, 6)
    pen.canvas.gradient(0.0, horizon, [jitter(rng, top, 8), bottom])
    pen.canvas.gradient(horizon, 1.0, [bottom, bottom])
    if rng.random() < 0.45:
        x, y, r = rng.uniform(0.1, 0.9), rng.uniform(0.08, 0.2), rng.uniform(0.05, 0.085)
        pen.fill(oval(x, y, 1.35 * r), mix(bottom, (255, 240, 180), 0.6))
        pen.fill(oval(x, y, r), (255, 236, 140))
    if clouds and rng.random() < 0.75:
        puffs = rng.uniform(0.5, 1.0, 3)
        for x in rng.uniform(0, 1, rng.integers(2, 5)):
            cloud(
                pen,
                x,
                rng.uniform(0.05, max(0.1, horizon - 0.2)),
                rng.uniform(0.05, 0.1),
                puffs,
                mix(bottom, WHITE, 0.75),
            )


def cloud(pen: Pen, x: float, y: float, size: float, puffs: np.ndarray, colour: RGB) -> None:
    """A flat-bottomed cloud of three puffs."""
    for dx, puff in zip((-0.8, 0.0, 0.8), puffs):
        pen.fill(
            oval(x + dx * size, y - 0.35 * puff * size, 0.75 * puff * size + 0.2 * size, 0.6 * puff * size), colour
        )
    pen.fill(box(x - 1.5 * size, y - 0.3 * size, x + 1.5 * size, y + 0.12 * size, 0.2 * size), colour)


def hills(
    pen: Pen, rng: Generator, y: float, height: float, colour: RGB, waves: float = 1.5, rim: RGB | None = None
) -> None:
    """Rolling ground whose crest lies about `y`, down to the bottom edge; `rim` is a band along its crest."""
    x = np.linspace(-0.02, 1.02, 40)
    first, second = rng.random(2)
    swell = 0.6 * np.sin(2 * np.pi * (waves * x + first))
    swell += 0.4 * np.sin(2 * np.pi * (2.3 * waves * x + second))
    ground = np.concatenate([np.stack([x, y + height * swell], axis=1), [(1.02, 1.02), (-0.02, 1.02)]])
    if rim is not None:
        pen.fill(ground - (0, 0.016), rim)
    pen.fill(ground, colour)


def fence(pen: Pen, rng: Generator, y: float) -> None:
    """Posts of one shape and colour with two rails."""
    colour, pointed, tall = mix(tint(rng), WHITE, 0.35), rng.random() < 0.5, rng.uniform(0.09, 0.13)
    edge = mix(colour, NIGHT, 0.35)
    for rail in (0.35, 0.7):
        pen.line([(-0.05, y - rail * tall), (1.05, y - rail * tall)], edge, 0.016)
        pen.line([(-0.05, y - rail * tall - 0.002), (1.05, y - rail * tall - 0.002)], colour, 0.009)
    for x in along(rng, 7, 12):
        post = [
            (x - 0.016, y),
            (x - 0.016, y - tall),
            (x, y - tall - (0.02 if pointed else 0)),
            (x + 0.016, y - tall),
            (x + 0.016, y),
        ]
        pen.fill(post, colour)
        pen.outline(post, edge, 0.004)


def cottages(pen: Pen, rng: Generator, y: float, size: float) -> None:
    """Far houses of one style: same wall, roof and windows."""
    wall, roof = mix(tint(rng), WHITE, 0.5), mix(tint(rng), NIGHT, 0.15)
    flat, lit = rng.random() < 0.3, rng.random() < 0.5
    for x in along(rng, 3, 5):
        pen.fill(box(x - 0.5 * size, y - 0.6 * size, x + 0.5 * size, y), wall)
        top = [(x - 0.62 * size, y - 0.58 * size), (x + 0.62 * size, y - 0.58 * size)]
        pen.fill(
            top
            + ([(x + 0.4 * size, y - 0.9 * size), (x - 0.4 * size, y - 0.9 * size)] if flat else [(x, y - 1.1 * size)]),
            roof,
        )
        for dx in (-0.25, 0.25):
            pen.fill(
                box(x + (dx - 0.11) * size, y - 0.44 * size, x + (dx + 0.11) * size, y - 0.18 * size),
                (255, 232, 150) if lit else (96, 120, 150),
            )


def trees(pen: Pen, rng: Generator, y: float, size: float, leaf: RGB, snowy: bool = False) -> None:
    """Far trees of one shape: round, or fir."""
    fir = snowy or rng.random() < 0.5
    for x in along(rng, 4, 8):
        pen.fill(box(x - 0.07 * size, y - 0.35 * size, x + 0.07 * size, y), (112, 82, 60))
        if fir:
            for low, high, half in ((0.2, 0.75, 0.42), (0.55, 1.15, 0.3)):
                pen.fill(
                    [(x - half * size, y - low * size), (x, y - high * size), (x + half * size, y - low * size)], leaf
                )
                if snowy:
                    cap, reach = y - (0.4 * low + 0.6 * high) * size, 0.4 * half * size
                    pen.fill([(x - reach, cap), (x, y - high * size), (x + reach, cap)], WHITE)
        else:
            pen.fill(oval(x, y - 0.68 * size, 0.36 * size, 0.42 * size), leaf)
            pen.fill(oval(x - 0.1 * size, y - 0.76 * size, 0.16 * size), mix(leaf, WHITE, 0.15))


def bunting(pen: Pen, rng: Generator, y: float) -> None:
    """A string of little flags in two colours, turn and turn about."""
    colours, sag, square = (tint(rng), tint(rng)), rng.uniform(0.03, 0.08), rng.random() < 0.4
    x = np.linspace(-0.03, 1.03, int(rng.integers(9, 14)))
    hang = y + sag * (1 - (2 * x - 1) ** 2)
    for k in range(len(x) - 1):
        low = (hang[k] + hang[k + 1]) / 2 + 0.085
        middle = [((x[k] + x[k + 1]) / 2, low)]
        if square:
            middle = [(x[k + 1] - 0.01, low - 0.02), (x[k] + 0.01, low - 0.02)]
        pen.fill([(x[k] + 0.006, hang[k]), (x[k + 1] - 0.006, hang[k + 1])] + middle, colours[k % 2])
    pen.line(np.stack([x, hang], axis=1), (120, 110, 116), 0.008)


def sails(pen: Pen, rng: Generator, y: float) -> None:
    """A far regatta: boats of one sail."""
    sail, size = mix(tint(rng), WHITE, 0.3), rng.uniform(0.06, 0.09)
    for x in along(rng, 3, 5):
        pen.fill([(x, y - size), (x + 0.6 * size, y - 0.2 * size), (x, y - 0.2 * size)], sail)
        pen.fill(
            [
                (x - 0.5 * size, y - 0.14 * size),
                (x + 0.6 * size, y - 0.14 * size),
                (x + 0.4 * size, y + 0.1 * size),
                (x - 0.3 * size, y + 0.1 * size),
            ],
            (120, 90, 80),
        )


def parasols(pen: Pen, rng: Generator, y: float) -> None:
    """Sunshades in the same two colours."""
    first, second, size = tint(rng), mix(tint(rng), WHITE, 0.6), rng.uniform(0.09, 0.12)
    for x in along(rng, 3, 4):
        pen.line([(x, y - size), (x, y + 0.7 * size)], (150, 120, 96), 0.01)
        for k, colour in enumerate((first, second, first, second)):
            wedge = np.concatenate(
                [
                    [(x + (k - 2) * size * 0.5, y - 0.1 * size)],
                    [(x + (k - 1) * size * 0.5, y - 0.1 * size)],
                    arc(x, y - 0.1 * size, size, 0.8 * size, -180 + 45 * (k + 1), -180 + 45 * k, 5),
                ]
            )
            pen.fill(wedge, colour)


def snowmen(pen: Pen, rng: Generator, y: float) -> None:
    """Small snowmen with the same scarf."""
    scarf, size = mix(tint(rng), NIGHT, 0.1), rng.uniform(0.12, 0.16)
    for x in along(rng, 3, 4):
        for height, r in ((0.25, 0.3), (0.68, 0.22)):
            pen.fill(oval(x, y - height * size, r * size), (252, 253, 255))
            pen.outline(oval(x, y - height * size, r * size), (176, 192, 214), 0.005)
        pen.line([(x - 0.18 * size, y - 0.5 * size), (x + 0.18 * size, y - 0.5 * size)], scarf, 0.018)
        pen.fill([(x, y - 0.72 * size), (x + 0.26 * size, y - 0.66 * size), (x, y - 0.62 * size)], (244, 150, 50))
        pen.fill(oval(x - 0.07 * size, y - 0.78 * size, 0.006), NIGHT)
