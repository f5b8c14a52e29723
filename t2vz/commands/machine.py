"""Which model on which machine: what --weights, --tokenizer, --vae, --lora, --device and --dtype mean."""

import os

from ..errors import InputError
from .output import SESSION


def load_model(asked, **options):
    """The StableDiffusion that was asked for. asked: a Request, or a command line with the flags of `flags.add_model`.

    options: for StableDiffusion.load.
    """
    from ..model import StableDiffusion  # here, as torch below, so that --help does not wait for it

    device, dtype = choose_machine(asked.device, asked.dtype)
    vae = None if asked.vae == "off" else asked.vae
    loras = [one for one in asked.lora or () if one[0] != "off"]
    arguments = asked.weights, dtype, device, asked.tokenizer, vae, loras
    if session := SESSION.get():
        return session.load(StableDiffusion.load, *arguments, **options)
    return StableDiffusion.load(*arguments, **options)


def choose_machine(device: str, dtype: str):
    """The torch.device and torch.dtype for the words given. Raises InputError for a device that does not exist here."""
    import torch

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if device == "cuda" and "LOCAL_RANK" in os.environ and torch.cuda.is_available():  # torchrun: to each its own
        device = f"cuda:{int(os.environ['LOCAL_RANK']) % torch.cuda.device_count()}"
    try:
        chosen = torch.device(device)
        torch.empty(1, device=chosen).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise InputError(f"--device {device}: not available on this machine; use --device auto or cpu") from error
    if chosen.type == "mps" and dtype == "float64":
        raise InputError("--dtype float64: MPS has no float64; use --device cpu")
    if dtype == "auto":
        return chosen, torch.float32 if chosen.type == "cpu" else torch.float16
    return chosen, getattr(torch, dtype)
