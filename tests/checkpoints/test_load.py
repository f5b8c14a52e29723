"""Loading: the same weights come out of a folder, shards, variants, old names and a single file, in any float
type."""

import hashlib
import json
import shutil

import pytest
import torch
from safetensors.torch import save_file
from tiny import assert_same_weights, refused, rewrite

from t2vz.checkpoints import build, checkpoint_hash, find_tokenizer, layouts, open_checkpoint, save_single_file
from t2vz.checkpoints.contents import look
from t2vz.unet import UNetConfig
from t2vz.vae import VAEConfig

WEIGHTS = {
    "unet": "unet/diffusion_pytorch_model.safetensors",
    "vae": "vae/diffusion_pytorch_model.safetensors",
    "text": "text_encoder/model.safetensors",
}


def build_all(path, dtype=torch.float32, device="cpu"):
    checkpoint = open_checkpoint(path)
    return {name: build(getattr(checkpoint, name), dtype, device) for name in WEIGHTS}


def state_of(originals, name):
    """Their weights by the published names, of which transformers 5 leaves out the first part."""
    state = getattr(originals, name).state_dict()
    return {layouts.text_name(key): tensor for key, tensor in state.items()} if name == "text" else state


def assert_same(models, originals, dtype=torch.float32, device="cpu"):
    """Every weight is the original's, rounded to `dtype`, on `device`, and nothing is left without memory."""
    for name, module in models.items():
        assert_same_weights(module, state_of(originals, name), dtype)
        assert all(tensor.device.type == torch.device(device).type for tensor in module.state_dict().values())


@pytest.fixture
def single_file(folder, tmp_path):
    models = build_all(folder)
    save_single_file(tmp_path / "model.safetensors", models["unet"], models["vae"], models["text"], torch.float32)
    return tmp_path / "model.safetensors"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_folder_gives_the_original_weights(diffusers_folder, originals, dtype, device):
    assert_same(build_all(diffusers_folder, dtype, device), originals, dtype, device)


def test_folder_sizes_and_schedule(diffusers_folder):
    checkpoint = open_checkpoint(str(diffusers_folder))
    assert (checkpoint.kind, checkpoint.layout) == ("sd1", "folder")
    assert checkpoint.unet.config == UNetConfig(
        block_out_channels=(32, 64),
        has_attention=(True, False),
        layers_per_block=1,
        heads=(8, 8),
        context_dim=16,
        sample_size=8,
    )
    assert checkpoint.vae.config == VAEConfig(block_out_channels=(32, 64), layers_per_block=1)
    assert checkpoint.text.config.num_hidden_layers == 2
    assert checkpoint.schedule.alpha_bar_at(999) == pytest.approx(0.0046601, abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_single_file_gives_the_same_weights_as_the_folder(single_file, originals, dtype):
    assert open_checkpoint(single_file).layout == "single-file"
    assert_same(build_all(single_file, dtype), originals, dtype)


def test_single_file_sizes_are_the_folders(single_file, folder):
    one, other = open_checkpoint(single_file), open_checkpoint(folder)
    assert one.unet.config == other.unet.config  # the sample size, which no tensor shows, is in the header
    assert one.vae.config == other.vae.config
    assert one.text.config == other.text.config


def test_mixed_float_types_in_one_file(folder, originals):
    types = [torch.float32, torch.float16, torch.bfloat16, torch.float64]
    stored = {key: types[n % 4] for n, key in enumerate(sorted(originals.unet.state_dict()))}
    rewrite(folder / WEIGHTS["unet"], lambda tensors: {key: tensors[key].to(stored[key]) for key in tensors})
    expected = {key: tensor.to(stored[key]).float() for key, tensor in originals.unet.state_dict().items()}
    assert_same_weights(build_all(folder)["unet"], expected)


@pytest.mark.parametrize(
    "index", ["diffusion_pytorch_model.safetensors.index.json", "diffusion_pytorch_model.safetensors.index.fp16.json"]
)
def test_shards(folder, originals, index):
    single = folder / WEIGHTS["unet"]
    single.unlink()
    originals.unet.save_pretrained(folder / "unet", max_shard_size="200KB")
    assert not single.exists() and len(list(single.parent.glob("*-of-*.safetensors"))) > 1
    (folder / "unet/diffusion_pytorch_model.safetensors.index.json").rename(folder / "unet" / index)
    assert_same(build_all(folder), originals)

    shard = min(single.parent.glob("*-of-*.safetensors"))
    shard.unlink()
    refused(lambda: open_checkpoint(folder), shard.name)


def test_old_vae_names_and_4d_attention(folder, originals):
    new_to_old = {new: old for old, new in layouts.VAE_ATTENTION_OLD.items()}

    def change(tensors):
        changed = {}
        for key, tensor in tensors.items():
            for new, old in new_to_old.items():
                if f".attentions.0.{new}." in key:
                    key = key.replace(new, old)
                    tensor = tensor[..., None, None] if tensor.ndim == 2 and "query" in key else tensor
            changed[key] = tensor
        assert changed.keys() != tensors.keys()
        return changed

    rewrite(folder / WEIGHTS["vae"], change)
    assert_same(build_all(folder), originals)


@pytest.mark.parametrize("prefix", ["", "text_model."])
def test_text_keys_with_and_without_text_model(folder, originals, prefix):
    rewrite(
        folder / WEIGHTS["text"],
        lambda tensors: {prefix + key.removeprefix("text_model."): tensor for key, tensor in tensors.items()},
    )
    assert_same(build_all(folder), originals)


def test_filling_leaves_no_map_of_the_file(diffusers_folder):
    unet = build(open_checkpoint(diffusers_folder).unet, torch.float32)
    file = diffusers_folder / WEIGHTS["unet"]
    before = unet.conv_in.weight.clone()
    unet.conv_in.weight.data.add_(1.0)  # were it the file's own page, the file or a later load would change
    again = build(open_checkpoint(diffusers_folder).unet, torch.float32)
    assert torch.equal(again.conv_in.weight, before)
    try:
        maps = open("/proc/self/maps").read()
    except OSError:
        pytest.skip("this system has no /proc to look at the maps")
    assert str(file) not in maps


def test_hash_depends_on_every_weight_file_and_not_on_the_place(folder, tmp_path):
    first = checkpoint_hash(folder)
    moved = shutil.move(folder, tmp_path / "elsewhere")
    assert checkpoint_hash(moved) == first and len(first) == 64
    seen = {first}
    for path in WEIGHTS.values():
        rewrite(moved / path, lambda tensors: tensors | {min(tensors): tensors[min(tensors)] + 1})
        seen.add(checkpoint_hash(moved))
    assert len(seen) == 4


def test_hash_of_a_lone_file_is_sha256sum(single_file, tokenizer_folder):
    alone = hashlib.sha256(single_file.read_bytes()).hexdigest()
    assert checkpoint_hash(single_file) == alone
    shutil.copytree(tokenizer_folder, single_file.parent / "tokenizer")
    assert checkpoint_hash(single_file) != alone  # words are read by the tokenizer beside it


def test_hash_covers_a_tokenizer_that_was_given(folder, tmp_path):
    other = shutil.copytree(folder / "tokenizer", tmp_path / "other")
    hashes = [checkpoint_hash(folder), checkpoint_hash(folder, tokenizer=other)]
    (other / "merges.txt").write_text((other / "merges.txt").read_text() + "a b\n")
    assert len({*hashes, checkpoint_hash(folder, tokenizer=other)}) == 3


@pytest.mark.parametrize(
    "name",
    [
        *("unet/config.json", "vae/config.json", "text_encoder/config.json", "scheduler/scheduler_config.json"),
        *("tokenizer/vocab.json", "tokenizer/merges.txt"),
    ],
)
def test_hash_covers_all_that_is_read(folder, name):
    before = checkpoint_hash(folder)
    assert folder / name in look(folder).files
    (folder / name).write_text((folder / name).read_text() + "\n")
    assert checkpoint_hash(folder) != before
    (folder / "notes.txt").write_text("not read")
    assert folder / "notes.txt" not in look(folder).files


def test_hash_covers_the_settings_beside_a_lora_and_a_lone_network(folder, tmp_path):
    save_file({"unet.conv_in.lora_A.weight": torch.ones(1, 4)}, tmp_path / "adapter_model.safetensors")
    for path, settings in (
        (tmp_path / "adapter_model.safetensors", tmp_path / "adapter_config.json"),
        (folder / WEIGHTS["vae"], folder / "vae/config.json"),
        (folder / "vae", folder / "vae/config.json"),
    ):
        content = settings.read_text() if settings.exists() else "{}"
        settings.write_text(content)
        before = checkpoint_hash(path)
        settings.write_text(content + " ")
        assert checkpoint_hash(path) != before


def test_tokenizer_is_found_given_inside_or_beside(folder, single_file, tokenizer_folder):
    assert find_tokenizer(folder) == folder / "tokenizer"
    assert find_tokenizer(single_file) is None
    assert find_tokenizer(single_file, tokenizer_folder) == tokenizer_folder
    shutil.copytree(tokenizer_folder, single_file.parent / "tokenizer")
    assert find_tokenizer(single_file) == single_file.parent / "tokenizer"
    (folder / "tokenizer/merges.txt").unlink()
    refused(lambda: find_tokenizer(folder), "merges.txt")


def test_index_with_a_path_outside_the_folder_is_refused(folder):
    (folder / WEIGHTS["unet"]).rename(folder / "outside.safetensors")
    index = folder / "unet/diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"conv_in.weight": "../outside.safetensors"}}))
    refused(lambda: open_checkpoint(folder), "outside")
