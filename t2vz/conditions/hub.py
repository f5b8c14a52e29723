"""Loading a `transformers` model that the user names, with what can go wrong in one line."""

import contextlib

import torch

from ..errors import InputError


def load_from_hub(kind, name: str, task: str, device: str | torch.device):
    """(model, image processor) of a folder or a name on the Hugging Face hub, in eval mode, float32, on the device.

    kind: the model class, as AutoModelForDepthEstimation. task: what it is wanted for, for the message. Only
    safetensors are read. Raises InputError when there is no such model, when it is of another kind or lacks weights, or
    when it cannot be fetched.
    """
    from transformers import AutoConfig, AutoImageProcessor

    try:
        with _quiet():
            seen, wanted = AutoConfig.from_pretrained(name).model_type, getattr(kind, "config_class", None)
            if wanted is not None and seen != wanted.model_type:
                raise ValueError(f"it is a {seen}")
            processor = AutoImageProcessor.from_pretrained(name)
            model, info = kind.from_pretrained(name, use_safetensors=True, output_loading_info=True)
        if info["missing_keys"]:  # transformers would fill them with random numbers
            raise ValueError(f"it lacks {min(info['missing_keys'])}")
    except (OSError, ValueError, KeyError, ImportError, TypeError) as error:
        why = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")[:200]
        raise InputError(
            f"{name} is no {task} model that could be loaded ({why}); give a folder with config.json, "
            "preprocessor_config.json and model.safetensors, or a name on the Hugging Face hub (fetched once, which "
            "needs the internet)"
        ) from error
    # transformers keeps half precision where the file has it
    return model.float().to(device).eval().requires_grad_(False), processor


@contextlib.contextmanager
def _quiet():
    """No progress bars and warnings of transformers for a moment; what matters is checked afterwards."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
