"""ControlNet files: both layouts, with and without the prefix, differences from a UNet; saved for diffusers; strangers
are named in one line."""

import shutil
from dataclasses import replace

import pytest
import torch
from diffusers import ControlNetModel
from safetensors.torch import load_file, save_file
from tiny import UNET, VAE_SIZES, assert_same_weights, randomize, refused, tiny_sd, unet_config
from twins import control_options

from t2vz.checkpoints import embedded_controlnet, layouts, open_controlnet, save_part
from t2vz.errors import FailedError
from t2vz.model import check_controlnet, load_controlnet
from t2vz.unet import ControlNet, ControlNetConfig, UNet

SIZES = ControlNetConfig(**{**vars(UNET), "sample_size": 64})  # which no ControlNet tells
WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def original():
    """diffusers' own small ControlNet, every weight random."""
    with torch.random.fork_rng():
        network = ControlNetModel(**control_options(SIZES))
    return randomize(network, seed=4)


@pytest.fixture
def folder(original, tmp_path):
    original.save_pretrained(tmp_path / "theirs")
    return tmp_path / "theirs"


def single_file(path, state, prefix=layouts.CONTROL, **more):
    """Write the weights under the original program's names."""
    names = layouts.inverse(dict(layouts.control_modules(SIZES)))
    tensors = {prefix + layouts.rename(key, names): tensor.contiguous() for key, tensor in state.items()}
    save_file(tensors | more, path)
    return path


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_diffusers_folder_and_its_lone_file(folder, original, dtype, device):
    for path in (folder, folder / WEIGHTS, shutil.copy(folder / WEIGHTS, folder.parent / "lone.safetensors")):
        network = load_controlnet(path, dtype, device)
        assert network.config == SIZES and not network.training
        assert not any(p.requires_grad or p.device.type != device.type for p in network.parameters())
        assert_same_weights(network.cpu(), original, dtype)


def test_a_config_beside_a_lone_file_tells_what_shapes_cannot(tmp_path):
    unet = unet_config((24, 48), (True, True), 2, heads=(3, 6), context_dim=10, norm_groups=4)
    sizes = ControlNetConfig(**vars(unet), condition_channels=1, condition_out_channels=(3, 5))
    save_part(tmp_path / "mine", ControlNet(sizes))
    assert load_controlnet(tmp_path / "mine" / WEIGHTS).config == load_controlnet(tmp_path / "mine").config == sizes


def test_a_lone_file_whose_numbers_nothing_says_is_one_line(tmp_path):
    """Small networks have fewer norm groups than SD 1.x: a lone file does not tell, and 32 do not divide its widths."""
    network = ControlNet(replace(SIZES, block_out_channels=(24, 48), norm_groups=6))
    save_part(tmp_path / "mine", network)
    lone = shutil.copy(tmp_path / "mine" / WEIGHTS, tmp_path / "lone.safetensors")
    refused(lambda: load_controlnet(lone), "24, 48, do not divide by 32 norm groups.*config.json beside")


@pytest.mark.parametrize("prefix", [layouts.CONTROL, ""])
def test_original_names_with_and_without_the_prefix(original, prefix, tmp_path):
    network = load_controlnet(single_file(tmp_path / "c.safetensors", original.state_dict(), prefix))
    assert network.config == SIZES
    assert_same_weights(network, original)


def test_a_file_of_controlnet_1_0_holds_a_stable_diffusion_too(original, tmp_path):
    extras = {
        "model.diffusion_model.input_blocks.0.0.weight": torch.ones(32, 4, 3, 3),
        "betas": torch.ones(3),
        "first_stage_model.quant_conv.bias": torch.ones(2),
        "cond_stage_model.transformer.x": torch.ones(1),
    }
    path = single_file(tmp_path / "c.safetensors", original.state_dict(), **extras)
    assert_same_weights(load_controlnet(path), original)
    single_file(path, original.state_dict(), **extras, surprise=torch.ones(1))
    refused(lambda: open_controlnet(path), "no part of a ControlNet: surprise")


@pytest.mark.parametrize("prefix", [layouts.CONTROL, ""])
def test_differences_are_added_to_the_unet_they_were_taken_from(original, prefix, tmp_path):
    unet = randomize(UNet(UNET), seed=9)
    base = unet.state_dict()
    state = {name: tensor - base[name] if name in base else tensor for name, tensor in original.state_dict().items()}
    assert 0 < sum(name in base for name in state) < len(state)
    path = single_file(tmp_path / "d.safetensors", state, prefix, difference=torch.zeros(()))
    loaded = load_controlnet(path, unet=unet).state_dict()
    for name, tensor in original.state_dict().items():
        torch.testing.assert_close(loaded[name], tensor, rtol=1e-5, atol=1e-6)
    refused(lambda: load_controlnet(path), r"differences .* unet=sd.unet")
    other = UNet(replace(UNET, block_out_channels=(64, 64)))
    refused(lambda: load_controlnet(path, unet=other), "UNet of other sizes")


def test_saved_folder_comes_back_and_diffusers_loads_it(original, folder, tmp_path, recwarn):
    network = load_controlnet(folder)
    save_part(tmp_path / "saved", network, dtype=torch.float32)
    theirs, info = ControlNetModel.from_pretrained(tmp_path / "saved", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    assert_same_weights(theirs, original)
    assert not [warning for warning in recwarn if "config" in str(warning.message)]
    assert {file.name for file in (tmp_path / "saved").iterdir()} == {"config.json", WEIGHTS}
    assert open_controlnet(tmp_path / "saved").config == network.config
    save_part(tmp_path / "half", network)
    assert {tensor.dtype for tensor in load_file(tmp_path / "half" / WEIGHTS).values()} == {torch.float16}


def test_saving_replaces_only_a_controlnet_and_only_when_told(tmp_path, monkeypatch):
    network = ControlNet(SIZES)
    save_part(tmp_path / "c", network)
    refused(lambda: save_part(tmp_path / "c", network), "exists already")
    save_part(tmp_path / "c", network, overwrite=True)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.png").write_text("cat")
    refused(lambda: save_part(tmp_path / "photos", network, overwrite=True), "not replaced")

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    before = (tmp_path / "c" / WEIGHTS).read_bytes()
    monkeypatch.setattr("t2vz.checkpoints.save.save_file", full)
    refused(lambda: save_part(tmp_path / "c", network, overwrite=True), "disk is full", error=FailedError)
    assert (tmp_path / "c" / WEIGHTS).read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"c", "photos"}


def test_what_is_no_controlnet_is_named(folder, original, tmp_path):
    state = original.state_dict()

    def no_controlnet(path, words):
        refused(lambda: open_controlnet(path), words, str(path))

    save_file(
        {f"up_blocks.0.{i}": torch.ones(1) for i in range(2)}
        | {"conv_in.weight": torch.ones(32, 4, 3, 3), "a.attn2.to_k.weight": torch.ones(8, 6)},
        tmp_path / "unet.safetensors",
    )
    no_controlnet(tmp_path / "unet.safetensors", "Stable Diffusion 1.x, not a ControlNet")
    save_file({"lora_unet_x.lora_down.weight": torch.ones(1)}, tmp_path / "lora.safetensors")
    no_controlnet(tmp_path / "lora.safetensors", "LoRA.*not a ControlNet")
    no_controlnet(tmp_path / "missing.safetensors", "no such file")
    no_controlnet(tmp_path / "canny.pth", "pickle")
    shuffle = single_file(tmp_path / "control_v11e_sd15_shuffle.safetensors", state)
    no_controlnet(shuffle, "shuffle")
    (tmp_path / "pipe" / "controlnet").mkdir(parents=True)
    no_controlnet(tmp_path / "pipe", "did you mean .*pipe/controlnet")
    (folder / "config.json").unlink()
    no_controlnet(folder, f"no config.json.*{WEIGHTS}")
    no_controlnet(tmp_path, "no config.json")


@pytest.mark.parametrize("context, words", [(1024, "Stable Diffusion 2.x"), (2048, "SDXL")])
def test_controlnets_of_other_models_are_named(context, words, tmp_path):
    unet = unet_config((320,), (True,), heads=(8,), context_dim=context)
    save_part(tmp_path / "other", ControlNet(ControlNetConfig(**vars(unet), condition_out_channels=(4, 4))))
    refused(lambda: open_controlnet(tmp_path / "other"), f"a ControlNet for {words}")


def test_a_controlnet_that_does_not_fit_the_model_is_refused(tmp_path):
    sd = tiny_sd(tmp_path)
    check_controlnet(sd, ControlNet(SIZES))
    misfits = {
        "block_out_channels": (32, 32),
        "layers_per_block": 2,
        "context_dim": 9,
        "in_channels": 8,
        "condition_out_channels": (4, 4),
    }
    said = ("widths", "resnets", "text", "latent channels", "picture sides")
    for (name, value), words in zip(misfits.items(), said, strict=True):
        refused(lambda: check_controlnet(sd, ControlNet(replace(SIZES, **{name: value}))), words)
    refused(lambda: check_controlnet(sd, ControlNet(SIZES).double()), "float64")
    assert len(VAE_SIZES.block_out_channels) == len(SIZES.condition_out_channels)  # both 8 times


def test_no_path_is_the_embedded_one_and_says_so_when_it_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr("t2vz.checkpoints.load.__file__", str(tmp_path / "t2vz/checkpoints/load.py"))
    refused(lambda: load_controlnet(), "embedded ControlNet is not installed")
    save_part(tmp_path / "weights" / "embedded-control", ControlNet(SIZES))
    assert embedded_controlnet() == tmp_path / "weights" / "embedded-control"
    assert load_controlnet().config == SIZES
