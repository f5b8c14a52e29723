"""The text side: CLIP's tokenizer and text tower, on `transformers`."""

from .encoder import encode_text
from .tokenizer import Tokenizer, Tokens

__all__ = ["Tokenizer", "Tokens", "encode_text"]
