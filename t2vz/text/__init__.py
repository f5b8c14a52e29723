"""The text side: CLIP's tokenizer, and its text tower."""

from .config import TextConfig
from .encoder import TextEncoder, encode_text
from .prompt import foreign_syntax, subject_words, words_of
from .tokenizer import Tokenizer, Tokens
