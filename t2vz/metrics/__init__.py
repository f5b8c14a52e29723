"""Measures of videos, each a pure function: CLIP score (E16), consistency, motion, background, warp error.

clip_model.py  CLIP's vectors of pictures and texts; CLIP score and frame consistency from them
motion.py      measured global motion             pixels.py       warp error, background, histograms, PSNR
score.py       all of them for one video, by name
"""

from .clip_model import CLIP, clip_score, embed_images, embed_texts, frame_consistency, load_clip
from .motion import content_shift, measured_motion, motion_error, motion_per_frame, requested_motion
from .pixels import background_change, histogram_similarity, psnr, warp_error
from .score import MEASURES, score_video
