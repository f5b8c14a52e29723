"""What other programs read as commands in a prompt. Here a prompt is text alone, and a note says so."""

import re

# How it looks; what it does there; what there is here.
COMMANDS = [
    (
        r"<(?:lora|lyco|loha|lokr):[^<>]*>",
        "adds a LoRA",
        "name its file with --lora PATH:WEIGHT, loras=[(PATH, WEIGHT)]",
    ),
    (r"<(?:hypernet|embedding|ti):[^<>]*>|\bembedding:[\w.-]+", "adds an embedding", "t2vz reads none"),
    (r"\([^()]*:\s*[-+]?\d*\.?\d+\s*\)|\)[+-]+(?!\w)", "weighs words", "all words weigh the same"),
    (r"\(\([^()]+\)\)|\[\[[^\[\]]+\]\]", "weighs words", "all words weigh the same"),
    (
        r"\[[^\[\]]*:[^\[\]]*:?\s*\d*\.?\d+\s*\]|\[[^\[\]]+\|[^\[\]]+\]",
        "changes words on the way",
        "all steps read it all",
    ),
    (r"\{[^{}]*\|[^{}]*\}|__[\w/-]+__", "chooses words by chance", "all of them are read"),
    (r"\bBREAK\b|\bAND\b", "joins prompts", "there is one prompt"),
]


def foreign_syntax(prompt: str) -> list[str]:
    """A note for each kind of command of other programs that stands in a prompt."""
    notes = []
    for pattern, there, here in COMMANDS:
        found = [match[0] for match in re.finditer(pattern, prompt)]
        if found and not (found[0].isupper() and prompt.isupper()):  # AND in a prompt of capitals is a word
            notes.append(f'"{found[0]}" {there} in other programs; t2vz reads it as letters like all others: {here}')
    return notes
