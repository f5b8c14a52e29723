"""The two layouts' names: the rules, and the networks, against SD 1.5's published names; and at other sizes."""

import itertools

import pytest
import torch

from t2vz.checkpoints import layouts
from t2vz.checkpoints.networks import NETWORKS
from t2vz.unet import UNetConfig
from t2vz.vae import VAEConfig


@pytest.mark.parametrize("part, count", [("unet", 686), ("vae", 248), ("ControlNet", 340)])
def test_names_equal_the_published_map_both_ways(manifest, part, count):
    published = {row[1]: row[3] for row in (*manifest.rows, *manifest.controlnet) if row[0] == part}
    assert len(published) == count
    row = NETWORKS[part]
    there, prefix = dict(row.modules(row.config())), row.prefix
    back = layouts.inverse(there)
    assert len(back) == len(there)
    assert {key: layouts.rename(key.removeprefix(prefix), there) for key in published} == published
    assert {name: prefix + layouts.rename(name, back) for name in published.values()} == {
        v: k for k, v in published.items()
    }


@pytest.mark.parametrize("part", NETWORKS)
def test_default_networks_have_the_published_names_and_shapes(manifest, part):
    """On the meta device, without memory; position_ids are made, not loaded."""
    with torch.device("meta"):
        network = NETWORKS[part].module(NETWORKS[part].config())
    rows = (row for row in (*manifest.rows, *manifest.controlnet) if row[0] == part)
    published = {name: shape for *_, name, shape in rows if not name.endswith("position_ids")}
    assert {name: list(tensor.shape) for name, tensor in network.state_dict().items()} == published
    assert sum(parameter.numel() for parameter in network.parameters()) == manifest.parameters[part]


def test_text_names_equal_the_published_ones(manifest):
    for part, key, _, name, _ in manifest.rows:
        if part == "text":
            assert key == layouts.TEXT + name
            assert layouts.text_name(name) == name == layouts.text_name(name.removeprefix("text_model."))


@pytest.mark.parametrize("resnets", [1, 2, 3])
@pytest.mark.parametrize("levels", [1, 2, 5])
def test_names_are_bijective_at_any_size(levels, resnets):
    for attention in itertools.product([False, True], repeat=levels):
        pairs = list(layouts.unet_modules(UNetConfig(has_attention=attention, layers_per_block=resnets)))
        assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})
        blocks = {int(a.split(".")[1]) for a, _ in pairs if a.startswith("input_blocks.")}
        assert blocks == set(range(levels * (resnets + 1)))  # no number left out: conv_in, resnets, downsamplers
    pairs = list(layouts.vae_modules(VAEConfig(block_out_channels=(1,) * levels, layers_per_block=resnets)))
    assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})


def test_whole_path_parts_are_compared():
    there = dict(layouts.unet_modules(UNetConfig()))
    assert layouts.rename("input_blocks.10.0.in_layers.0.weight", there) == "down_blocks.3.resnets.0.norm1.weight"
    assert layouts.rename("input_blocks.1.0.in_layers.0.weight", there) == "down_blocks.0.resnets.0.norm1.weight"
    assert layouts.rename("input_blocks.100.0.in_layers.0.weight", there) is None
    assert layouts.rename("input_blocks.1", there) is None


def test_old_vae_names(manifest):
    for old, new in manifest.vae_old_names.items():
        assert layouts.vae_name(old) == new
    for row in manifest.rows:
        if row[0] == "vae":
            assert layouts.vae_name(row[3]) == row[3]


def test_extras_are_the_published_list_and_no_weight(manifest):
    for pattern in manifest.extras:
        assert layouts.is_extra(pattern.replace("*", "some.thing"))
    ignored = [row[1] for row in manifest.rows if layouts.is_extra(row[1])]
    assert ignored == ["cond_stage_model.transformer.text_model.embeddings.position_ids"]


def test_ema_keys_drop_all_dots_but_one():
    key = "model.diffusion_model.input_blocks.1.0.in_layers.0.weight"
    assert layouts.ema_key(key) == "model_ema.diffusion_modelinput_blocks10in_layers0weight"
