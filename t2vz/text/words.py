"""The words of a prompt, as people count them; what CLIP counts are tokens (tokenizer.py)."""

import re


def words_of(prompt: str) -> list[str]:
    """The words, small letters, in order: "A cat's well-lit room!" -> ["a", "cat's", "well-lit", "room"]."""
    return re.findall(r"\w+(?:['’-]\w+)*", prompt.lower())
