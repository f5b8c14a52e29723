"""Measures in plain words, for reports; those of settings stand where these are declared (pipelines/settings.py)."""

from .costs import MEASURES

MEANINGS = {
    "clip_score": "How well the frames show what the prompt says, to a CLIP: 100 · the mean cosine of frame and text.",
    "consistency_next": "Mean cosine of the CLIP vectors of neighbouring frames: does the look stay? Stills have 1.",
    "consistency_first": "The same between every frame and frame 1: a slow drift lowers it too.",
    "histogram_similarity": "Overlap of the colour histograms of neighbouring frames: are the colours the same?",
    "motion_x": "How far the camera was seen to move to the right each frame, by phase correlation of the background.",
    "motion_y": "The same downwards.",
    "motion_match": "Correlation of frame 1 and the others after undoing the measured motion: below about 0.5 the "
    "frames have nothing in common that could have moved.",
    "motion_error": "Mean distance between measured motion and the motion asked for (none, where motion is off). The "
    "latent is warped by whole cells of 8 pixels, so up to about 4 pixels are the method's own.",
    "warp_error": "Mean grey level difference to frame 1 after undoing the measured motion.",
    "warp_error_asked": "Mean grey level difference to frame 1 after undoing the motion that was asked for.",
    "cpu_seconds": "Processor time of all threads, from the noise to the frames.",
    "peak_memory": "The most memory held while the video was made, above what was held before.",
    "latent_error": "|x_0 − exact x_0| / |exact x_0|: the latents, compared with those of the same video made without "
    "approximations. 0 is the same video; two videos of other seeds have about √2.",
    "background_change": "The same outside the foreground, which the model's own text attention marks.",
}


def measure_in_words(name: str) -> str:
    """What a measure says, its range, and which end is better."""
    measure = MEASURES[name]
    better = f"{measure.best} is better" if measure.best else "neither end is better"
    scale = measure.scale[0].upper() + measure.scale[1:]
    return f"{MEANINGS.get(name, measure.label + '.')} {scale}; {better}.".replace("-1 to", "−1 to")
