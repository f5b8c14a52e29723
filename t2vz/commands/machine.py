"""Which model and where: what --weights, --tokenizer, --vae, --lora, --device and --dtype mean, for every command."""

import argparse
from pathlib import Path

from ..errors import InputError
from .output import say

DTYPES = ("float32", "float16", "bfloat16", "float64")
FILES = {"weights": "checkpoint", "vae": "VAE", "lora": "LoRA"}  # the flags that name a model file


def add_model_arguments(parser: argparse.ArgumentParser, repeats: bool = True) -> None:
    """--weights, --tokenizer, --vae, --lora, and those of `add_machine_arguments`. repeats: is there a --from?"""
    more = " (off: none, where --from names one)" if repeats else ""
    add_weights_arguments(parser.add_argument_group("the model"), more)
    add_machine_arguments(parser)


def add_weights_arguments(group, more: str = "") -> None:
    """--weights, --tokenizer, --vae, --lora. more: said of the last two."""
    add = group.add_argument
    add("--weights", metavar="PATH", help="a .safetensors file or a folder with unet/ vae/ text_encoder/ (embedded)")
    add("--tokenizer", metavar="DIR", help="folder with vocab.json and merges.txt, if the weights carry none")
    add("--vae", metavar="PATH", help=f"another VAE: its folder or .safetensors file{more}")
    add(
        "--lora",
        metavar="PATH[:WEIGHT]",
        action="append",
        type=_lora,
        help=f"a LoRA file to merge into the model, and how strongly (1); may be given several times{more}",
    )


def add_machine_arguments(parser: argparse.ArgumentParser) -> None:
    """--device, --dtype."""
    group = parser.add_argument_group("machine")
    group.add_argument(
        "--device", default="auto", help="auto (CUDA, else MPS, else CPU), cpu, cuda, cuda:1, mps (default: auto)"
    )
    group.add_argument(
        "--dtype",
        default="auto",
        choices=["auto", *DTYPES],
        help="auto is float16 on CUDA and MPS, float32 on the CPU (default: auto)",
    )


def load_model(args: argparse.Namespace, repeated: dict | None = None, **options):
    """The StableDiffusion that was asked for, or the run file's; a run file's files must still be the same ones.

    args: with the arguments above, and from_ (the run file's path) if repeated is given; what is used in the end is
    written back to it, for the new run file. repeated: the run file's content. options: for StableDiffusion.load.
    """
    from ..model import StableDiffusion

    named = {name for name in FILES if getattr(args, name) is not None}
    if repeated:
        _take_from_run(args, repeated)
    args.vae = None if args.vae == "off" else args.vae
    args.lora = [lora for lora in args.lora or [] if lora[0] != "off"]
    device, dtype = choose_machine(args.device, args.dtype)
    args.dtype = str(dtype).removeprefix("torch.")
    if args.vae:
        options["vae"] = args.vae
    if args.lora:
        options["loras"] = args.lora
    sd = StableDiffusion.load(args.weights, dtype, device, args.tokenizer, **options)
    if repeated:
        _compare_with_run(args, repeated, named, sd)
    return sd


def _take_from_run(args: argparse.Namespace, repeated: dict) -> None:
    """What the command line does not name comes from the run file; each file must still be there."""
    recorded = _recorded(repeated)
    for name, files in recorded.items():
        if getattr(args, name) is not None:
            continue
        for path in (file["path"] for file in files if file["path"] != "embedded"):
            if not Path(path).exists():
                raise InputError(
                    f"--from {args.from_}: its {FILES[name]} was at {path}, which is gone; name where it "
                    f"is now with --{name}"
                )
    if args.weights is None:
        path = repeated["weights"]["path"]
        args.weights = None if path == "embedded" else path
        args.tokenizer = args.tokenizer or repeated.get("tokenizer")
    if args.vae is None and recorded["vae"]:
        args.vae = recorded["vae"][0]["path"]
    if args.lora is None:
        args.lora = [(file["path"], file["weight"]) for file in recorded["lora"]]
    args.dtype = repeated["dtype"] if args.dtype == "auto" else args.dtype


def _compare_with_run(args: argparse.Namespace, repeated: dict, named: set[str], sd) -> None:
    """The run file's own files must not have changed; of files named beside it, say that the video will differ."""
    from ..checkpoints import checkpoint_hash

    now = {
        "weights": [sd.hash()],
        "vae": [checkpoint_hash(args.vae)] if args.vae else [],
        "lora": [checkpoint_hash(path) for path, _ in args.lora],
    }
    for name, files in _recorded(repeated).items():
        if now[name] == [file["sha256"] for file in files]:
            continue
        if name not in named:
            paths = ", ".join(file["path"] for file in files)
            raise InputError(
                f"--from {args.from_}: its {FILES[name]} ({paths}) has changed since, so the video would "
                f"differ; to use today's all the same, name it with --{name}"
            )
        say(args, f"note: this is another {FILES[name]} than that of {args.from_}, so the video will differ")


def _recorded(run: dict) -> dict[str, list[dict]]:
    """A run file's model files by their flag: each with path and sha256, a LoRA also with its weight."""
    return {"weights": [run["weights"]], "vae": [run["vae"]] if run.get("vae") else [], "lora": run.get("loras") or []}


def _lora(text: str) -> tuple[str, float]:
    """ "style.safetensors:0.7" -> ("style.safetensors", 0.7); without a number at the end the weight is 1."""
    path, colon, weight = text.rpartition(":")
    try:
        return (path, float(weight)) if colon and path else (text, 1.0)
    except ValueError:  # a colon in the path
        return text, 1.0


def choose_machine(device: str, dtype: str):
    """The torch.device and torch.dtype for the words given. Raises InputError for a device that does not exist here."""
    import torch  # here, so that --help does not wait for it

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
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
