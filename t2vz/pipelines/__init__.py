"""From a prompt to a video: each pipeline reads top to bottom like the paper's algorithm."""

from .settings import Settings
from .text_to_video import generate, text_to_video

__all__ = ["Settings", "generate", "text_to_video"]
