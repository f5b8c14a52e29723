"""The embedded model's tokenizer, against transformers' CLIPTokenizer."""

import pytest
import torch
from transformers import CLIPTokenizer

from t2vz.text import Tokenizer
from t2vz.text.vocabulary import byte_letters
from t2vz.world import vocabulary
from training.tokenizer import COMMON, write_tokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def clip(folder):
    return CLIPTokenizer.from_pretrained(str(folder))


def test_special_tokens_and_padding(clip):
    assert clip.bos_token == "<|startoftext|>" and clip.eos_token == clip.pad_token == "<|endoftext|>"
    assert clip.eos_token_id == len(clip) - 1 and clip.bos_token_id == len(clip) - 2
    ids = clip("a red ball", padding="max_length").input_ids
    assert len(ids) == 77 and ids[0] == clip.bos_token_id and ids[4:] == [clip.eos_token_id] * 73


def test_every_word_of_the_world_is_one_token(clip):
    words = [*vocabulary(), *COMMON]
    ids = [clip(word, add_special_tokens=False).input_ids for word in words]
    assert all(len(one) == 1 for one in ids)
    assert len({one[0] for one in ids}) == len(set(words))


@pytest.mark.parametrize("text", ["a red ball on a green meadow", "zebra crossing", "déjà vu", "42 foxes"])
def test_any_text_round_trips(clip, text):
    assert clip.decode(clip(text).input_ids, skip_special_tokens=True).strip().replace(" ", "") == text.replace(" ", "")


def test_t2vz_reads_the_folder_alike(folder, clip):
    prompt = "A blue fish on the sea, surfing!"
    wanted = clip(prompt, padding="max_length", truncation=True).input_ids
    assert Tokenizer(folder).encode(prompt).ids.tolist() == wanted


def test_alphabet_is_all_bytes_once():
    alphabet = byte_letters()
    assert len(alphabet) == len(set(alphabet)) == 256
    assert not any(character.isspace() for character in alphabet)


def test_merges_make_random_words_one_token_and_their_beginnings(tmp_path):
    generator = torch.Generator().manual_seed(7)
    words = [
        "".join("abc"[i] for i in torch.randint(3, (int(n),), generator=generator).tolist())
        for n in torch.randint(1, 9, (60,), generator=generator)
    ]
    read = CLIPTokenizer.from_pretrained(str(write_tokenizer(tmp_path, words)))
    assert all(read.tokenize(word) == [word + "</w>"] for word in words)
