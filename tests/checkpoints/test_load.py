"""Loading: the same weights come out of a folder, shards, variants, old names and a single file, in any float
type."""

import hashlib
import json
import shutil

import pytest
import torch
from safetensors.torch import save_file
from tiny import UNET, VAE_SIZES, assert_same_weights, refused, rewrite, tiny_sd
from twins import unet_twin

from t2vz.checkpoints import build, checkpoint_hash, find_tokenizer, layouts, open_checkpoint
from t2vz.checkpoints.contents import look

WEIGHTS = {
    "unet": "unet/diffusion_pytorch_model.safetensors",
    "vae": "vae/diffusion_pytorch_model.safetensors",
    "text": "text_encoder/model.safetensors",
}


@pytest.fixture(scope="module")
def wanted(tmp_path_factory):
    """The networks whose weights diffusers wrote."""
    sd = tiny_sd(tmp_path_factory.mktemp("wanted"))
    return {"unet": sd.unet, "vae": sd.vae, "text": sd.text_encoder}


def assert_same(path, wanted, dtype=torch.float32, device="cpu"):
    """Every weight at the path is the wanted one, rounded to `dtype`, on `device`; nothing is left without memory."""
    checkpoint = open_checkpoint(path)
    for name, network in wanted.items():
        module = build(getattr(checkpoint, name), dtype, device)
        assert_same_weights(module, network, dtype)
        assert all(tensor.device.type == torch.device(device).type for tensor in module.state_dict().values())


@pytest.fixture
def single_file(models, tmp_path):
    """A copy without a tokenizer beside it."""
    return shutil.copy(models / "tiny.safetensors", tmp_path / "model.safetensors")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_folder_and_single_file_give_the_original_weights(theirs, models, wanted, dtype, device):
    assert_same(theirs, wanted, dtype, device)
    assert_same(models / "tiny.safetensors", wanted, dtype, device)


def test_sizes_and_schedule(theirs, single_file):
    folder, single = open_checkpoint(str(theirs)), open_checkpoint(single_file)
    assert (folder.kind, folder.layout, single.layout) == ("sd1", "folder", "single-file")
    assert folder.unet.config == single.unet.config == UNET  # the sample size, which no tensor shows, is in the header
    assert folder.vae.config == single.vae.config == VAE_SIZES
    assert folder.text.config == single.text.config and folder.text.config.num_hidden_layers == 2
    assert folder.schedule.alpha_bar_at(999) == pytest.approx(0.0046601, abs=1e-6)


def test_mixed_float_types_in_one_file(folder, wanted):
    types = [torch.float32, torch.float16, torch.bfloat16, torch.float64]
    state = wanted["unet"].state_dict()
    stored = {key: types[n % 4] for n, key in enumerate(sorted(state))}
    rewrite(folder / WEIGHTS["unet"], lambda tensors: {key: tensors[key].to(stored[key]) for key in tensors})
    expected = {key: tensor.to(stored[key]).float() for key, tensor in state.items()}
    assert_same_weights(build(open_checkpoint(folder).unet, torch.float32), expected)


@pytest.mark.parametrize(
    "index", ["diffusion_pytorch_model.safetensors.index.json", "diffusion_pytorch_model.safetensors.index.fp16.json"]
)
def test_shards(folder, wanted, index):
    single = folder / WEIGHTS["unet"]
    single.unlink()
    unet_twin(wanted["unet"]).save_pretrained(folder / "unet", max_shard_size="200KB")
    assert not single.exists() and len(list(single.parent.glob("*-of-*.safetensors"))) > 1
    (folder / "unet/diffusion_pytorch_model.safetensors.index.json").rename(folder / "unet" / index)
    assert_same(folder, wanted)

    shard = min(single.parent.glob("*-of-*.safetensors"))
    shard.unlink()
    refused(lambda: open_checkpoint(folder), shard.name)


def test_old_vae_names_and_4d_attention(folder, wanted):
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
    assert_same(folder, wanted)


@pytest.mark.parametrize("prefix", ["", "text_model."])
def test_text_keys_with_and_without_text_model(folder, wanted, prefix):
    rewrite(
        folder / WEIGHTS["text"],
        lambda tensors: {prefix + key.removeprefix("text_model."): tensor for key, tensor in tensors.items()},
    )
    assert_same(folder, wanted)


@pytest.mark.parametrize(
    "part, key, other",
    [
        ("vae", "encoder.mid_block.attentions.0.to_q.bias", "encoder.mid_block.attentions.0.query.bias"),
        ("text", "final_layer_norm.bias", "text_model.final_layer_norm.bias"),
    ],
)
def test_a_tensor_under_two_names_is_refused(folder, part, key, other):
    rewrite(folder / WEIGHTS[part], lambda tensors: tensors | {name: torch.zeros(64) for name in (key, other)})
    refused(lambda: open_checkpoint(folder), key, other, "are the same tensor")


def test_filling_leaves_no_map_of_the_file(theirs):
    unet = build(open_checkpoint(theirs).unet, torch.float32)
    file = theirs / WEIGHTS["unet"]
    before = unet.conv_in.weight.clone()
    unet.conv_in.weight.data.add_(1.0)  # were it the file's own page, the file or a later load would change
    again = build(open_checkpoint(theirs).unet, torch.float32)
    assert torch.equal(again.conv_in.weight, before)
    try:
        maps = open("/proc/self/maps").read()
    except OSError:
        pytest.skip("this system has no /proc to look at the maps")
    assert str(file) not in maps


def test_hash_covers_all_that_is_read_and_not_the_place(folder, tmp_path):
    seen = {checkpoint_hash(folder)}
    folder = shutil.move(folder, tmp_path / "elsewhere")
    assert {checkpoint_hash(folder)} == seen and all(len(found) == 64 for found in seen)
    for path in WEIGHTS.values():
        rewrite(folder / path, lambda tensors: tensors | {min(tensors): tensors[min(tensors)] + 1})
        seen.add(checkpoint_hash(folder))
    texts = [f"{part}/config.json" for part in ("unet", "vae", "text_encoder")]
    texts += ["scheduler/scheduler_config.json", "tokenizer/vocab.json", "tokenizer/merges.txt"]
    for name in texts:
        (folder / name).write_text((folder / name).read_text() + "\n")
        seen.add(checkpoint_hash(folder))
    assert len(seen) == 1 + len(WEIGHTS) + len(texts)
    (folder / "notes.txt").write_text("not read")
    assert {folder / name for name in (*WEIGHTS.values(), *texts)} == set(look(folder).files)


def test_hash_of_a_lone_file_is_sha256sum(models, single_file):
    alone = hashlib.sha256(single_file.read_bytes()).hexdigest()
    assert checkpoint_hash(single_file) == alone
    shutil.copytree(models / "tokenizer", single_file.parent / "tokenizer")
    assert checkpoint_hash(single_file) != alone  # words are read by the tokenizer beside it


def test_hash_covers_a_tokenizer_that_was_given(folder, tmp_path):
    other = shutil.copytree(folder / "tokenizer", tmp_path / "other")
    hashes = [checkpoint_hash(folder), checkpoint_hash(folder, tokenizer=other)]
    (other / "merges.txt").write_text((other / "merges.txt").read_text() + "a b\n")
    assert len({*hashes, checkpoint_hash(folder, tokenizer=other)}) == 3


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


def test_tokenizer_is_found_given_inside_or_beside(models, folder, single_file):
    assert find_tokenizer(folder) == folder / "tokenizer"
    assert find_tokenizer(single_file) is None
    assert find_tokenizer(single_file, models / "tokenizer") == models / "tokenizer"
    shutil.copytree(models / "tokenizer", single_file.parent / "tokenizer")
    assert find_tokenizer(single_file) == single_file.parent / "tokenizer"
    (folder / "tokenizer/merges.txt").unlink()
    refused(lambda: find_tokenizer(folder), "merges.txt")


def test_index_with_a_path_outside_the_folder_is_refused(folder):
    (folder / WEIGHTS["unet"]).rename(folder / "outside.safetensors")
    index = folder / "unet/diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"conv_in.weight": "../outside.safetensors"}}))
    refused(lambda: open_checkpoint(folder), "outside")
