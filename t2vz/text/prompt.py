"""A prompt as people read it: its words (what CLIP counts are tokens: tokenizer.py), those of its subject, and what
other programs read in it as commands. Here a prompt is text alone, and a note says so."""

import re

WEIGHS = ("weighs words", "all words weigh the same")
# How it looks; what it does there; what there is here.
COMMANDS = [
    (r"<(?:lora|lyco|loha|lokr):[^<>]*>", "adds a LoRA", "name its file, --lora PATH:WEIGHT, loras=[(PATH, WEIGHT)]"),
    (r"<(?:hypernet|embedding|ti):[^<>]*>|\bembedding:[\w.-]+", "adds an embedding", "t2vz reads none"),
    (r"\([^()]*:\s*[-+]?\d*\.?\d+\s*\)|(?:\([^()]*)?\)(?:[+-]+|\d*\.?\d+)(?!\w)", *WEIGHS),
    (r"\(\([^()]+\)\)|\[\[[^\[\]]+\]\]", *WEIGHS),
    (r"\[[^][]*:[^][]*:?\s*\d*\.?\d+\s*\]|\[[^][]+\|[^][]+\]", "changes words on the way", "all steps read it all"),
    (r"\{[^{}]*\|[^{}]*\}|__[\w/-]+__", "chooses words by chance", "all of them are read"),
    (r"\bBREAK\b|\bAND\b", "joins prompts", "there is one prompt"),
]
PREPOSITIONS = frozenset(
    "in on at under over above below beside by near with behind before across through along around inside into onto of "
    "from to during against between among".split()
)
FUNCTION_WORDS = frozenset(
    "a an the one two three four five six some many several picture photo painting and or is are".split()
)


def words_of(prompt: str) -> list[str]:
    """The words, small letters, in order: "A cat's well-lit room!" -> ["a", "cat's", "well-lit", "room"]."""
    return re.findall(r"\w+(?:['’-]\w+)*", prompt.lower())


def subject_words(prompt: str) -> list[str]:
    """A guess at the words that name the foreground: those before the first preposition, articles and counts left out.

    "a red ball on a green meadow" -> ["red", "ball"]. "a picture of …" starts after "of". Pass words of your own where
    the guess is wrong. If nothing is left, all words of the prompt.
    """
    words = words_of(prompt)
    if "of" in words and set(words[: words.index("of")]) <= FUNCTION_WORDS:
        words = words[words.index("of") + 1 :]
    before = next((i for i, word in enumerate(words) if i > 0 and word in PREPOSITIONS), len(words))
    chosen = [word for word in words[:before] if word not in FUNCTION_WORDS and word not in PREPOSITIONS]
    return chosen or words


def foreign_syntax(prompt: str) -> list[str]:
    """A note for each kind of command of other programs that stands in a prompt."""
    notes = []
    for pattern, there, here in COMMANDS:
        found = re.search(pattern, prompt)
        if found and not (found[0].isupper() and prompt.isupper()):  # AND in a prompt of capitals is a word
            notes.append(f'"{found[0]}" {there} in other programs; t2vz reads it as letters like all others: {here}')
    return notes
