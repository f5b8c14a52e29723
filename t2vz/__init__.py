"""t2vz: Text2Video-Zero (arXiv 2303.13439) from scratch. Each step of the paper is a function to read, call, test."""

from importlib import import_module

__version__ = "0.1.0"
_PLACES = {  # name -> its module, imported when the name is first used: some bring the networks and transformers along
    "FailedError": "errors",
    "InputError": "errors",
    "StableDiffusion": "model",
    "Video": "video",
    "control_video": "pipelines.control",
    "edit_video": "pipelines.edit",
    "load_controlnet": "model",
    "text_to_video": "pipelines.text_to_video",
    "trace": "pipelines.trace",
}
__all__ = list(_PLACES)


def __dir__() -> list[str]:
    return [*globals(), *__all__]


def __getattr__(name: str):
    if name not in _PLACES:
        raise AttributeError(f"module 't2vz' has no attribute {name!r}")
    return getattr(import_module(f".{_PLACES[name]}", __name__), name)
