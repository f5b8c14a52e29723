"""The text side: CLIP's tokenizer, and its text tower."""

from .config import TextConfig
from .encoder import TextEncoder, encode_text
from .syntax import foreign_syntax
from .tokenizer import Tokenizer, Tokens
from .words import words_of

__all__ = ["TextConfig", "TextEncoder", "Tokenizer", "Tokens", "encode_text", "foreign_syntax", "words_of"]
