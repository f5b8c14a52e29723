"""config.json ↔ sizes: against diffusers' own classes, and refusing by name what t2vz does not build."""

import json

import pytest
import torch
from tiny import refused

from t2vz.checkpoints import config
from t2vz.checkpoints.schedule import schedule_from_json
from t2vz.errors import InputError
from t2vz.schedulers import NoiseSchedule
from t2vz.text import TextConfig
from t2vz.unet import UNet, UNetConfig
from t2vz.vae import VAEConfig

KINDS = {"unet": UNetConfig, "vae": VAEConfig, "text": TextConfig}


def shapes_of(network):
    """The names and shapes of a network that is built without memory."""
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


@pytest.fixture(scope="module")
def read(manifest):
    """read(part, said): the sizes of SD 1.5's published shapes beside a config.json that says this."""
    shapes = {
        part: {row[3]: tuple(row[4]) for row in manifest.rows if row[0] == part} for part in ("unet", "vae", "text")
    }
    return lambda part, said: config.read_sizes(KINDS[part], shapes[part], "file", said, "config.json")


def test_published_files_give_the_defaults(read, published):
    assert read("unet", published["unet"]) == read("unet", {}) == UNetConfig()
    assert read("vae", published["vae"]) == read("vae", {}) == VAEConfig()
    assert schedule_from_json(published["scheduler"], "file") == NoiseSchedule.stable_diffusion()
    text = read("text", {})
    assert (
        text.vocab_size,
        text.hidden_size,
        text.intermediate_size,
        text.num_hidden_layers,
        text.num_attention_heads,
        text.max_position_embeddings,
        text.hidden_act,
    ) == (49408, 768, 3072, 12, 12, 77, "quick_gelu")


@pytest.mark.parametrize("key", ["conv_out.weight", "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight"])
def test_a_pruned_file_is_named(manifest, key):
    shapes = {row[3]: tuple(row[4]) for row in manifest.rows if row[0] == "unet" and row[3] != key}
    refused(lambda: config.read_sizes(UNetConfig, shapes, "file", {}, "file"), key)


@pytest.mark.parametrize(
    "sizes",
    [
        {"in_channels": 8},
        {
            "block_out_channels": (32, 96),
            "has_attention": (False, True),
            "layers_per_block": 3,
            "heads": (2, 4),
            "context_dim": 24,
            "norm_groups": 16,
            "sample_size": 20,
        },
    ],
)
def test_unet_config_survives_writing_and_diffusers(sizes):
    from diffusers import UNet2DConditionModel

    unet = UNetConfig(**sizes)
    with torch.device("meta"):
        shapes = shapes_of(UNet(unet))
    written = json.loads(json.dumps(config.to_json(unet)))
    assert config.read_sizes(UNetConfig, shapes, "file", written, "config.json") == unet
    if unet.block_out_channels[0] > 32:
        return  # the real size is only compared as a dictionary
    theirs = UNet2DConditionModel.from_config(written)
    assert shapes_of(theirs) == shapes
    said = json.loads(theirs.to_json_string())  # with every option it knows
    assert config.read_sizes(UNetConfig, shapes, "file", said, "config.json") == unet


def test_vae_config_survives_writing_and_diffusers():
    from diffusers import AutoencoderKL

    vae = VAEConfig(
        block_out_channels=(32, 64, 64), layers_per_block=1, norm_groups=8, latent_channels=3, scaling_factor=0.5
    )
    theirs = AutoencoderKL.from_config(json.loads(json.dumps(config.to_json(vae))))
    said = json.loads(theirs.to_json_string())
    assert config.read_sizes(VAEConfig, shapes_of(theirs), "file", said, "config.json") == vae


def test_schedule_survives_writing_and_diffusers():
    from diffusers import DDIMScheduler

    schedule = NoiseSchedule(train_steps=500, beta_first=0.001, beta_last=0.02, steps_offset=0)
    theirs = DDIMScheduler.from_config(config.to_json(schedule))
    assert schedule_from_json(dict(theirs.config), "file") == schedule
    assert abs(theirs.alphas_cumprod.double() - schedule.alpha_bar).max() < 1e-6


def test_text_config_survives_writing_and_transformers():
    from transformers import CLIPTextConfig, CLIPTextModel

    sizes = dict(
        vocab_size=20,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=10,
        hidden_act="gelu",
        layer_norm_eps=1e-6,
    )
    theirs = CLIPTextModel(CLIPTextConfig(**sizes))
    shapes = {f"text_model.{name.removeprefix('text_model.')}": shape for name, shape in shapes_of(theirs).items()}
    found = config.read_sizes(TextConfig, shapes, "file", json.loads(theirs.config.to_json_string()), "config.json")
    again = config.read_sizes(TextConfig, shapes, "file", config.to_json(found), "config.json")
    assert {name: getattr(again, name) for name in sizes} == {name: getattr(found, name) for name in sizes} == sizes


@pytest.mark.parametrize(
    "option, value",
    [
        ("model_type", "t5"),
        ("hidden_size", "wide"),
        ("num_attention_heads", 5),
        ("hidden_act", "relu"),
        ("layer_norm_eps", -1.0),
        ("vocab_size", 0),
    ],
)
def test_text_options_not_built_are_refused_by_name(read, option, value):
    said = {"hidden_size": 768, "num_attention_heads": 12, "layer_norm_eps": 1e-5}
    assert read("text", said | {option: None}).hidden_size == 768
    refused(lambda: read("text", said | {option: value}), "heads" if option == "num_attention_heads" else option)


def test_head_counts(read, published):
    assert read("unet", published["unet"] | {"attention_head_dim": [5, 10, 20, 20]}).heads == (5, 10, 20, 20)
    assert read("unet", published["unet"] | {"num_attention_heads": 4}).heads == (4, 4, 4, 4)
    refused(lambda: read("unet", published["unet"] | {"attention_head_dim": 7}), "divide")


@pytest.mark.parametrize(
    "option, value",
    [
        ("use_linear_projection", True),
        ("class_embed_type", "timestep"),
        ("num_class_embeds", 10),
        ("act_fn", "gelu"),
        ("addition_embed_type", "text_time"),
        ("resnet_time_scale_shift", "scale_shift"),
        ("norm_eps", 1e-6),
        ("down_block_types", ["DownBlock2D", "CrossAttnDownBlock2D", "AttnDownBlock2D", "DownBlock2D"]),
        ("up_block_types", ["UpBlock2D"] * 4),
        ("mid_block_type", "UNetMidBlock2D"),
        ("layers_per_block", [1, 2, 2, 2]),
        ("transformer_layers_per_block", [1, 2, 10, 1]),
        ("cross_attention_dim", [768, 768, 1280, 768]),
        ("flip_sin_to_cos", False),
        ("time_cond_proj_dim", 256),
        ("an_option_of_tomorrow", 3),
        ("in_channels", "four"),
        ("encoder_hid_dim", 1024),
        ("block_out_channels", [320, 640]),
        ("attention_head_dim", [8, 8]),
        ("block_out_channels", [321, 640, 1280, 1280]),
        ("dual_cross_attention", True),
        ("down_block_types", 4),
        ("only_cross_attention", [True] * 4),
    ],
)
def test_unet_options_not_built_are_refused_by_name(read, published, option, value):
    refused(lambda: read("unet", published["unet"] | {option: value}), option)


@pytest.mark.parametrize(
    "option, value",
    [
        ("an_option_of_tomorrow", False),
        ("class_embed_type", None),
        ("transformer_layers_per_block", [1, 1, 1, 1]),
        ("upcast_attention", True),
        ("only_cross_attention", [False] * 4),
    ],
)
def test_unet_options_that_change_nothing_are_taken(read, published, option, value):
    assert read("unet", published["unet"] | {option: value}) == UNetConfig()


@pytest.mark.parametrize(
    "option, value",
    [
        ("act_fn", "relu"),
        ("use_quant_conv", False),
        ("shift_factor", 0.1),
        ("out_channels", 4),
        ("scaling_factor", -1),
        ("down_block_types", ["DownEncoderBlock2D"] * 3 + ["AttnDownEncoderBlock2D"]),
        ("latents_mean", [0.1] * 4),
        ("mid_block_add_attention", False),
        ("norm_num_groups", 24),
    ],
)
def test_vae_options_not_built_are_refused(read, published, option, value):
    with pytest.raises(InputError):
        read("vae", published["vae"] | {option: value})


@pytest.mark.parametrize(
    "option, value",
    [
        ("prediction_type", "v_prediction"),
        ("prediction_type", "sample"),
        ("beta_schedule", "squaredcos_cap_v2"),
        ("beta_schedule", None),
        ("beta_start", "small"),
        ("steps_offset", 7),
        ("trained_betas", [0.1, 0.2]),
        ("rescale_betas_zero_snr", True),
    ],
)
def test_other_schedules_are_refused_by_name(published, option, value):
    refused(lambda: schedule_from_json(published["scheduler"] | {option: value}, "file"), option)
