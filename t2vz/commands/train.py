"""`t2vz train`: make the small embedded model from nothing (see t2vz/train)."""

import argparse

from ..train.__main__ import DESCRIPTION, add_arguments

HELP = "train the small embedded model on pictures it draws itself"
EXAMPLES = ""  # the description ends in them
__all__ = ["DESCRIPTION", "EXAMPLES", "HELP", "add_arguments", "run"]


def run(args: argparse.Namespace) -> None:
    """Train what was asked for. The states saved so far survive an interruption: the same command continues."""
    from ..train.__main__ import run as train

    train(args)
