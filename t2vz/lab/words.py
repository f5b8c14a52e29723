"""Settings and measures in plain words, for reports."""

from ..metrics import MEASURES

ATTENTION = {
    "own": "each frame attends to itself: the network as it was trained",
    "first": "every frame attends to frame 1: cross-frame attention (E12)",
    "previous": "every frame attends to the frame before it",
    "first_previous": "every frame attends to frame 1 and the frame before it",
    "causal": "every frame attends to itself and all before it",
    "all": "every frame attends to all frames",
}
NOISE = {
    "independent": "every frame starts from noise of its own",
    "shared": "all frames start from the same noise",
    "mixed": "each frame's noise is a mixture of shared and own noise (PYoCo)",
    "progressive": "each frame's noise is a mixture of the frame before's and new noise (PYoCo)",
    "residual": "each frame's noise is shared noise plus a remainder of its own (VideoFusion)",
}
PLAIN = {  # setting -> words with {} for the value
    "t_prime": "motion is added at timestep T' = {}",
    "t": "all frames are denoised together from timestep T = {}",
    "steps": "{} denoising steps",
    "frames": "{} frames",
    "guidance_scale": "guidance scale {}",
    "noise_strength": "noise strength {}",
    "eta": "η = {}: 0 is DDIM, 1 is DDPM",
    "zoom": "the camera zooms by a factor {} a frame",
    "rotation": "the camera turns by {}° a frame",
    "height": "{} pixels high",
    "width": "{} pixels wide",
    "negative_prompt": "negative prompt: {}",
    "control_scale": "ControlNet's residuals times {}",
    "image_scale": "image guidance {}",
    "chunk": "{} frames at a time",
}
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
    "background_change": "The same outside the foreground, which the model's own text attention marks.",
}


def setting_in_words(name: str, value) -> str:
    """One setting as a phrase: ("attention", "own") -> "each frame attends to itself: …"."""
    if name == "attention":
        return ATTENTION.get(value, f"attention {value}")
    if name == "initial_noise":
        return NOISE.get(value, f"initial noise {value}")
    if name == "motion":
        if value is None:
            return "no motion dynamics: every frame starts from pure noise"
        x, y = (f"{number:g}" for number in value)
        return f"motion dynamics: the camera moves by ({x}, {y})/512 of the frame every frame (E7–E9)"
    if name == "smooth_background":
        return f"background smoothing, α = {value:g} (E13)" if value else "no background smoothing"
    shown = f"{value:g}" if isinstance(value, float) else "the default" if value is None else str(value)
    return PLAIN[name].format(shown) if name in PLAIN else f"{name.replace('_', ' ')}: {shown}"


def measure_in_words(name: str) -> str:
    """What a measure says, its range, and which end is better."""
    measure = MEASURES[name]
    better = f"{measure.best} is better" if measure.best else "neither end is better"
    scale = measure.scale[0].upper() + measure.scale[1:]
    return f"{MEANINGS.get(name, measure.label + '.')} {scale}; {better}.".replace("-1 to", "−1 to")
