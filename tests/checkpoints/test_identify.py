"""Telling files apart by their keys: SD 1.5's published names, and what marks each relative, alone or added
to them."""

import pytest
import torch
from safetensors.torch import save_file
from tiny import refused

from t2vz.checkpoints import identify, open_checkpoint, refuse

CONTEXT = "attn2.to_k.weight"
FIRST = "model.diffusion_model.input_blocks.0.0.weight"


@pytest.fixture
def single(manifest):
    return {row[1]: tuple(row[2]) for row in manifest.rows}


@pytest.fixture
def folder_unet(manifest):
    return {row[3]: tuple(row[4]) for row in manifest.rows if row[0] == "unet"}


def with_context(shapes, width):
    return {key: (shape[0], width) if CONTEXT in key else shape for key, shape in shapes.items()}


def test_sd15_in_both_layouts(single, folder_unet):
    assert (identify(single).kind, identify(single).layout) == ("sd1", "single-file")
    assert (identify(folder_unet).kind, identify(folder_unet).layout) == ("sd1", "folder")
    assert identify(single).advice is None


def test_parts_alone(manifest):
    parts = {part: {row[3]: tuple(row[4]) for row in manifest.rows if row[0] == part} for part in ("vae", "text")}
    assert {part: identify(shapes).kind for part, shapes in parts.items()} == {"vae": "vae", "text": "text"}
    bare = {row[1].removeprefix("first_stage_model."): tuple(row[2]) for row in manifest.rows if row[0] == "vae"}
    assert (identify(bare).kind, identify(bare).layout) == ("vae", "single-file")
    short = {key.removeprefix("text_model."): shape for key, shape in parts["text"].items()}
    assert identify(short).kind == "text"


@pytest.mark.parametrize(
    "channels, kind", [(4, "sd1"), (8, "instruct-pix2pix"), (9, "inpainting"), (5, "unknown-unet")]
)
def test_first_convolution_tells(single, folder_unet, channels, kind):
    assert identify(single | {FIRST: (320, channels, 3, 3)}).kind == kind
    assert identify(folder_unet | {"conv_in.weight": (320, channels, 3, 3)}).kind == kind


@pytest.mark.parametrize("width, kind", [(768, "sd1"), (1024, "sd2"), (2048, "sdxl"), (1280, "refiner")])
def test_context_width_tells(single, folder_unet, width, kind):
    assert identify(with_context(single, width)).kind == kind
    assert identify(with_context(folder_unet, width)).kind == kind


def test_a_small_network_may_have_any_context_width(folder_unet):
    small = {key: (64, *shape[1:]) if key == "conv_in.weight" else shape for key, shape in folder_unet.items()}
    assert identify(with_context(small, 1024)).kind == "sd1"


@pytest.mark.parametrize(
    "key, kind",
    [
        ("lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight", "lora"),
        ("unet.a.lora_A.weight", "lora"),
        ("a.processor.to_q_lora.down.weight", "lora"),
        ("conditioner.embedders.0.x", "sdxl"),
        ("model.diffusion_model.label_emb.0.0.weight", "sdxl"),
        ("cond_stage_model.model.positional_embedding", "sd2"),
        ("cc_projection.weight", "zero123"),
        ("model.diffusion_model.joint_blocks.0.x", "sd3"),
        ("model.diffusion_model.double_blocks.0.x", "flux"),
    ],
)
def test_a_marking_key_tells_unless_all_of_sd1_is_there(single, key, kind):
    assert identify({key: (4, 4)}).kind == kind
    # The UNet of SD 1.5 beside it (and, for Zero123, 8 channels) does not hide it; its own text tower does.
    without_text = {name: shape for name, shape in single.items() if not name.startswith("cond_stage_model.")}
    assert identify(without_text | {FIRST: (320, 8, 3, 3), key: (4, 4)}).kind == kind
    assert identify(single | {key: (4, 4)}).kind == "sd1"


@pytest.mark.parametrize("prefix", ["", "diffusion_model.", "model.model.diffusion_model.", "state_dict.unet."])
def test_a_unet_under_another_prefix_is_no_vae(single, prefix):
    moved = {key.replace("model.diffusion_model.", prefix): shape for key, shape in single.items()}
    kind = identify(moved)
    assert kind.kind == "displaced" and "Stable Diffusion 1.x" in kind.words and (prefix or "no prefix") in kind.words
    assert 'should have the prefix "model.diffusion_model."' in kind.words


def test_a_folder_s_unet_under_a_prefix_is_named(folder_unet):
    kind = identify({f"unet.{key}": shape for key, shape in folder_unet.items()})
    assert kind.kind == "displaced" and 'prefix "unet.", and should have no prefix' in kind.words


def test_a_unet_as_moving_average_alone_is_no_vae(single):
    averaged = {
        "model_ema." + key.removeprefix("model.").replace(".", "") if key.startswith("model.diff") else key: shape
        for key, shape in single.items()
    }
    assert identify(averaged).kind == "ema" and "moving average" in identify(averaged).words


@pytest.mark.parametrize(
    "shapes, kind",
    [
        ({"control_model.input_hint_block.0.weight": (16, 3, 3, 3)}, "controlnet"),
        ({"input_hint_block.0.weight": (16, 3, 3, 3)}, "controlnet"),
        ({"input_hint_block.0.weight": (16, 3, 3, 3), "difference": (1,)}, "controlnet-delta"),
        ({"controlnet_cond_embedding.conv_in.weight": (16, 3, 3, 3), "conv_in.weight": (320, 4, 3, 3)}, "controlnet"),
        ({"whatever": (1,)}, "unknown"),
    ],
)
def test_controlnets_and_strangers(shapes, kind):
    assert identify(shapes).kind == kind


@pytest.mark.parametrize(
    "key, words",
    [
        ("conditioner.embedders.0.x", "SDXL"),
        ("cond_stage_model.model.x", "Stable Diffusion 2.x"),
        ("x.lora_A.weight", "LoRA"),
        ("something.else", "something.else"),
    ],
)
def test_a_refused_file_is_named_in_one_line(tmp_path, key, words):
    path = tmp_path / "model.safetensors"
    save_file({key: torch.zeros(2, 2)}, path)
    refused(lambda: open_checkpoint(path), words, str(path))


def test_refusal_says_what_to_do(single):
    refused(
        lambda: refuse(identify(single | {FIRST: (320, 9, 3, 3)}), "x.safetensors", single),
        "inpainting model .* not for inpainting",
    )
