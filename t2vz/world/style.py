"""How boldly the world is painted: the sizes of things, how busy a picture is, and the least size of what is drawn.

A latent cell of Stable Diffusion stands for 8×8 pixels, so in a small picture a face or a fence is smaller than what
the autoencoder can hold. The bold style draws few, large things and leaves out what is too small; it is the one
that the embedded model learned. The fine style is for pictures of 256 pixels and more.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Style:
    """The numbers of one style. Lengths are fractions of the picture's side, chances sum to 1."""

    half: tuple[float, float]  # half height of a thing
    small: float  # what "small" and "big" multiply it by
    big: float
    normal = 1.0
    counts: tuple[float, float, float, float, float]  # chances of one, two, three, a row, many
    companion: float  # chance of a second, different thing
    patterns: tuple[float, float, float, float]  # chances of plain, stripes, dots, checks
    period: tuple[float, float]  # of a pattern, in the thing's own frame
    faces: tuple[float, float, float, float]  # chances of none, dots, round eyes, closed eyes
    least_shape: float  # a filled shape whose smaller side is below this is not drawn
    least_line: float  # nor is a line that is thinner than this
    leave_out: tuple[str, ...] = ()  # things that no random scene of this style shows


STYLES = {
    "bold": Style(
        half=(0.27, 0.35),
        small=0.65,
        big=1.25,
        counts=(0.88, 0.05, 0.03, 0.04, 0.0),
        companion=0.0,
        patterns=(0.6, 0.25, 0.15, 0.0),
        period=(0.6, 0.8),
        faces=(1.0, 0.0, 0.0, 0.0),
        least_shape=0.03,
        least_line=0.024,
        leave_out=("bird", "cup", "kite", "robot"),
    ),
    "fine": Style(
        half=(0.19, 0.27),
        small=0.55,
        big=1.4,
        counts=(0.76, 0.08, 0.06, 0.05, 0.05),
        companion=0.08,
        patterns=(0.34, 0.25, 0.25, 0.16),
        period=(0.36, 0.56),
        faces=(0.4, 0.2, 0.2, 0.2),
        least_shape=0.0,
        least_line=0.0,
    ),
}
