"""E11 and E12: attention, cross-frame attention and its variants, the key/value cache. Tensors in, tensors out."""

from .frames import (
    VARIANTS,
    cross_frame_attention,
    cross_frame_attention_plain,
    cross_frame_weights,
    frames_seen,
    looks_ahead,
    text_weights,
)
from .softmax import attention, attention_plain, attention_weights
from .view import FrameView, KeyValueCache, Look
