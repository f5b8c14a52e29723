"""The noise schedule that a checkpoint's UNet was trained on, and what it predicts.

t2vz runs UNets that predict the noise ε on a "scaled linear" schedule. Names and shapes do not show it: a UNet that
predicts the velocity v, or was trained on a schedule that ends in pure noise, has the same ones, and its videos would
be wrong without a word. A folder says it in scheduler/. Of a single file all that may say it is asked: the file's
header (modelspec's words, kohya's ss_…), marker keys without a use, and the original program's .yaml beside the file.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..schedulers import NoiseSchedule
from .config import SCHEDULE_BUILT, checked, from_header, refuse_option, to_json
from .read import read_bytes

# Each option, and the values that t2vz runs, in lower case. Other options are not asked.
EPSILON, OFF = r"eps|noise", r"false|none|null|0|no"
PREDICTION = ("prediction_type", "predict_key", "modelspec.prediction_type", "modelspec.predict_key")
PREDICTION += ("parameterization",)
V = ("ss_v_parameterization", "v_parameterization", "v_pred")
ZERO_SNR = ("ss_zero_terminal_snr", "zero_terminal_snr", "rescale_betas_zero_snr", "ztsnr")
RUN = dict.fromkeys(PREDICTION, EPSILON) | dict.fromkeys((*V, *ZERO_SNR), OFF)
RUN["modelspec.architecture"] = r"(?!(.*[-_/ ])?v([-_/ ]|pred|$))"  # not stable-diffusion-v2-768-v
NUMBERS = {"linear_start": 0.00085, "linear_end": 0.012, "timesteps": 1000, "scale_factor": 0.18215}
MARKERS = ("v_pred", "ztsnr")
YAML = re.compile(rf"^\s*({'|'.join(map(re.escape, (*RUN, *NUMBERS)))})\s*:\s*[\"']?([\w.+-]+)", re.MULTILINE)


def schedule_from_json(said: Mapping[str, Any], where: str) -> NoiseSchedule:
    """The noise schedule of a scheduler_config.json; how a sampler visits it (spacing, clipping …) is not read.

    Raises InputError for another schedule than "scaled linear", and for models that predict v or x_0.
    """
    said = {"beta_schedule": "linear"} | {option: value for option, value in said.items() if value is not None}
    for option, built in (SCHEDULE_BUILT | {"trained_betas": None}).items():
        if said.get(option, built) != built:
            refuse_option(where, option, said[option], repr(built))
    if (offset := said.get("steps_offset", 1)) not in (0, 1):
        refuse_option(where, "steps_offset", offset, "0 or 1")
    steps, first, last = (
        checked(said.get(option, usual), usual, option, where)
        for option, usual in (("num_train_timesteps", 1000), ("beta_start", 1e-4), ("beta_end", 0.02))
    )
    return NoiseSchedule(steps, first, last, int(offset))


def schedule_of_file(path: Path, metadata: Mapping[str, str], keys: Iterable[str]) -> NoiseSchedule:
    """A single file's noise schedule: Stable Diffusion 1.x's, unless its header says another.

    metadata: the header's words. keys: of all tensors. Raises as `schedule_from_json`.
    """
    said = [("its header", name, value) for name, value in metadata.items() if name in RUN]
    said += [("its key", name, "true") for name in MARKERS if name in keys]
    for settings in yaml_files(path):
        text = read_bytes(settings).decode("utf-8", "replace")
        said += [(settings.name, name, value) for name, value in YAML.findall(text)]
    for where, name, value in said:
        if not (re.match(RUN[name], value.lower()) if name in RUN else _is_number(value, NUMBERS[name])):
            raise InputError(
                f"{path}: this model {_otherwise(name, value)} ({where} says {name}: {value}); t2vz runs Stable "
                "Diffusion 1.x, which predicts ε; give the ε edition of the model"
            )
    header, where = from_header("scheduler", metadata, path)
    return schedule_from_json(to_json(NoiseSchedule.stable_diffusion()) | header, where)


def yaml_files(path: Path) -> list[Path]:
    """The original program's settings of a single file, model.yaml or model.safetensors.yaml."""
    names = (path.with_suffix(""), path)
    files = [name.with_name(f"{name.name}{ending}") for name in names for ending in (".yaml", ".yml")]
    return [file for file in files if file.is_file()]


def _otherwise(name: str, value: str) -> str:
    """What a model does otherwise than Stable Diffusion 1.x, by the option that says so."""
    if name == "scale_factor":
        return "has another scale of latents than Stable Diffusion 1.x"
    if name in ZERO_SNR or name in NUMBERS:
        return "was trained on another noise schedule than Stable Diffusion 1.x's"
    if name in PREDICTION and not value.lower().startswith("v"):
        return f"does not predict the noise ε but {value}"
    return "predicts v (the velocity), not the noise ε"


def _is_number(text: str, number: float) -> bool:
    try:
        return float(text) == number
    except ValueError:
        return False
