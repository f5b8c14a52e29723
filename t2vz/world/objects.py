"""The things in the picture world: one short function for each, all in the same frame.

A thing is drawn in a frame where it fills about [-1, 1] × [-1, 1], y down, and stands on y = 1. Later parts
lie over earlier ones. What a thing looks like beyond its name comes in a `Look`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from .canvas import Pen, arc, blob, box, mix, oval
from .look import EDGE, GLASS, INK, PAPER, Look, body, dim, eye, face, plain, shine, wheel


def ball(pen: Pen, look: Look) -> None:
    """A ball; plain ones may have the seams of a beach ball."""
    body(pen, look, oval(0, 0, 0.98), depth=0.22)
    if look.pattern.name == "plain" and look.vary[0] > 0.5:  # a beach ball: three seams from one pole
        for bend in (-0.55, 0.0, 0.55):
            pen.line(arc(0, 0, bend, 0.94, -90, 90), look.light, 0.09)
    shine(pen, look, -0.42, -0.52, 0.26)
    face(pen, look, 0.05, 0.0, 0.36)


def car(pen: Pen, look: Look) -> None:
    """A car from the side, two windows, two wheels."""
    roof = -0.62 + 0.25 * look.vary[0]
    body(pen, look, [(-0.82, 0.12), (-0.52, roof), (0.4, roof), (0.86, 0.12)])
    body(pen, look, box(-1.3, 0.02, 1.3, 0.7, 0.2))
    for left, right, slope in ((-0.58, -0.08, 0.2), (0.04, 0.62, -0.26)):
        corners = [
            (left, 0.04),
            (left + max(slope, 0), roof + 0.14),
            (right + min(slope, 0), roof + 0.14),
            (right, 0.04),
        ]
        pen.fill(corners, GLASS)
        pen.outline(corners, look.edge, 0.04)
    pen.line([(-0.02, 0.12), (-0.02, 0.58)], look.edge, 0.035)
    pen.fill(oval(1.18, 0.26, 0.1, 0.12), (255, 240, 170))
    pen.fill(box(-1.29, 0.2, -1.18, 0.36), (230, 60, 60))
    for x in (-0.72, 0.72):
        pen.fill(oval(x, 0.7, 0.34), look.edge)
        wheel(pen, look, x, 0.71, 0.29)


def boat(pen: Pen, look: Look) -> None:
    """A sailing boat with one sail or two, a flag, perhaps portholes."""
    pen.line([(0, -1.0), (0, 0.45)], (112, 78, 52), 0.09)
    body(pen, look, [(0.08, -0.92), (0.95, 0.22), (0.08, 0.26)])
    if look.vary[0] > 0.35:
        body(pen, look, [(-0.08, -0.75), (-0.08, 0.26), (-0.78, 0.22)])
    pen.fill([(0, -1.06), (-0.34, -0.94), (0, -0.82)], look.accent)
    hull = blob(
        [
            (-1.15, 0.36),
            (-0.4, 0.42),
            (0.4, 0.42),
            (1.2, 0.32),
            (0.98, 0.74),
            (0.66, 0.96),
            (-0.62, 0.96),
            (-0.96, 0.72),
        ]
    )
    plain(pen, look, hull, depth=0.16)
    pen.line([(-1.0, 0.54), (0, 0.58), (1.04, 0.52)], look.light, 0.08)
    for x in (-0.5, 0.0, 0.5) if look.vary[1] > 0.5 else ():
        pen.fill(oval(x, 0.75, 0.1), look.light)


def fish(pen: Pen, look: Look) -> None:
    """A fish that swims to the right."""
    tail = 0.45 + 0.2 * look.vary[0]
    plain(
        pen, look, blob([(-0.55, 0.0), (-1.2, -tail), (-1.02, 0.0), (-1.2, tail)]), mix(look.colour, look.light, 0.25)
    )
    plain(pen, look, blob([(-0.45, -0.4), (-0.3, -0.9 + 0.2 * look.vary[1]), (0.35, -0.55), (0.3, -0.35)]))
    plain(pen, look, blob([(-0.2, 0.45), (-0.25, 0.85), (0.2, 0.55)]))
    body(
        pen,
        look,
        blob([(-0.85, 0.0), (-0.3, -0.52), (0.4, -0.58), (1.05, -0.05), (0.95, 0.2), (0.4, 0.56), (-0.3, 0.5)]),
        depth=0.2,
    )
    plain(pen, look, blob([(0.1, 0.05), (-0.3, -0.08), (-0.36, 0.3)]))
    pen.line(arc(0.22, 0.0, 0.25, 0.46, -65, 65), look.edge, 0.05)
    eye(pen, look, 0.66, -0.14, 0.14, 3 if look.face == 3 else 2)
    pen.line(arc(0.92, 0.1, 0.2, 0.16, 70, 165, 7), look.ink, 0.05)


def tree(pen: Pen, look: Look) -> None:
    """A tree in the colour of its crown: a fir, a round one, or a puffy one."""
    pen.surface([(-0.16, 0.1), (0.16, 0.1), (0.24, 1.0), (-0.24, 1.0)], (124, 84, 54), (88, 58, 40))
    pen.outline([(-0.16, 0.1), (0.16, 0.1), (0.24, 1.0), (-0.24, 1.0)], (72, 48, 36), EDGE)
    if look.vary[0] < 0.33:
        for top, bottom, half in ((0.0, 0.62, 0.9), (-0.5, 0.2, 0.74), (-1.05, -0.25, 0.54)):
            body(pen, look, blob([(0, top), (half, bottom - 0.05), (0, bottom + 0.06), (-half, bottom - 0.05)]))
    elif look.vary[0] < 0.66:
        body(pen, look, oval(0, -0.3, 0.86, 0.72), depth=0.22)
    else:
        turn = np.linspace(0, 2 * np.pi, 56, endpoint=False)
        puffs = 1.0 + 0.09 * np.abs(np.sin(3.5 * turn))  # seven round puffs
        crown = np.stack([0.86 * puffs * np.cos(turn), -0.3 + 0.68 * puffs * np.sin(turn)], axis=1)
        body(pen, look, crown, depth=0.22)
    face(pen, look, 0.0, -0.22, 0.26)


def house(pen: Pen, look: Look) -> None:
    """A house with a gable, a door, two windows, perhaps a chimney."""
    tall = 0.12 * look.vary[0]
    if look.vary[1] > 0.3:
        plain(pen, look, box(0.38, -0.88, 0.62, -0.2), (170, 120, 100))
    body(pen, look, box(-0.82, -0.2 - tall, 0.82, 1.0), depth=0.16)
    roof = (92, 100, 120) if look.vary[0] > 0.5 else dim(look.colour, 0.8)
    plain(pen, look, [(-1.06, -0.16 - tall), (0.0, -1.0), (1.06, -0.16 - tall)], roof)
    door = box(-0.18, 0.36, 0.2, 1.0)
    if look.vary[2] >= 0.5:
        door = np.concatenate([arc(0.01, 0.5, 0.2, 0.2, 180, 360), [(0.21, 1.0), (-0.19, 1.0)]])
    plain(pen, look, door, mix(look.accent, INK, 0.12), depth=0.05)
    for x in (-0.5, 0.5):
        pane = box(x - 0.18, 0.02, x + 0.18, 0.38) if look.vary[2] < 0.5 else oval(x, 0.2, 0.19)
        pen.fill(pane, GLASS if look.face < 2 else (255, 236, 150))
        pen.outline(pane, PAPER, 0.07)
        pen.line([(x, 0.04), (x, 0.36)], PAPER, 0.04)
        pen.line([(x - 0.16, 0.2), (x + 0.16, 0.2)], PAPER, 0.04)
    pen.fill(oval(0, -0.5, 0.14), GLASS)
    pen.outline(oval(0, -0.5, 0.14), PAPER, 0.06)


def star(pen: Pen, look: Look) -> None:
    """A star of five points."""
    inner = 0.44 + 0.08 * look.vary[0]
    turn = np.linspace(0, 2 * np.pi, 10, endpoint=False) - np.pi / 2
    reach = np.where(np.arange(10) % 2 == 0, 1.06, inner)
    points = np.stack([reach * np.cos(turn), 0.06 + reach * np.sin(turn)], axis=1)
    body(pen, look, points, depth=0.13)
    face(pen, look, 0.0, 0.0, 0.24)


def rocket(pen: Pen, look: Look) -> None:
    """A rocket with fins, portholes and a flame."""
    flame = 1.0 + 0.12 * look.vary[0]
    pen.fill(blob([(-0.24, 0.55), (0.0, flame), (0.24, 0.55), (0, 0.5)]), (250, 120, 30))
    pen.fill(blob([(-0.12, 0.55), (0.0, flame - 0.16), (0.12, 0.55), (0, 0.5)]), (255, 226, 90))
    for side in (-1, 1):
        plain(
            pen,
            look,
            [(0.3 * side, 0.1), (0.74 * side, 0.52), (0.72 * side, 0.82), (0.28 * side, 0.58)],
            dim(look.colour, 0.8),
        )
    hull = blob(
        [
            (0, -1.1),
            (0.28, -0.72),
            (0.44, -0.2),
            (0.42, 0.28),
            (0.3, 0.64),
            (-0.3, 0.64),
            (-0.42, 0.28),
            (-0.44, -0.2),
            (-0.28, -0.72),
        ]
    )
    body(pen, look, hull, depth=0.16)
    pen.fill([(0, -1.08), (0.2, -0.8), (0.26, -0.64), (-0.26, -0.64), (-0.2, -0.8)], dim(look.colour, 0.8))
    for y in (-0.24, 0.24) if look.vary[1] > 0.5 else (-0.2,):
        pen.fill(oval(0, y, 0.2), GLASS)
        pen.outline(oval(0, y, 0.2), (214, 216, 224), 0.08)
        pen.fill(oval(-0.06, y - 0.06, 0.06), PAPER)
    plain(pen, look, box(-0.3, 0.56, 0.3, 0.68, 0.05), (120, 122, 134))


def cat(pen: Pen, look: Look) -> None:
    """A cat that sits and looks at us."""
    swing = 0.3 * look.vary[0]
    tail = blob(
        [
            (0.3, 0.85),
            (0.75, 0.8),
            (0.92, 0.35),
            (0.82 - swing, -0.05),
            (0.95 - swing, -0.1),
            (1.1, 0.3),
            (0.95, 0.9),
            (0.5, 1.0),
        ]
    )
    plain(pen, look, tail)
    body(
        pen,
        look,
        blob([(-0.34, -0.1), (0.34, -0.1), (0.58, 0.5), (0.56, 0.96), (0, 1.0), (-0.56, 0.96), (-0.58, 0.5)]),
        depth=0.16,
    )
    for x in (-0.2, 0.2):
        plain(pen, look, oval(x, 0.92, 0.19, 0.1), look.light)
    for side in (-1, 1):
        plain(pen, look, [(0.6 * side, -0.42), (0.58 * side, -1.06), (0.12 * side, -0.78)])
        pen.fill([(0.5 * side, -0.6), (0.5 * side, -0.9), (0.28 * side, -0.74)], (246, 170, 180))
    plain(pen, look, oval(0, -0.4, 0.66, 0.52), depth=0.16)
    pen.fill(oval(0, -0.2, 0.26, 0.17), look.light)
    for side in (-1, 1):
        eye(pen, look, 0.29 * side, -0.46, 0.13, look.face or 2)
        for tilt in (-0.05, 0.06):
            pen.line([(0.3 * side, -0.2 + 0.5 * tilt), (0.8 * side, -0.22 + 2 * tilt)], look.edge, 0.03)
    pen.fill([(-0.09, -0.3), (0.09, -0.3), (0, -0.2)], (230, 100, 120))
    pen.line(arc(-0.08, -0.18, 0.08, 0.07, 0, 170, 6), INK, 0.04)
    pen.line(arc(0.08, -0.18, 0.08, 0.07, 10, 180, 6), INK, 0.04)


def bird(pen: Pen, look: Look) -> None:
    """A bird that stands and looks to the right, its wing down or up."""
    for x in (-0.1, 0.2):
        pen.line([(x, 0.6), (x, 0.96), (x + 0.16, 0.98)], (226, 130, 30), 0.07)
    plain(pen, look, [(-0.5, 0.0), (-1.2, -0.32), (-1.22, 0.02), (-1.08, 0.26), (-0.5, 0.42)], dim(look.colour, 0.8))
    pen.fill([(0.8, -0.5), (1.24, -0.3), (0.8, -0.14)], (246, 164, 30))
    pen.outline([(0.8, -0.5), (1.24, -0.3), (0.8, -0.14)], (160, 90, 20), 0.04)
    shape = blob(
        [
            (0.5, -0.88),
            (0.86, -0.66),
            (0.9, -0.3),
            (0.66, 0.36),
            (0.1, 0.72),
            (-0.5, 0.52),
            (-0.74, 0.1),
            (-0.3, -0.1),
            (0.1, -0.4),
            (0.2, -0.74),
        ]
    )
    plain(pen, look, shape, depth=0.18)
    pen.fill(oval(0.42, 0.2, 0.26, 0.3), look.light)
    lift = 0.0 if look.vary[0] < 0.5 else -0.75
    wing = [(0.24, 0.0), (-0.2, -0.16 + lift), (-0.85, 0.08 + 1.3 * lift), (-0.5, 0.4 + 0.4 * lift), (0.02, 0.42)]
    body(pen, look, blob(wing))
    eye(pen, look, 0.58, -0.46, 0.14, look.face or 2)


def flower(pen: Pen, look: Look) -> None:
    """A flower of five to eight petals on a stem with two leaves."""
    bend = 0.2 * look.vary[1] - 0.1
    pen.line(blob([(0, -0.1), (bend, 0.5), (0, 1.0), (-bend, 0.5)])[:13], (52, 128, 56), 0.11)
    for side, y in ((-1, 0.72), (1, 0.6)):
        leaf = blob([(bend, y + 0.16), (0.28 * side, y - 0.12), (0.6 * side, y - 0.2), (0.42 * side, y + 0.08)])
        pen.surface(leaf, (84, 176, 76), (52, 128, 56))
        pen.outline(leaf, (36, 92, 48), 0.04)
    petals = 5 + int(3.99 * look.vary[0])
    for turn in np.linspace(0, 2 * np.pi, petals, endpoint=False) + np.pi / 2:
        x, y = 0.5 * np.cos(turn), -0.3 + 0.5 * np.sin(turn)
        frame = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
        body(pen, look, oval(0, 0, 0.36, 0.26 + 0.4 / petals) @ frame + (x, y), depth=0.09)
    centre = (250, 206, 60) if look.colour[1] < 180 else (150, 96, 50)
    plain(pen, look, oval(0, -0.3, 0.29), centre)
    face(pen, replace(look, ink=INK), 0.0, -0.34, 0.12)


def balloon(pen: Pen, look: Look) -> None:
    """A balloon on a string."""
    pen.line([(0, 0.45), (0.07, 0.62), (-0.05, 0.8), (0.04, 1.0)], (120, 116, 126), 0.045)
    plain(pen, look, [(0, 0.34), (0.13, 0.54), (-0.13, 0.54)], dim(look.colour, 0.8))
    turn = np.linspace(0, 2 * np.pi, 36, endpoint=False)
    narrow = 1.0 - 0.14 * np.sin(turn)
    body(pen, look, np.stack([0.7 * narrow * np.cos(turn), -0.3 + 0.74 * np.sin(turn)], axis=1), depth=0.2)
    shine(pen, look, -0.3, -0.68, 0.22)
    face(pen, look, 0.03, -0.3, 0.26)


def bus(pen: Pen, look: Look) -> None:
    """A bus from the side, three or four windows, a door, two wheels."""
    body(pen, look, box(-1.3, -0.75, 1.3, 0.74, 0.18), depth=0.16)
    windows = 3 + int(1.99 * look.vary[0])
    width = 1.72 / windows
    for k in range(windows):
        pane = box(-1.16 + k * width, -0.56, -1.26 + (k + 1) * width, -0.08, 0.06)
        pen.fill(pane, GLASS)
        pen.outline(pane, look.edge, 0.04)
    plain(pen, look, box(0.68, -0.56, 1.14, 0.6, 0.06), GLASS)
    pen.line([(0.91, -0.5), (0.91, 0.54)], look.edge, 0.04)
    pen.line([(-1.24, 0.14), (0.6, 0.14)], look.light if look.vary[1] < 0.5 else look.accent, 0.12)
    for x in (-0.78, 0.36):
        pen.fill(oval(x, 0.72, 0.32), look.edge)
        wheel(pen, look, x, 0.73, 0.27)


def mushroom(pen: Pen, look: Look) -> None:
    """A mushroom; plain caps have dots."""
    cream = (248, 236, 214)
    plain(pen, look, blob([(-0.3, 0.0), (0.3, 0.0), (0.36, 0.6), (0.42, 0.98), (-0.42, 0.98), (-0.36, 0.6)]), cream)
    cap = np.concatenate(
        [arc(0, 0.08, 1.04, 0.92 + 0.14 * look.vary[0], 180, 360, 24), arc(0, 0.06, 1.04, 0.18, 0, 180, 16)]
    )
    body(pen, look, cap, depth=0.18)
    if look.pattern.name == "plain":
        for x, y, r in ((-0.5, -0.3, 0.15), (0.05, -0.55, 0.18), (0.55, -0.22, 0.14), (0.02, -0.06, 0.11)):
            pen.fill(oval(x, y, r), look.light)
    face(pen, replace(look, ink=INK), 0.0, 0.48, 0.16)


def umbrella(pen: Pen, look: Look) -> None:
    """An open umbrella of four panels."""
    pen.line([(0, -0.95), (0, 0.72)], (118, 84, 60), 0.1)
    pen.line(arc(0.17, 0.74, 0.17, 0.22, 180, 0), (118, 84, 60), 0.1)
    edge = [arc(x, 0.06, 0.27, 0.15, 0, -180, 8) for x in (0.81, 0.27, -0.27, -0.81)]
    canopy = np.concatenate([arc(0, 0.06, 1.08, 0.9, 180, 360, 24)] + edge)
    body(pen, look, canopy, depth=0.14)
    if look.pattern.name == "plain" and look.vary[0] > 0.4:  # the two outer panels lighter
        for side in (-1, 1):
            rim = arc(0, 0.06, 1.04 * side, 0.87, 0, -90, 12)
            rib = arc(0, 0.06, 0.54 * side, 0.87, -90, 0, 12)
            pen.fill(
                np.concatenate([rim, rib, arc(0.81 * side, 0.06, 0.24 * side, 0.12, 180, 360, 8)]),
                mix(look.colour, PAPER, 0.35),
            )
    for bend in (-0.54, 0.54):
        pen.line(arc(0, 0.06, bend, 0.88, -90, 0), look.edge, 0.04)
    pen.line([(0, -0.82), (0, -0.04)], look.edge, 0.04)


def cup(pen: Pen, look: Look) -> None:
    """A cup with a handle, perhaps a saucer and steam."""
    for x in (-0.3, 0.15) if look.vary[0] > 0.4 else ():
        pen.line(
            np.stack([x + 0.09 * np.sin(np.linspace(0, 6, 12)), np.linspace(-0.62, -1.02, 12)], axis=1),
            (236, 238, 244),
            0.08,
        )
    plain(pen, look, np.concatenate([arc(0.6, 0.16, 0.5, 0.44, -100, 100), arc(0.6, 0.16, 0.28, 0.22, 100, -100)]))
    if look.vary[1] > 0.5:
        plain(pen, look, oval(-0.08, 0.92, 1.0, 0.12), look.light)
    tall = np.concatenate([[(-0.86, -0.42)], arc(-0.08, 0.72, 0.6, 0.26, 180, 0, 14), [(0.7, -0.42)]])
    body(pen, look, tall, depth=0.18)
    plain(pen, look, oval(-0.08, -0.42, 0.78, 0.17), mix(look.colour, PAPER, 0.3))
    pen.fill(oval(-0.08, -0.39, 0.64, 0.1), (104, 64, 40))
    face(pen, look, -0.08, 0.22, 0.28)


def heart(pen: Pen, look: Look) -> None:
    """A heart."""
    t = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    x = 16 * np.sin(t) ** 3
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    body(pen, look, np.stack([x / 15.5, (-y - 2.4) / 14.8], axis=1), depth=0.2)
    shine(pen, look, -0.52, -0.5, 0.22)
    face(pen, look, 0.0, -0.1, 0.32)


def butterfly(pen: Pen, look: Look) -> None:
    """A butterfly seen from above, two pairs of wings with spots."""
    for side in (-1, 1):
        lower = blob(
            [(0.06 * side, 0.1), (0.62 * side, 0.12), (0.86 * side, 0.55), (0.56 * side, 0.95), (0.2 * side, 0.66)]
        )
        upper = blob(
            [
                (0.06 * side, 0.12),
                (0.2 * side, -0.5),
                (0.72 * side, -0.95),
                (1.12 * side, -0.7),
                (1.02 * side, -0.1),
                (0.56 * side, 0.18),
            ]
        )
        body(pen, look, lower)
        body(pen, look, upper)
        spot = look.accent if look.vary[0] > 0.5 else look.light
        pen.fill(oval(0.74 * side, -0.48, 0.17), spot)
        pen.fill(oval(0.54 * side, 0.52, 0.13), spot)
        pen.line([(0.04 * side, -0.5), (0.16 * side, -0.8), (0.3 * side, -0.92)], (70, 58, 66), 0.05)
    plain(pen, look, oval(0, 0.12, 0.12, 0.62), (84, 66, 70), depth=0.06)
    pen.fill(oval(0, -0.5, 0.17), (84, 66, 70))


def robot(pen: Pen, look: Look) -> None:
    """A robot that waves or does not."""
    grey = (158, 164, 176)
    pen.line([(0, -0.8), (0, -1.0)], grey, 0.07)
    pen.fill(oval(0, -1.02, 0.1), look.accent)
    wave = -0.45 if look.vary[0] > 0.5 else 0.45
    for side, y in ((-1, 0.45), (1, wave)):
        pen.line([(0.5 * side, 0.1), (0.86 * side, 0.1 + 0.7 * y)], grey, 0.16)
        plain(pen, look, oval(0.9 * side, 0.1 + 0.95 * y, 0.16), grey)
    for x in (-0.28, 0.28):
        pen.line([(x, 0.6), (x, 0.9)], grey, 0.18)
        plain(pen, look, box(x - 0.24, 0.82, x + 0.22, 1.0, 0.08))
    body(pen, look, box(-0.58, -0.16, 0.58, 0.7, 0.12), depth=0.16)
    plain(pen, look, box(-0.3, 0.08, 0.3, 0.42, 0.05), (226, 230, 236))
    for x, colour in ((-0.15, (226, 60, 60)), (0.02, (250, 200, 50)), (0.18, (70, 170, 90))):
        pen.fill(oval(x, 0.25, 0.065), colour)
    plain(pen, look, box(-0.5, -0.84, 0.5, -0.2, 0.14), depth=0.13)
    plain(pen, look, box(-0.37, -0.7, 0.37, -0.34, 0.1), (60, 66, 84), depth=0.04)
    bright = replace(look, ink=(150, 240, 250))
    for x in (-0.18, 0.18):
        eye(pen, bright, x, -0.52, 0.1, look.face or 1)


def kite(pen: Pen, look: Look) -> None:
    """A kite with a tail of bows."""
    tail = np.stack([0.16 * np.sin(np.linspace(0, 7, 18)), np.linspace(0.4, 1.1, 18)], axis=1)
    pen.line(tail, (110, 96, 104), 0.045)
    for x in tail[[6, 11, 16]]:  # the bows
        for side in (-1, 1):
            pen.fill(
                [x, x + (0.16 * side, -0.09), x + (0.16 * side, 0.09)],
                look.colour if look.vary[1] > 0.5 else look.accent,
            )
    corners = [(0, -1.06), (0.74, -0.4), (0, 0.5), (-0.74, -0.4)]
    body(pen, look, corners, depth=0.1)
    if look.pattern.name == "plain":
        pen.fill([(0, -1.0), (0, -0.4), (-0.66, -0.4)], mix(look.colour, PAPER, 0.3))
        pen.fill([(0, 0.42), (0, -0.4), (0.66, -0.4)], mix(look.colour, PAPER, 0.3))
    pen.line([(0, -1.04), (0, 0.46)], look.edge, 0.05)
    pen.line([(-0.72, -0.4), (0.72, -0.4)], look.edge, 0.05)


@dataclass(frozen=True)
class Kind:
    """One kind of thing: how it is drawn, its plural, half its width where it is 2 tall, can it float."""

    draw: Callable[[Pen, Look], None]
    plural: str
    half_width: float = 1.0
    floats: bool = False


KINDS: dict[str, Kind] = {
    "ball": Kind(ball, "balls"),
    "balloon": Kind(balloon, "balloons", 0.72, floats=True),
    "bird": Kind(bird, "birds", 1.22, floats=True),
    "boat": Kind(boat, "boats", 1.2),
    "bus": Kind(bus, "buses", 1.3),
    "butterfly": Kind(butterfly, "butterflies", 1.12, floats=True),
    "car": Kind(car, "cars", 1.3),
    "cat": Kind(cat, "cats", 1.0),
    "cup": Kind(cup, "cups", 1.05),
    "fish": Kind(fish, "fish", 1.2),
    "flower": Kind(flower, "flowers", 0.9),
    "heart": Kind(heart, "hearts", 1.03, floats=True),
    "house": Kind(house, "houses", 1.06),
    "kite": Kind(kite, "kites", 0.75, floats=True),
    "mushroom": Kind(mushroom, "mushrooms", 1.04),
    "robot": Kind(robot, "robots", 1.0),
    "rocket": Kind(rocket, "rockets", 0.75, floats=True),
    "star": Kind(star, "stars", 1.0, floats=True),
    "tree": Kind(tree, "trees", 0.95),
    "umbrella": Kind(umbrella, "umbrellas", 1.08),
}
