"""Tokens and text states: 77 numbers, padding, what is cut and said, positions of words, the states' origin."""

import subprocess
import sys

import pytest
import torch
from tiny import refused, tiny_sd

from t2vz.text import subject_words


@pytest.fixture
def sd(tmp_path_factory, device):
    return tiny_sd(tmp_path_factory.getbasetemp() / "text", device=device)


@pytest.fixture
def tokenizer(sd):
    return sd.tokenizer


@pytest.mark.parametrize("prompt, used", [("a red ball", 3), ("", 0)])
def test_a_prompt_is_start_text_end_and_end_again_as_padding(tokenizer, prompt, used):
    tokens, text = tokenizer.encode(prompt), tokenizer.text_ids(prompt)
    assert tokens.ids.tolist() == [tokenizer.start, *text] + [tokenizer.end] * (76 - used)
    assert (tokens.used, tokens.cut) == (used, "") and tokenizer.end != tokenizer.start
    assert not {tokenizer.start, tokenizer.end} & set(text)


@pytest.mark.parametrize("words, cut", [(74, ""), (75, ""), (76, "pond"), (77, "sea pond"), (78, "kite sea pond")])
def test_what_is_past_75_tokens_is_cut_and_named(tokenizer, words, cut):
    tokens = tokenizer.encode(" ".join(["ball"] * (words - 3) + ["kite", "sea", "pond"]))
    assert tokens.used == min(words, 75) and tokens.cut == cut
    assert len(tokens.ids) == 77 and int(tokens.ids[-1]) == tokenizer.end


def test_prompt_notes_say_what_was_cut_in_one_line(sd):
    assert sd.prompt_notes("a red ball") == []
    (note,) = sd.prompt_notes("ball " * 75 + "yellow duck")
    assert '"yellow duck"' in note and "75" in note
    (note,) = sd.prompt_notes("ball " * 500)
    assert "\n" not in note and len(note) < 250


@pytest.mark.parametrize(
    "prompt, command, words",
    [
        ("a cat <lora:ink:0.8>", "<lora:ink:0.8>", "--lora"),
        ("a (red:1.3) ball", "(red:1.3)", "weigh the same"),
        ("a (red)1.3 ball", "(red)1.3", "weigh the same"),
        ("a (red ball)++ there", "(red ball)++", "weigh the same"),
        ("a ((red)) ball", "((red))", "weigh the same"),
        ("a [red:blue:0.5] ball", "[red:blue:0.5]", "all steps"),
        ("a [red|blue] ball", "[red|blue]", "all steps"),
        ("a {red|blue} ball", "{red|blue}", "by chance"),
        ("a ball, embedding:bad-hands", "embedding:bad-hands", "reads none"),
        ("a red ball BREAK a blue kite", "BREAK", "one prompt"),
    ],
)
def test_commands_of_other_programs_are_noted(sd, prompt, command, words):
    (note,) = sd.prompt_notes(prompt)
    assert note.startswith(f'"{command}"') and words in note and "\n" not in note


def test_what_only_looks_like_a_command_is_not(sd):
    for prompt in (
        "a (red) ball",
        "a (red)-haired cat (2)",
        "a ball [old], at 12:30",
        "A RED BALL AND A KITE",
        "ratio 3:4 (or so), C++",
        "<3 x_y__z",
    ):
        assert sd.prompt_notes(prompt) == []


@pytest.mark.parametrize(
    "prompt, words",
    [
        ("a red ball on a green meadow", ["red", "ball"]),
        ("a picture of a white cat in a room", ["white", "cat"]),
        ("a photo of two dogs", ["dogs"]),
        ("Three yellow Ducks, swimming in a pond.", ["yellow", "ducks", "swimming"]),
        ("the blue kite and the sun over the sea", ["blue", "kite", "sun"]),
        ("a cup of tea on a table", ["cup"]),
        ("an astronaut is skiing down a hill", ["astronaut", "skiing", "down", "hill"]),
        ("in the forest a bear walks", ["forest", "bear", "walks"]),
        ("the", ["the"]),
        ("a (big) dog", ["big", "dog"]),
    ],
)
def test_subject_words_are_those_before_the_first_preposition(prompt, words):
    assert subject_words(prompt) == words


def test_one_string_is_no_list_of_prompts(sd):
    refused(lambda: sd.encode_text("a red ball"), r'\["a red ball"\]')


@pytest.mark.parametrize(
    "prompt, words, positions",
    [
        ("a red ball on a green meadow", ["ball"], [3]),
        ("a red ball on a green meadow", ["red", "meadow"], [2, 7]),
        ("a red ball on a green meadow", ["meadow", "red", "red"], [2, 7]),  # in the order of the prompt, once
        ("a red ball on a green meadow", ["a"], [1, 5]),  # every occurrence
        ("a red ball on a green meadow", ["red ball"], [2, 3]),
        ("A RED Ball", ["red"], [2]),
        ("a red ball on a green meadow", [], []),
    ],
)
def test_positions_of_words_among_the_77(tokenizer, prompt, words, positions):
    assert tokenizer.positions(prompt, words) == positions


def test_positions_of_a_word_of_several_tokens(tokenizer):
    n = len(tokenizer.text_ids("xylophone"))
    assert n > 1  # the tiny tokenizer never saw it
    found = tokenizer.positions("a xylophone and a xylophone", ["xylophone"])
    assert found == [*range(2, 2 + n), *range(4 + n, 4 + 2 * n)]


ABSENT = [("a red ball", "duck"), ("a red ball", "redhead"), ("a redhead", "red"), ("a red ball", "")]


@pytest.mark.parametrize("prompt, word", [*ABSENT, ("ball " * 75 + "duck", "duck")])
def test_a_word_the_prompt_does_not_have_is_refused_and_named(tokenizer, prompt, word):
    refused(lambda: tokenizer.positions(prompt, [word]), f'"{word}"')


def test_text_states_are_all_77_of_the_last_layer_after_the_final_norm(sd):
    states = sd.encode_text(["a red ball", ""])
    ids = torch.stack([sd.tokenizer.encode(prompt).ids for prompt in ("a red ball", "")]).to(sd.device)
    hidden = sd.text_encoder.hidden_states(ids)[-1]
    norm = sd.text_encoder.text_model.final_layer_norm
    normalised = (hidden - hidden.mean(-1, keepdim=True)) / (hidden.var(-1, keepdim=True, unbiased=False) + 1e-5).sqrt()
    assert states.shape == (2, 77, 64) and not states.requires_grad
    torch.testing.assert_close(states, normalised * norm.weight + norm.bias, rtol=1e-4, atol=1e-5)


def test_as_many_layers_are_skipped_as_there_are(sd):
    ids = torch.zeros(1, 77, dtype=torch.long, device=sd.device)
    for layers in (2, -1):
        refused(lambda: sd.text_encoder(ids, skip_layers=layers), "2 layers")


def test_prompts_are_encoded_one_by_one_and_padding_is_not_masked(sd):
    pair = sd.encode_text(["a red ball", "the blue kite"])
    torch.testing.assert_close(pair[1:], sd.encode_text(["the blue kite"]), rtol=1e-4, atol=1e-5)
    # the padding's states know the text before them
    assert float((pair[0, 40:] - pair[1, 40:]).abs().max()) > 1e-3


def test_a_word_changes_only_states_at_and_after_it(sd):
    a, b = sd.encode_text(["a red ball", "a red duck"])
    torch.testing.assert_close(a[:3], b[:3], rtol=1e-4, atol=1e-5)
    assert bool(((a[3:] - b[3:]).abs().amax(dim=-1) > 1e-4).all())


def test_the_way_to_the_first_step_imports_nothing_heavy():
    """A second or two of CPU time each, before every video; none of them is needed to make one."""
    program = (
        "import sys, t2vz.pipelines.text_to_video; from t2vz import StableDiffusion, Video;"
        "StableDiffusion.load().encode_text(['a red ball', '']);"
        "print(*{'transformers', 'torch._dynamo', 'scipy', 'matplotlib', 'cv2', 'diffusers'} & sys.modules.keys())"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "\n"
