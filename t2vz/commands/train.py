"""`t2vz train`: make the small embedded model from nothing (see t2vz/train)."""

HELP = "train the small embedded model on pictures it draws itself"
DESCRIPTION = "Train the small embedded model: CLIP, autoencoder, UNet, on pictures drawn by t2vz itself."
EXAMPLES = """examples:
  t2vz train all --out my-model --minutes 90
  t2vz generate "a red ball on a green meadow" --weights my-model/weights
"""


def add_arguments(parser) -> None:
    """The training commands' own arguments."""
    from ..train.arguments import add_arguments as add

    add(parser)


def run(args) -> None:
    """Train what was asked for."""
    from ..train.__main__ import run as train

    train(args)
