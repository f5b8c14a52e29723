"""Token numbers equal to CLIPTokenizer's, and text states equal to those of transformers and diffusers (≤ 1e-6)."""

import pytest
import torch
from tiny import randomize, tiny_sd
from twins import clip_words, pipeline_twin, relative, text_twin

from t2vz.text import TextConfig, TextEncoder

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


@pytest.mark.parametrize("prompt", PROMPTS, ids=lambda prompt: repr(prompt[:24]))
def test_token_numbers(prompt, folder):
    sd = tiny_sd(folder)
    clip = clip_words(folder / "tokenizer")
    expected = clip(prompt, padding="max_length", max_length=77, truncation=True, return_tensors="pt").input_ids[0]
    assert torch.equal(sd.tokenizer.encode(prompt).ids, expected)


def test_long_prompts_are_long_here(folder):
    """The list above does hold prompts that are cut, and the tokenizer does merge."""
    tokenizer = tiny_sd(folder).tokenizer
    assert sum(bool(tokenizer.encode(prompt).cut) for prompt in PROMPTS) >= 4
    assert tokenizer.encode("ball").used == 1 and tokenizer.encode("xylem").used == 5


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-12)], ids=str)
def test_text_states(dtype, tolerance, folder, device, measured):
    sd = tiny_sd(folder, dtype, device)
    theirs = pipeline_twin(sd, folder / "tokenizer")
    for prompt, negative in zip(PROMPTS, reversed(PROMPTS), strict=True):
        with torch.no_grad():
            text, none = theirs.encode_prompt([prompt], device, 1, True, [negative])
        error = relative(sd.encode_text([negative, prompt]), torch.cat([none, text]))
        measured(f"text states of {prompt[:20]!r}, {dtype}", error, tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-12)], ids=str)
@pytest.mark.parametrize("sizes", [{}, {"hidden_act": "gelu"}, {"layer_norm_eps": 1e-2}], ids=str)
@torch.no_grad()
def test_every_hidden_state(sizes, dtype, tolerance, device, measured):
    """Layer by layer, the final norm, and clip skip, against transformers' CLIPTextModel on the same weights."""
    config = TextConfig(
        vocab_size=50, hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4, **sizes
    )
    tower = randomize(TextEncoder(config), seed=4).to(device, dtype)
    ids = torch.randint(50, (3, 77), generator=torch.Generator().manual_seed(0)).to(device)
    for length in (77, 5):
        theirs = text_twin(tower)(input_ids=ids[:, :length], output_hidden_states=True)
        states = tower.hidden_states(ids[:, :length])
        assert len(states) == 4 <= len(theirs.hidden_states)
        for n, state in enumerate(states):
            measured(f"{length} tokens, hidden state {n}, {dtype}", relative(state, theirs.hidden_states[n]), tolerance)
        measured(f"text states, {dtype}", relative(tower(ids[:, :length]), theirs.last_hidden_state), tolerance)
        penultimate = tower.text_model.final_layer_norm(theirs.hidden_states[-2])
        measured(f"clip skip, {dtype}", relative(tower(ids[:, :length], skip_layers=1), penultimate), tolerance)
