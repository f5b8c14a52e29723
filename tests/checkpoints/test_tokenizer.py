"""Tokenizers: the right one is found, it fits its text tower exactly, and one that is cut short is refused."""

import importlib.util
import json
import shutil
import time

import pytest
import torch
from huggingface_hub import constants
from tiny import refused, tiny_tokenizer

from t2vz import StableDiffusion
from t2vz.checkpoints import save_folder, tokenizer
from t2vz.text import TextConfig, Tokenizer


@pytest.fixture
def alone(models, tmp_path):
    """A single file with no tokenizer beside it."""
    (tmp_path / "alone").mkdir()
    return shutil.copy(models / "tiny.safetensors", tmp_path / "alone")


@pytest.fixture
def nothing_installed(monkeypatch, tmp_path):
    """No package that carries CLIP's vocabulary, and an empty cache of the hub."""
    monkeypatch.setattr(tokenizer, "CARRIERS", ())
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.mark.parametrize("reason", ["HF_HUB_OFFLINE", "a proxy nobody listens at", "a host that does not exist"])
def test_a_single_file_without_any_tokenizer_is_refused_at_once(alone, nothing_installed, monkeypatch, reason):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", reason == "HF_HUB_OFFLINE")
    if reason.startswith("a proxy"):
        monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    if reason.startswith("a host"):
        monkeypatch.setattr(constants, "ENDPOINT", "http://nowhere.invalid")
    began = time.monotonic()
    refused(lambda: StableDiffusion.load(alone), r"tokenizer=DIR.*t2vz\[clip\]")
    assert time.monotonic() - began < 15


def test_clips_tokenizer_in_the_cache_of_the_hub_needs_no_network(models, alone, nothing_installed, monkeypatch):
    cache = nothing_installed / "models--openai--clip-vit-large-patch14"
    shutil.copytree(models / "tokenizer", cache / "snapshots/0123")
    (cache / "refs").mkdir()
    (cache / "refs/main").write_text("0123")
    monkeypatch.setattr(tokenizer, "_answers", lambda url: pytest.fail("asked the hub"))
    sd = StableDiffusion.load(alone)
    prompt = "a red ball, a xylophone"
    assert torch.equal(sd.tokenizer.encode(prompt).ids, Tokenizer(models / "tokenizer").encode(prompt).ids)


@pytest.mark.parametrize("difference", [-3, 1])
def test_a_tokenizer_that_is_not_the_text_towers_is_refused(models, alone, tmp_path, difference):
    own = Tokenizer(models / "tokenizer").size
    other = tiny_tokenizer(tmp_path, 53 + min(difference, 0))
    if difference > 0:
        (other / "added_tokens.json").write_text(json.dumps({"<sks>": own}))
    for path in (models / "tiny", alone):
        says = f"{own + difference} tokens does not fit .* knows {own}"
        refused(lambda path=path: StableDiffusion.load(path, tokenizer=other), says)
    sd = StableDiffusion.load(models / "tiny")
    refused(lambda: save_folder(tmp_path / "new", sd.unet, sd.vae, sd.text_encoder, other), "does not fit")


def lines(change):
    return lambda folder: (folder / "merges.txt").write_text(
        "\n".join(change((folder / "merges.txt").read_text().splitlines())) + "\n"
    )


def tokens(change):
    def spoil(folder):
        vocabulary = json.loads((folder / "vocab.json").read_text())
        change(vocabulary)
        (folder / "vocab.json").write_text(json.dumps(vocabulary))

    return spoil


@pytest.mark.parametrize(
    "spoil, words",
    [
        (lambda folder: (folder / "merges.txt").write_text(""), "its merges make 0 of the vocabulary's 53 tokens"),
        (lines(lambda merges: merges[:1]), "its merges make 0 of"),
        (lines(lambda merges: merges[:-7]), "make 46 of the vocabulary's 53"),
        (lines(lambda merges: [*merges, "zz y"]), "2 that it does not know"),
        (lines(lambda merges: [*merges, "one"]), "cannot be read"),
        (tokens(lambda vocabulary: vocabulary.pop("a")), "not numbered from 0"),
        (tokens(lambda vocabulary: vocabulary.update({"<|end|>": vocabulary.pop("<|endoftext|>")})), "has no <|start"),
        (lambda folder: (folder / "vocab.json").write_text("[1, 2]"), "cannot be read"),
        (lambda folder: (folder / "vocab.json").write_bytes(b'{"\xff": 0}'), "cannot be read"),
        (lambda folder: (folder / "added_tokens.json").write_text("{"), "cannot be read"),
    ],
)
def test_a_tokenizer_that_is_cut_short_or_mixed_is_refused(models, tmp_path, spoil, words):
    folder = shutil.copytree(models / "tokenizer", tmp_path / "tokenizer")
    spoil(folder)
    refused(lambda: StableDiffusion.load(models / "tiny", tokenizer=folder), words, str(folder))


def test_added_tokens_are_tokens(models, tmp_path):
    """As textual inversion leaves them: one more row in the tower, one more token beside the vocabulary."""
    folder = shutil.copytree(models / "tokenizer", tmp_path / "tokenizer")
    size = Tokenizer(folder).size
    (folder / "added_tokens.json").write_text(json.dumps({"<sks>": size}))
    more = Tokenizer(folder)
    assert more.size == size + 1 and more.encode("a <sks> ball").ids[2] == size
    assert more.texts("a <sks> ball") == ["a", "<sks>", "ball"]
    refused(lambda: tokenizer.open_tokenizer(tmp_path, TextConfig(vocab_size=size), folder), "does not fit")


OPENAI = tokenizer.clip_vocabulary()
WITH_OPENAI = pytest.mark.skipif(OPENAI is None, reason="no package here carries CLIP's vocabulary: t2vz[clip]")


@WITH_OPENAI
def test_clips_own_49408_tokens():
    clip = tokenizer.open_tokenizer("alone.safetensors", TextConfig())
    assert clip.size == 49408
    assert clip.encode("a photo of a cat").ids[:8].tolist() == [49406, 320, 1125, 539, 320, 2368, 49407, 49407]
    assert clip.encode("").ids.tolist() == [49406, *[49407] * 76]
    assert clip.texts("An astronaut, riding a horse!") == ["an", "astronaut", ",", "riding", "a", "horse", "!"]


@WITH_OPENAI
@pytest.mark.parametrize(
    "prompt",
    [
        "a photograph of an astronaut riding a horse",
        "Supercalifragilisticexpialidocious artstation, 4k, (masterpiece:1.2) [blurry] <lora:ink:0.8>",
        "ein Fußgänger überquert die Straße; 北京的熊猫在弹吉他 🐼🎸",
        "don't we'll they've I'm you're he'd x=y_z #tag @name 50% 1234567890 3.14",
    ],
)
def test_clips_tokens_are_those_of_openais_program(prompt):
    spec = importlib.util.spec_from_file_location("openais", OPENAI.with_name("simple_tokenizer.py"))
    openais = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(openais)
    assert Tokenizer(OPENAI).text_ids(prompt) == openais.SimpleTokenizer().encode(prompt)
