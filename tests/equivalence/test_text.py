"""Token numbers equal to CLIPTokenizer's, and text states equal to those of diffusers' `encode_prompt` (≤ 1e-5)."""

import pytest
import torch
from tiny import tiny_sd
from transformers import CLIPTokenizer
from twins import pipeline_twin, relative

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
        measured(f"text states of {prompt[:20]!r}, {dtype}",
                 relative(sd.encode_text([negative, prompt]), torch.cat([none, text])), tolerance)


def clip_by_hand(weights: dict[str, torch.Tensor], ids: torch.Tensor, heads: int) -> torch.Tensor:
    """CLIP's text tower from its tensors alone: pre-norm transformer, causal, quick GELU, final norm. ids (n,) -> (n, dim)."""

    def norm(x, name):
        centred = x - x.mean(-1, keepdim=True)
        scaled = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def linear(x, name):
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    n = len(ids)
    x = weights["embeddings.token_embedding.weight"][ids] + weights["embeddings.position_embedding.weight"][:n]
    later = torch.ones(n, n, dtype=torch.bool).triu(1)
    layers = 1 + max(int(name.split(".")[2]) for name in weights if name.startswith("encoder.layers."))
    for i in range(layers):
        layer = f"encoder.layers.{i}"
        normed = norm(x, f"{layer}.layer_norm1")
        q, k, v = (linear(normed, f"{layer}.self_attn.{name}_proj").unflatten(-1, (heads, -1)) for name in "qkv")
        scores = torch.einsum("ihc,jhc->hij", q, k) / q.shape[-1] ** 0.5
        weighed = torch.einsum("hij,jhc->ihc", scores.masked_fill(later, -torch.inf).softmax(-1), v).flatten(1)
        x = x + linear(weighed, f"{layer}.self_attn.out_proj")
        inner = linear(norm(x, f"{layer}.layer_norm2"), f"{layer}.mlp.fc1")
        x = x + linear(inner * torch.sigmoid(1.702 * inner), f"{layer}.mlp.fc2")
    return norm(x, "final_layer_norm")


def test_text_states_by_hand(folder, measured):
    """The tower is transformers' in both programs; this one is written out here."""
    sd = tiny_sd(folder, torch.float64)
    weights = {name.removeprefix("text_model."): tensor for name, tensor in sd.text_encoder.state_dict().items()}
    for prompt in PROMPTS[::4]:
        expected = clip_by_hand(weights, sd.tokenizer.encode(prompt).ids, sd.text_encoder.config.num_attention_heads)
        measured(f"text states by hand of {prompt[:20]!r}", relative(sd.encode_text([prompt])[0], expected), 1e-12)
