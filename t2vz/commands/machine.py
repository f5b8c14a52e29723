"""Where to compute and in which type: what --device and --dtype mean."""

from ..errors import InputError

DTYPES = ("float32", "float16", "bfloat16", "float64")


def add_machine_arguments(parser) -> None:
    """--device, --dtype."""
    group = parser.add_argument_group("machine")
    group.add_argument("--device", default="auto",
                       help="auto (CUDA, else MPS, else CPU), cpu, cuda, cuda:1, mps (default: auto)")
    group.add_argument("--dtype", default="auto", choices=["auto", *DTYPES],
                       help="auto is float16 on CUDA and MPS, float32 on the CPU (default: auto)")


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
