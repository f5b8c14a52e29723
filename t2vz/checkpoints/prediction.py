"""What a single file's UNet predicts. t2vz runs UNets that predict the noise ε on Stable Diffusion 1.x's schedule.

Names and shapes do not show it: a UNet that predicts the velocity v, or was trained on a schedule that ends in pure
noise, has the same ones, and its videos would be wrong without a word. So what says it is asked: the file's header
(modelspec's words, kohya's ss_…), marker keys without a use, and the original program's .yaml beside the file.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from ..errors import InputError

# Each option, and how the values begin that t2vz runs, in lower case. Other options are not asked.
EPSILON, OFF = ("eps", "noise"), ("false", "none", "null", "0", "no")
RUN = {
    **dict.fromkeys(("modelspec.prediction_type", "modelspec.predict_key", "prediction_type", "predict_key"), EPSILON),
    "parameterization": EPSILON,
    **dict.fromkeys(("ss_v_parameterization", "v_parameterization", "v_pred"), OFF),
    **dict.fromkeys(("ss_zero_terminal_snr", "zero_terminal_snr", "rescale_betas_zero_snr", "ztsnr"), OFF),
}
NUMBERS = {"linear_start": 0.00085, "linear_end": 0.012, "timesteps": 1000, "scale_factor": 0.18215}
MARKERS = ("v_pred", "ztsnr")
YAML = re.compile(rf"^\s*({'|'.join(map(re.escape, (*RUN, *NUMBERS)))})\s*:\s*[\"']?([\w.+-]+)", re.MULTILINE)


def yaml_beside(path: Path) -> Path | None:
    """The original program's settings of a single file: the .yaml of the same name."""
    return next((file for file in map(path.with_suffix, (".yaml", ".yml")) if file.is_file()), None)


def check_prediction(path: Path, metadata: Mapping[str, str], keys: Iterable[str]) -> None:
    """Raise InputError if something says that the UNet of a single file predicts other than ε on SD 1.x's schedule."""
    said = [("its header", name, value) for name, value in metadata.items() if name in RUN]
    said += [("its key", name, "true") for name in MARKERS if name in keys]
    if settings := yaml_beside(path):
        try:
            text = settings.read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            raise InputError(f"{settings}: cannot be read ({error.strerror}); check its permissions") from error
        said += [(settings.name, name, value) for name, value in YAML.findall(text)]
    for where, name, value in said:
        if value.lower().startswith(RUN[name]) if name in RUN else _number(value) == NUMBERS[name]:
            continue
        words = "predicts v (the velocity), not the noise ε"
        if name == "scale_factor":
            words = "has another scale of latents than Stable Diffusion 1.x"
        elif "snr" in name or name in NUMBERS:
            words = "was trained on another noise schedule than Stable Diffusion 1.x's"
        elif not value.lower().startswith(("v", "true")):
            words = f"does not predict the noise ε but {value}"
        raise InputError(
            f"{path}: this model {words} ({where} says {name}: {value}); t2vz runs Stable Diffusion 1.x, which "
            "predicts ε; give the ε edition of the model"
        )


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
