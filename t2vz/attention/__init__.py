"""E11 and E12: attention, cross-frame attention and its variants, first-frame memory. Tensors in, tensors out."""

from .attention import attention, attention_plain, attention_weights
from .frames import VARIANTS, cross_frame_attention, cross_frame_attention_plain, cross_frame_weights, frames_seen
from .memory import AttentionRecord, FrameMemory, FrameView

__all__ = [
    "VARIANTS",
    "AttentionRecord",
    "FrameMemory",
    "FrameView",
    "attention",
    "attention_plain",
    "attention_weights",
    "cross_frame_attention",
    "cross_frame_attention_plain",
    "cross_frame_weights",
    "frames_seen",
]
