"""t2vz: Text2Video-Zero (arXiv 2303.13439) from scratch. Each step of the paper is a function to read, call, test."""

from .errors import FailedError, InputError

__version__ = "0.1.0"
__all__ = [
    "FailedError",
    "InputError",
    "StableDiffusion",
    "Video",
    "control_video",
    "edit_video",
    "load_controlnet",
    "text_to_video",
    "trace",
]


def __dir__() -> list[str]:
    return [*globals(), *__all__]


def __getattr__(name: str):
    """Import the heavy parts (transformers, the networks) only when they are first used."""
    if name == "StableDiffusion":
        from .model import StableDiffusion

        return StableDiffusion
    if name == "Video":
        from .video import Video

        return Video
    if name == "text_to_video":
        from .pipelines.text_to_video import text_to_video

        return text_to_video
    if name == "control_video":
        from .pipelines.control import control_video

        return control_video
    if name == "load_controlnet":
        from .model import load_controlnet

        return load_controlnet
    if name == "edit_video":
        from .pipelines.edit import edit_video

        return edit_video
    if name == "trace":
        from .pipelines.trace import trace

        return trace
    raise AttributeError(f"module 't2vz' has no attribute {name!r}")
