"""Measures of videos, each a pure function: CLIP score (E16), consistency, motion, background, warp error."""
