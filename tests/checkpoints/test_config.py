"""config.json ↔ sizes: against diffusers' own classes, and refusing by name what t2vz does not build."""

import json

import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from tiny import refused, unet_config
from transformers import CLIPTextConfig, CLIPTextModel

from t2vz.checkpoints import config
from t2vz.checkpoints.schedule import schedule_from_json
from t2vz.schedulers import NoiseSchedule
from t2vz.text import TextConfig
from t2vz.unet import ControlNetConfig, UNet, UNetConfig
from t2vz.vae import VAEConfig

KINDS = {"unet": UNetConfig, "vae": VAEConfig, "text": TextConfig, "ControlNet": ControlNetConfig}


def shapes_of(network):
    """The names and shapes of a network that is built without memory."""
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


@pytest.fixture(scope="module")
def read(manifest, published):
    """read(part, **options): the sizes of SD 1.5's shapes, beside its published config.json with these options;
    read(part, said): beside one that says this."""
    shapes = {part: {row[3]: tuple(row[4]) for row in manifest.rows if row[0] == part} for part in KINDS}
    shapes["ControlNet"] = {name: tuple(shape) for *_, name, shape in manifest.controlnet}
    usual = published | {"ControlNet": config.to_json(ControlNetConfig())}
    usual["text"] = {"hidden_size": 768, "num_attention_heads": 12, "layer_norm_eps": 1e-5}

    def sizes(part, said=None, **options):
        said = usual[part] | options if said is None else said
        if part == "scheduler":
            return schedule_from_json(said, "file")
        return config.read_sizes(KINDS[part], shapes[part], "file", said, "config.json")

    return sizes


def test_published_files_give_the_defaults(read):
    assert read("unet") == read("unet", {}) == UNetConfig()
    assert read("vae") == read("vae", {}) == VAEConfig()
    assert read("scheduler") == NoiseSchedule.stable_diffusion()
    assert read("text") == read("text", {}) == TextConfig()
    assert tuple(vars(TextConfig()).values()) == (49408, 768, 3072, 12, 12, 77, "quick_gelu", 1e-5)


@pytest.mark.parametrize("key", ["conv_out.weight", "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight"])
def test_a_pruned_file_is_named(manifest, key):
    shapes = {row[3]: tuple(row[4]) for row in manifest.rows if row[0] == "unet" and row[3] != key}
    refused(lambda: config.read_sizes(UNetConfig, shapes, "file", {}, "file"), key)


OTHER = unet_config((32, 96), (False, True), 3, heads=(2, 4), context_dim=24, norm_groups=16, sample_size=20)


@pytest.mark.parametrize("unet", [UNetConfig(in_channels=8), OTHER])
def test_unet_config_survives_writing_and_diffusers(unet):
    with torch.device("meta"):
        shapes = shapes_of(UNet(unet))
    written = json.loads(json.dumps(config.to_json(unet)))
    assert config.read_sizes(UNetConfig, shapes, "file", written, "config.json") == unet
    if unet is not OTHER:
        return  # the real size is only compared as a dictionary
    theirs = UNet2DConditionModel.from_config(written)
    assert shapes_of(theirs) == shapes
    said = json.loads(theirs.to_json_string())  # with every option it knows
    assert config.read_sizes(UNetConfig, shapes, "file", said, "config.json") == unet


def test_vae_config_survives_writing_and_diffusers():
    vae = VAEConfig(
        block_out_channels=(32, 64, 64), layers_per_block=1, norm_groups=8, latent_channels=3, scaling_factor=0.5
    )
    theirs = AutoencoderKL.from_config(json.loads(json.dumps(config.to_json(vae))))
    said = json.loads(theirs.to_json_string())
    assert config.read_sizes(VAEConfig, shapes_of(theirs), "file", said, "config.json") == vae


def test_schedule_survives_writing_and_diffusers():
    schedule = NoiseSchedule(train_steps=500, beta_first=0.001, beta_last=0.02, steps_offset=0)
    theirs = DDIMScheduler.from_config(config.to_json(schedule))
    assert schedule_from_json(dict(theirs.config), "file") == schedule
    assert abs(theirs.alphas_cumprod.double() - schedule.alpha_bar).max() < 1e-6


def test_text_config_survives_writing_and_transformers():
    sizes = TextConfig(20, 16, 24, 2, 4, 10, "gelu", 1e-6)
    theirs = CLIPTextModel(CLIPTextConfig(**vars(sizes)))
    shapes = {f"text_model.{name.removeprefix('text_model.')}": shape for name, shape in shapes_of(theirs).items()}
    found = config.read_sizes(TextConfig, shapes, "file", json.loads(theirs.config.to_json_string()), "config.json")
    again = config.read_sizes(TextConfig, shapes, "file", config.to_json(found), "config.json")
    assert again == found == sizes


REFUSED = {
    "unet": {
        "use_linear_projection": [True],
        "class_embed_type": ["timestep"],
        "num_class_embeds": [10],
        "act_fn": ["gelu"],
        "addition_embed_type": ["text_time"],
        "resnet_time_scale_shift": ["scale_shift"],
        "norm_eps": [1e-6],
        "down_block_types": [["DownBlock2D", "CrossAttnDownBlock2D", "AttnDownBlock2D", "DownBlock2D"], 4],
        "up_block_types": [["UpBlock2D"] * 4],
        "mid_block_type": ["UNetMidBlock2D"],
        "layers_per_block": [[1, 2, 2, 2]],
        "transformer_layers_per_block": [[1, 2, 10, 1]],
        "cross_attention_dim": [[768, 768, 1280, 768]],
        "flip_sin_to_cos": [False],
        "time_cond_proj_dim": [256],
        "an_option_of_tomorrow": [3],
        "in_channels": ["four"],
        "encoder_hid_dim": [1024],
        "block_out_channels": [[320, 640], [321, 640, 1280, 1280]],
        "attention_head_dim": [[8, 8]],
        "dual_cross_attention": [True],
        "only_cross_attention": [[True] * 4],
    },
    "ControlNet": {
        "global_pool_conditions": [True],
        "controlnet_conditioning_channel_order": ["bgr"],
        "use_linear_projection": [True],
        "transformer_layers_per_block": [2],
        "addition_embed_type": ["text_time"],
        "conditioning_embedding_out_channels": [[]],
        "norm_num_groups": [7],
    },
    "vae": {
        "act_fn": ["relu"],
        "use_quant_conv": [False],
        "shift_factor": [0.1],
        "out_channels": [4],
        "scaling_factor": [-1],
        "down_block_types": [["DownEncoderBlock2D"] * 3 + ["AttnDownEncoderBlock2D"]],
        "latents_mean": [[0.1] * 4],
        "mid_block_add_attention": [False],
        "norm_num_groups": [24],
    },
    "text": {
        "model_type": ["t5"],
        "hidden_size": ["wide"],
        "num_attention_heads": [5],
        "hidden_act": ["relu"],
        "layer_norm_eps": [-1.0],
        "vocab_size": [0],
    },
    "scheduler": {
        "prediction_type": ["v_prediction", "sample"],
        "beta_schedule": ["squaredcos_cap_v2", None],
        "beta_start": ["small"],
        "steps_offset": [7],
        "trained_betas": [[0.1, 0.2]],
        "rescale_betas_zero_snr": [True],
    },
}
OTHERWISE = {"num_attention_heads": "heads", "norm_num_groups": "norm groups"}  # how messages call them


@pytest.mark.parametrize(
    "part, option, value",
    [(part, option, value) for part, rows in REFUSED.items() for option, values in rows.items() for value in values],
)
def test_options_not_built_are_refused_by_name(read, part, option, value):
    read(part)
    refused(lambda: read(part, **{option: value}), OTHERWISE.get(option, option))


def test_null_says_nothing(read):
    assert read("text", **dict.fromkeys(REFUSED["text"])) == read("text", {})


def test_head_counts(read):
    assert read("unet", attention_head_dim=[5, 10, 20, 20]).heads == (5, 10, 20, 20)
    assert read("unet", num_attention_heads=4).heads == (4, 4, 4, 4)
    refused(lambda: read("unet", attention_head_dim=7), "divide")


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
def test_options_that_change_nothing_are_taken(read, option, value):
    assert read("unet", **{option: value}) == UNetConfig()
