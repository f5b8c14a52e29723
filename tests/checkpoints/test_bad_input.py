"""What is no usable checkpoint: each a one-line InputError that says what was seen and what to do, and no
pickle opened."""

import io
import json
import pickle
import shutil

import pytest
import torch
from safetensors.torch import save_file
from tiny import refused, rewrite

from t2vz.checkpoints import build, checkpoint_hash, inspect, open_checkpoint, open_controlnet, open_vae, read_header

UNET_FILE = "unet/diffusion_pytorch_model.safetensors"


class Bomb:
    """A pickle of this runs code when it is opened."""

    def __reduce__(self):
        return (pytest.fail, ("a pickle was opened",))


def zipped():
    """What torch.save writes."""
    file = io.BytesIO()
    torch.save({"bomb": Bomb()}, file)
    return file.getvalue()


@pytest.mark.parametrize(
    "name, content",
    [(f"model{ending}", pickle.dumps(Bomb())) for ending in (".ckpt", ".bin", ".pt", ".pth", ".CKPT")]
    + [("model.safetensors", pickle.dumps([Bomb()] * 3, protocol=protocol)) for protocol in (2, 3, 4, 5)]
    + [("model.safetensors", zipped())],
)
def test_pickles_by_their_names_and_under_another(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    refused(lambda: open_checkpoint(path), "pickle", "run code", "save_file", str(path))


def test_header_whose_length_looks_like_a_pickle_is_read(tmp_path):
    # The first byte of a safetensors file is its header's length: 0x80 when that ends so, as a pickle begins.
    path = tmp_path / "model.safetensors"
    for n in range(400):
        save_file({"k" * (n + 1): torch.zeros(1)}, path)
        if path.read_bytes()[:1] == b"\x80":
            break
    else:
        pytest.fail("no header of that length was made")
    assert list(read_header(path)[0]) == ["k" * (n + 1)]


def with_header(header, data):
    """A file of the format with this header, whatever it says."""
    words = json.dumps(header).encode()
    return len(words).to_bytes(8, "little") + words + data


ONE = {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}


@pytest.mark.parametrize(
    "content, word",
    [
        (with_header({"__metadata__": {"epoch": 1.5}} | ONE, b"\0" * 4), "epoch = 1.5 in __metadata__"),
        (with_header({"__metadata__": {"epoch": None}} | ONE, b"\0" * 4), "epoch = None in __metadata__"),
        (with_header({"__metadata__": [1]} | ONE, b"\0" * 4), "header"),
        (with_header(ONE, b"\0" * 10), "6 bytes after its last tensor"),
        (with_header({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, b"\0" * 8), "no valid safetensors"),
        (with_header({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, b"\0" * 8), "header"),
        (b"", "empty"),
        (b"\0", "not a safetensors"),
        (b"hello, I am no model at all", "not a safetensors"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "Git LFS"),
        (b"GGUF\x03\0\0\0\0\0\0\0", "GGUF"),
        (b"\x05" + b"\0" * 7 + b"{nop}", "header"),
        (b"\x02" + b"\0" * 7 + b"{}", "no tensors"),
        (b"\xff" * 8 + b"{", "not a safetensors"),
        (b"\xff" * 3 + b"\0" * 5 + b"{", "cut short"),
        (b"\x08" + b"\0" * 7 + b'{"a": 1}', "header"),
        (b"\x0b" + b"\0" * 7 + b'{"a": {"b": 1}}'[:11], "header"),
    ],
)
def test_other_content(tmp_path, content, word):
    """Whoever opens it, and whoever only asks what it is, gets the same answer."""
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    said = refused(lambda: open_checkpoint(path), word, str(path))
    for call in (inspect, open_vae, open_controlnet, checkpoint_hash, read_header):
        assert refused(lambda call=call: call(path)) == said


@pytest.mark.parametrize("share", [0.0001, 0.3, 0.999])
def test_truncated_file(folder, share):
    path = folder / UNET_FILE
    content = path.read_bytes()
    path.write_bytes(content[: 9 + int(share * (len(content) - 10))])
    refused(lambda: open_checkpoint(folder), "cut short", f"{len(content):,}" if share > 0.2 else "bytes")


def test_a_file_that_is_cut_after_it_was_opened(folder):
    unet = open_checkpoint(folder).unet
    (folder / UNET_FILE).write_bytes((folder / UNET_FILE).read_bytes()[:-1])
    refused(lambda: build(unet, torch.float32), "shorter since its header was read")


def test_missing_file_and_folders_without_weights(tmp_path, folder):
    refused(lambda: open_checkpoint(tmp_path / "nothing.safetensors"), "no such file")
    empty = tmp_path / "empty"
    empty.mkdir()
    refused(lambda: open_checkpoint(empty), "no unet/")
    refused(lambda: open_checkpoint(folder / "unet"), "folder above", str(folder))
    shutil.copy(folder / UNET_FILE, empty / "model.safetensors")
    refused(lambda: open_checkpoint(empty), str(empty / "model.safetensors"))
    refused(lambda: open_checkpoint(empty / "model.safetensors"), "one part")
    (folder / UNET_FILE).unlink()
    refused(lambda: open_checkpoint(folder), "holds no diffusion_pytorch_model.safetensors")
    (folder / "unet/diffusion_pytorch_model.bin").write_bytes(pickle.dumps(Bomb()))
    refused(lambda: open_checkpoint(folder), "pickle")


@pytest.mark.parametrize("part, name", [("vae", "vae"), ("text_encoder", "text")])
def test_missing_part_is_named_unless_not_needed(folder, part, name):
    shutil.rmtree(folder / part)
    refused(lambda: open_checkpoint(folder), f"no {name}")
    assert getattr(open_checkpoint(folder, needs=("unet",)), name) is None


@pytest.mark.parametrize("content, word", [("{", "not JSON"), ("[]", "dictionary"), (None, "cannot be read")])
def test_broken_config(folder, content, word):
    (folder / "unet/config.json").unlink()
    if content is not None:
        (folder / "unet/config.json").write_text(content)
    refused(lambda: open_checkpoint(folder), word, "unet/config.json")


def test_missing_unknown_and_misshaped_tensors_are_all_named(folder):
    lost = {"conv_out.bias", "mid_block.resnets.0.conv1.weight"}
    more = {"stranger.weight": torch.zeros(2), "conv_in.bias": torch.zeros(7)}
    rewrite(folder / UNET_FILE, lambda tensors: {key: tensors[key] for key in tensors.keys() - lost} | more)
    refused(
        lambda: build(open_checkpoint(folder).unet, torch.float32),
        "2 tensors missing: conv_out.bias, mid_block.resnets.0.conv1.weight",
        "1 tensors unknown: stranger.weight",
        r"conv_in.bias \[7\] for \[32\]",
    )


def test_many_missing_tensors_are_counted(folder):
    rewrite(folder / UNET_FILE, lambda tensors: {key: tensors[key] for key in tensors if not key.endswith(".bias")})
    message = refused(lambda: build(open_checkpoint(folder).unet, torch.float32), "missing", " more")
    assert len(message) < 1000


def test_a_config_that_contradicts_the_tensors_is_refused(folder):
    config = folder / "unet/config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"layers_per_block": 2}))
    refused(lambda: open_checkpoint(folder), "unet/config.json", "layers_per_block = 2", "1, which its tensors show")


@pytest.mark.parametrize(
    "value, dtype, words",
    [(float("nan"), torch.float32, "NaN"), (-1e6, torch.float16, "float32 or bfloat16"), (-1e6, torch.bfloat16, None)],
)
def test_spoilt_and_too_large_weights_are_named(folder, value, dtype, words):
    rewrite(folder / UNET_FILE, lambda tensors: tensors | {"conv_in.weight": tensors["conv_in.weight"] + value})
    if words is None:
        build(open_checkpoint(folder).unet, dtype)
    else:
        refused(lambda: build(open_checkpoint(folder).unet, dtype), "conv_in.weight", words)


def test_quantised_weights_are_refused(folder):
    rewrite(folder / UNET_FILE, lambda tensors: tensors | {"conv_in.weight": tensors["conv_in.weight"].to(torch.int8)})
    said = refused(lambda: open_checkpoint(folder), "conv_in.weight", "I8", "quantised")
    assert inspect(folder)["parts"][0]["problem"] == said
