"""A single file whose UNet predicts v, or learned another noise schedule: said by its header, by marker keys, or by the
.yaml beside it, and refused by that name; what says ε is loaded."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import refused

from t2vz.checkpoints import checkpoint_hash, inspect, open_checkpoint

YAML = """model:
  base_learning_rate: 1.0e-04
  target: ldm.models.diffusion.ddpm.LatentDiffusion
  params:
    parameterization: "{prediction}"
    linear_start: 0.00085
    linear_end: 0.0120
    timesteps: 1000
"""


@pytest.fixture
def write(models, tmp_path):
    """write(header, keys, yaml, name): a tiny single file that says so; its path. name: of the .yaml."""
    tensors, said = load_file(models / "tiny.safetensors"), {"t2vz.unet": '{"sample_size": 8}'}

    def written(header=None, keys=(), yaml=None, name="model.yaml"):
        path = tmp_path / "model.safetensors"
        save_file(tensors | {key: torch.zeros(0) for key in keys}, path, said | (header or {}))
        if yaml is not None:
            path.with_name(name).write_text(yaml)
        return path

    return written


@pytest.mark.parametrize(
    "said, words",
    [
        ({"yaml": YAML.format(prediction="v")}, "predicts v.*model.yaml says parameterization: v"),
        ({"yaml": "    parameterization: x0"}, "does not predict the noise ε but x0"),
        ({"yaml": "  parameterization: 'v' # SD 2"}, "predicts v"),
        ({"yaml": YAML.format(prediction="v"), "name": "model.safetensors.yaml"}, "v.*model.safetensors.yaml says"),
        ({"header": {"modelspec.architecture": "stable-diffusion-v2-768-v"}}, "predicts v.*modelspec.architecture"),
        ({"header": {"modelspec.architecture": "stable-diffusion-v1-v-prediction"}}, "predicts v"),
        ({"header": {"modelspec.prediction_type": "v"}}, "predicts v.*header says modelspec.prediction_type"),
        ({"header": {"modelspec.prediction_type": "v_prediction"}}, "predicts v"),
        ({"header": {"modelspec.predict_key": "v"}}, "predicts v.*predict_key"),
        ({"header": {"ss_v_parameterization": "True"}}, "predicts v.*ss_v_parameterization"),
        ({"keys": ["v_pred"]}, "predicts v.*its key says v_pred"),
        ({"keys": ["v_pred", "ztsnr"]}, "predicts v"),
        ({"keys": ["ztsnr"]}, "another noise schedule.*ztsnr"),
        ({"header": {"ss_zero_terminal_snr": "True"}}, "another noise schedule"),
        ({"yaml": "rescale_betas_zero_snr: true"}, "another noise schedule.*rescale_betas_zero_snr"),
        ({"yaml": YAML.format(prediction="eps").replace("0.0120", "0.0155")}, "another noise schedule.*linear_end"),
        ({"yaml": "    scale_factor: 0.13025"}, "another scale of latents.*scale_factor"),
    ],
)
def test_what_does_not_predict_the_noise_is_refused_and_named(write, said, words):
    path = write(**said)
    said = refused(lambda: open_checkpoint(path), words, str(path))
    scheduler = next(part for part in inspect(path)["parts"] if part["name"] == "scheduler")
    assert scheduler["problem"] == said


@pytest.mark.parametrize(
    "said",
    [
        {"yaml": YAML.format(prediction="eps")},
        {"yaml": "a text that is no yaml: [}"},
        {"header": {"modelspec.architecture": "stable-diffusion-v1"}},
        {"header": {"modelspec.architecture": "Stable-Diffusion-v1-5/vae variant"}},
        {"header": {"modelspec.prediction_type": "epsilon", "modelspec.predict_key": "epsilon", "timesteps": "many"}},
        {"header": {"ss_v_parameterization": "False", "ss_zero_terminal_snr": "None"}},
    ],
)
def test_what_says_the_noise_is_loaded(write, said):
    assert open_checkpoint(write(**said)).kind == "sd1"


def test_the_settings_beside_a_file_count_in_its_hash(write):
    before = checkpoint_hash(write(yaml=YAML.format(prediction="eps")))
    assert checkpoint_hash(write(yaml=YAML.format(prediction="eps") + "\n")) != before
