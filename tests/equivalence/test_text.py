"""Token numbers equal to CLIPTokenizer's, and text states equal to those of diffusers' `encode_prompt` (≤ 1e-5)."""

import pytest
import torch
from tiny import tiny_sd
from transformers import CLIPTokenizer
from twins import clip_by_hand, pipeline_twin, relative

PROMPTS = [
    "a red ball on a green meadow",
    "A RED Ball",
    "a photo of a cat, 4k!!! (masterpiece:1.2) [blurry]",
    "it's the artist's naïve café — “quoted” … fin",
    "ein Fußgänger überquert die Straße",
    "北京的熊猫在弹吉他",
    "🐼🎸 on the 🚂!? 👩‍🚀",
    "  spaces   and\ttabs\nand lines  ",
    "<|endoftext|> in the middle <|startoftext|>",
    "1234567890 3.14 x=y_z #tag @name 50%",
    "don't we'll they've I'm you're he'd",
    "\u00a0non-breaking\u200b zero width \u0301 combining é",
    "a red ball on a green meadow and " * 12,
    "supercalifragilisticexpialidocious" * 5,
    "?" * 200,
    "ball " * 75,
    "ball " * 76,
    " ",
    "",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("tiny")


@pytest.mark.parametrize("prompt", PROMPTS, ids=lambda prompt: repr(prompt[:24]))
def test_token_numbers(prompt, folder):
    sd = tiny_sd(folder)
    clip = CLIPTokenizer.from_pretrained(str(folder / "tokenizer"), model_max_length=77, local_files_only=True)
    expected = clip(prompt, padding="max_length", max_length=77, truncation=True, return_tensors="pt").input_ids[0]
    assert torch.equal(sd.tokenizer.encode(prompt).ids, expected)


def test_long_prompts_are_long_here(folder):
    """The list above does hold prompts that are cut, and the tokenizer does merge."""
    tokenizer = tiny_sd(folder).tokenizer
    assert sum(bool(tokenizer.encode(prompt).cut) for prompt in PROMPTS) >= 4
    assert tokenizer.encode("ball").used == 1 and tokenizer.encode("xylem").used == 5


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)], ids=str)
def test_text_states(dtype, tolerance, folder, device, measured):
    sd = tiny_sd(folder, dtype, device)
    theirs = pipeline_twin(sd, folder / "tokenizer")
    for prompt, negative in zip(PROMPTS, reversed(PROMPTS), strict=True):
        with torch.no_grad():
            text, none = theirs.encode_prompt([prompt], device, 1, True, [negative])
        measured(
            f"text states of {prompt[:20]!r}, {dtype}",
            relative(sd.encode_text([negative, prompt]), torch.cat([none, text])),
            tolerance,
        )


def test_text_states_by_hand(folder, measured):
    """The tower is transformers' in both programs; this one is written out here."""
    sd = tiny_sd(folder, torch.float64)
    weights = {name.removeprefix("text_model."): tensor for name, tensor in sd.text_encoder.state_dict().items()}
    for prompt in PROMPTS[::4]:
        expected = clip_by_hand(weights, sd.tokenizer.encode(prompt).ids, sd.text_encoder.config.num_attention_heads)
        measured(f"text states by hand of {prompt[:20]!r}", relative(sd.encode_text([prompt])[0], expected), 1e-12)
