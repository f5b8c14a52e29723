"""Ink and paper: polygons in a movable frame on a supersampled image, and the outlines they are made of.

Nothing here knows what a cat is. A `Canvas` is a square image SUPERSAMPLE times larger than asked, reduced
at the end by averaging (that is the anti-aliasing). A `Pen` draws on it in coordinates of its own: an
affine map takes the pen's coordinates to the unit square of the picture, so the same calls paint the same
picture at every size. Outlines are float arrays (n, 2) of (x, y), y pointing down.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageOps

from .style import STYLES, Style

SUPERSAMPLE = 3
RGB = tuple[int, int, int]

_TURN = np.linspace(0.0, 2.0 * np.pi, 40, endpoint=False)
_CIRCLE = np.stack([np.cos(_TURN), np.sin(_TURN)], axis=1)


def mix(first: RGB, second: RGB, amount: float) -> RGB:
    """The colour `amount` of the way (0 to 1) from `first` to `second`."""
    return tuple(round(a + (b - a) * amount) for a, b in zip(first, second))


def oval(x: float, y: float, rx: float, ry: float | None = None) -> np.ndarray:
    """An ellipse about (x, y) with half axes rx, ry (a circle when ry is left out): (40, 2)."""
    return _CIRCLE * (rx, rx if ry is None else ry) + (x, y)


def arc(x: float, y: float, rx: float, ry: float, start: float, stop: float, n: int = 14) -> np.ndarray:
    """Points on an ellipse from angle `start` to `stop`, in degrees, clockwise from the right: (n, 2)."""
    turn = np.radians(np.linspace(start, stop, n))
    return np.stack([x + rx * np.cos(turn), y + ry * np.sin(turn)], axis=1)


def box(x0: float, y0: float, x1: float, y1: float, radius: float = 0.0) -> np.ndarray:
    """A rectangle with corners rounded by `radius`."""
    if radius <= 0:
        return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
    corners = [
        (x1 - radius, y1 - radius, 0),
        (x0 + radius, y1 - radius, 90),
        (x0 + radius, y0 + radius, 180),
        (x1 - radius, y0 + radius, 270),
    ]
    return np.concatenate([arc(x, y, radius, radius, a, a + 90, 6) for x, y, a in corners])


def blob(points, steps: int = 6) -> np.ndarray:
    """The closed Catmull-Rom curve through `points` (n, 2), `steps` points for each piece: (n·steps, 2)."""
    p1 = np.asarray(points, dtype=float)
    p0, p2, p3 = np.roll(p1, 1, axis=0), np.roll(p1, -1, axis=0), np.roll(p1, -2, axis=0)
    u = (np.arange(steps) / steps)[None, :, None]
    p0, p1, p2, p3 = (p[:, None, :] for p in (p0, p1, p2, p3))
    square, cube = 2 * p0 - 5 * p1 + 4 * p2 - p3, 3 * p1 - p0 - 3 * p2 + p3
    curve = 0.5 * (2 * p1 + (p2 - p0) * u + square * u**2 + cube * u**3)
    return curve.reshape(-1, 2)


class Canvas:
    """A square sheet. In mode "RGB" it takes colours; in mode "L", a stencil, every stroke leaves 255.

    What is smaller than the style's `least_shape` or thinner than its `least_line` leaves no mark.
    """

    def __init__(self, size: int, mode: str = "RGB", style: Style = STYLES["fine"]):
        self.style = style
        self.side = size * SUPERSAMPLE
        self.image = Image.new(mode, (self.side, self.side))
        self.draw = ImageDraw.Draw(self.image)
        self.stencil = mode == "L"

    def gradient(self, top: float, bottom: float, colours: list[RGB]) -> None:
        """Fill the band between heights `top` and `bottom` (0 to 1), blending evenly spaced colours."""
        start, stop = round(top * self.side), round(bottom * self.side)
        if stop <= start:
            return
        where = np.linspace(0, len(colours) - 1, stop - start)
        column = np.stack([np.interp(where, range(len(colours)), channel) for channel in zip(*colours)], axis=1)
        strip = Image.fromarray(column.round().astype(np.uint8)[:, None, :])
        self.image.paste(strip.resize((self.side, stop - start), Image.Resampling.NEAREST), (0, start))

    def panned(self, shift: float) -> "Canvas":
        """A copy whose content lies `shift` (fraction of the side) farther right; its mirror fills the gap."""
        copy, pixels = Canvas(self.side // SUPERSAMPLE, self.image.mode, self.style), round(shift * self.side)
        copy.image.paste(self.image, (pixels, 0))
        mirrored = ImageOps.mirror(self.image)
        copy.image.paste(mirrored, (pixels - self.side if pixels > 0 else pixels + self.side, 0))
        return copy

    def finish(self) -> np.ndarray:
        """The picture at the size asked for: uint8 (H, W, 3), or (H, W) from a stencil."""
        return np.asarray(self.image.reduce(SUPERSAMPLE))


@dataclass(frozen=True)
class Pattern:
    """What is printed on a surface, in the pen's frame: it turns and grows with the thing that wears it."""

    name: str  # plain, stripes, dots or checks
    colour: RGB
    angle: float  # degrees
    period: float  # distance from one stripe to the next


class Pen:
    """Draws on a canvas in a frame of its own: (x, y) goes to centre + turn(angle) · scale · (±x, y)."""

    def __init__(self, canvas: Canvas, centre=(0.0, 0.0), scale: float = 1.0, angle: float = 0.0, mirror: bool = False):
        self.canvas, self.scale = canvas, scale
        cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
        side = canvas.side * scale
        flip = -side if mirror else side
        self.matrix = np.array([[cos * flip, sin * flip], [-sin * side, cos * side]])
        self.origin = np.asarray(centre, dtype=float) * canvas.side

    def pixels(self, points) -> np.ndarray:
        """Points of the pen's frame in pixels of the supersampled canvas."""
        return np.asarray(points, dtype=float) @ self.matrix + self.origin

    def fill(self, points, colour: RGB) -> None:
        """A filled outline, flat."""
        if self._too_small(points):
            return
        self._polygon(self.pixels(points), colour)

    def line(self, points, colour: RGB, width: float) -> None:
        """An open stroke of `width` (pen's unit) with round ends and joints."""
        if width * self.scale < self.canvas.style.least_line:
            return
        pixels = self.pixels(points)
        thick = max(1, round(width * self.scale * self.canvas.side))
        ink = 255 if self.canvas.stencil else colour
        self.canvas.draw.line(pixels.ravel().tolist(), fill=ink, width=thick)
        if thick > 2:
            for x, y in pixels if len(pixels) < 9 else pixels[[0, -1]]:
                r = (thick - 1) / 2
                self.canvas.draw.ellipse((x - r, y - r, x + r, y + r), fill=ink)

    def outline(self, points, colour: RGB, width: float) -> None:
        """A closed stroke round an outline."""
        points = np.asarray(points, dtype=float)
        self.line(np.concatenate([points, points[:2]]), colour, width)

    def surface(self, points, colour: RGB, shade: RGB, pattern: Pattern | None = None, depth: float = 0.14) -> None:
        """A filled outline, a pattern printed on it, a crescent of shade `depth` wide at its lower right."""
        if self._too_small(points):
            return
        pixels = self.pixels(points)
        if self.canvas.stencil:
            self._polygon(pixels, colour)
            return
        pad = max(1, round(depth * self.scale * self.canvas.side))
        low = np.floor(pixels.min(axis=0)).astype(int) - pad
        width, height = (np.ceil(pixels.max(axis=0)).astype(int) + pad + 1 - low).tolist()
        mask = Image.new("L", (width, height))
        ImageDraw.Draw(mask).polygon((pixels - low).ravel().tolist(), fill=255)
        where = (int(low[0]), int(low[1]))
        self.canvas.image.paste(colour, (*where, where[0] + width, where[1] + height), mask)
        if pattern is not None and pattern.name != "plain":
            printed = ImageChops.darker(mask, self._print(pattern, points, low, (width, height)))
            self.canvas.image.paste(pattern.colour, (*where, where[0] + width, where[1] + height), printed)
        crescent = ImageChops.subtract(mask, ImageChops.offset(mask, -pad, -pad)).point(_HALF)
        self.canvas.image.paste(shade, (*where, where[0] + width, where[1] + height), crescent)

    def _too_small(self, points) -> bool:
        """Whether the smaller side of an outline is below the least size of the canvas's style."""
        return np.ptp(np.asarray(points, dtype=float), axis=0).min() * self.scale < self.canvas.style.least_shape

    def _polygon(self, pixels: np.ndarray, colour: RGB) -> None:
        self.canvas.draw.polygon(pixels.ravel().tolist(), fill=255 if self.canvas.stencil else colour)

    def _print(self, pattern: Pattern, points, low: np.ndarray, size: tuple[int, int]) -> Image.Image:
        """The stencil of a pattern over the box round `points`: about a third of the surface is printed."""
        stencil = Image.new("L", size)
        draw = ImageDraw.Draw(stencil)
        turn = np.radians(pattern.angle)
        frame = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
        across = np.asarray(points, dtype=float) @ frame.T
        first = np.floor(across.min(axis=0) / pattern.period)
        last = np.ceil(across.max(axis=0) / pattern.period)
        columns, rows = np.arange(first[0], last[0] + 1), np.arange(first[1], last[1] + 1)
        for shape in _print_shapes(pattern.name, columns, rows):
            pixels = self.pixels((shape * pattern.period) @ frame) - low
            draw.polygon(pixels.ravel().tolist(), fill=255)
        return stencil


_HALF = [round(value * 0.75) for value in range(256)]


def _print_shapes(name: str, columns: np.ndarray, rows: np.ndarray) -> list[np.ndarray]:
    """Outlines of one pattern in units of its period: stripes, or dots or squares on every other cell."""
    if name == "stripes":
        return [box(x - 0.17, rows[0] - 1, x + 0.17, rows[-1] + 1) for x in columns]
    if name == "dots":
        disc = _CIRCLE[::4] * 0.31
        return [disc + (x + 0.5 * (y % 2), y) for x in columns for y in rows]
    return [box(x, y, x + 0.62, y + 0.62) for x in columns for y in rows if (x + y) % 2 == 0]
