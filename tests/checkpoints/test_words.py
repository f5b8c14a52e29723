"""The words a small model knows: what is unknown in a prompt is named, in one line, and what could be said instead."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import refused, tiny_sd, tiny_tokenizer

from t2vz import StableDiffusion
from t2vz.checkpoints import embedded_weights, read_words, save_folder, save_single_file, unknown_words
from t2vz.world import sample_scene

WORDS = {"things": ["ball", "cat"], "colours": ["red", "blue"], "places": ["meadow"], "others": ["a", "on", "the"]}


@pytest.mark.parametrize(
    "prompt, unknown",
    [
        ("a red ball on the meadow", []),
        ("A Red BALL, on the: meadow!", []),
        ("a horse on the moon, a horse", ["horse", "moon"]),
        ("a cat's ball", ["cat's"]),
        ("3 balls", ["3", "balls"]),
        ("ein Bär, 猫", ["ein", "bär", "猫"]),
        ("", []),
    ],
)
def test_unknown_words_once_and_in_order(prompt, unknown):
    assert unknown_words(WORDS, prompt) == unknown


@pytest.mark.parametrize("layout", ["folder", "single file"])
def test_a_model_that_names_its_words_says_what_it_does_not_know(tmp_path, layout):
    sd = tiny_sd(tmp_path)
    parts, words = (sd.unet, sd.vae, sd.text_encoder), tiny_tokenizer(tmp_path)
    path = tmp_path / ("new" if layout == "folder" else "new.safetensors")
    if layout == "folder":
        save_folder(path, *parts, words, words=WORDS)
    else:
        save_single_file(path, *parts, words=WORDS)
    sd = StableDiffusion.load(path)
    assert sd.prompt_notes("a red ball on the meadow") == [] == sd.prompt_notes("")
    (note,) = sd.prompt_notes("a green cat on the moon")
    assert '"green", "moon"' in note and "\n" not in note
    assert "things (ball, cat), colours (red, blue), places (meadow)" in note and "others" not in note
    *_, note = sd.prompt_notes(" ".join(f"word{n}" for n in range(30)))
    assert '"word7" …' in note and len(note) < 300
    assert len(sd.prompt_notes("zebra " * 200)) == 2  # and that the prompt was cut


def test_a_model_without_such_a_list_says_nothing(models):
    assert read_words(models / "tiny") is None
    assert StableDiffusion.load(models / "tiny").prompt_notes("an astronaut riding a horse") == []


def test_no_caption_of_the_picture_world_has_a_word_that_the_embedded_model_does_not_know():
    import numpy as np

    words, rng = read_words(embedded_weights()), np.random.default_rng(5)
    captions = [sample_scene(rng, held_out=None).caption for _ in range(1500)]
    assert not {word for caption in captions for word in unknown_words(words, caption)}
    assert unknown_words(words, "a horse galloping on a green meadow") == ["horse", "galloping"]


@pytest.mark.parametrize("text", ["{", "[]", '{"things": [1]}', '{"things": 3}'])
def test_a_spoilt_list_is_refused(tmp_path, text):
    (tmp_path / "words.json").write_text(text)
    refused(lambda: read_words(tmp_path), "words.json")
    save_file({"x": torch.ones(1)}, tmp_path / "x.safetensors", {"t2vz.words": text})
    refused(lambda: read_words(tmp_path / "x.safetensors"), "x.safetensors")
    assert load_file(tmp_path / "x.safetensors")["x"] == 1


def test_the_shipped_list_is_what_the_painter_says():
    from training.export import known_words

    assert json.loads((embedded_weights() / "words.json").read_text()) == known_words()
