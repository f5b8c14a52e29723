"""What a Job refuses before any work is done, and what it says about settings that do less than they promise."""

from dataclasses import fields
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..attention import frames_seen
from ..errors import InputError
from .masks import subject_positions
from .prediction import needs_later_frames
from .randomness import SHAPES
from .source import size_in_words

if TYPE_CHECKING:
    from .job import Job


CONVENTIONS = ("start_convention", "jump_convention", "flow_convention")  # of motion dynamics
STRENGTHS = ("mixed", "progressive", "residual")  # initial noises that have a strength


def check_job(job: "Job") -> None:
    """Raise InputError for what cannot work, one line; add to job.notes what the user should know."""
    check_share(job)
    check_noise(job)
    check_inverted(job)
    check_tensors(job)
    if job.finds_foreground:
        subject_positions(job.sd.tokenizer, job.settings)  # raises if no word is foreground
    say_what_has_no_effect(job)


def check_share(job: "Job") -> None:
    """Refuse several processes where frames need more of each other than of the first."""
    settings, m = job.settings, job.frames
    if job.share.ranks == 1:
        return
    if job.sd.unet.config.temporal_attention:
        raise InputError("a tuned model's frames look at each other, so processes cannot share them; run one process")
    if any(set(frames_seen(settings.attention, k, m)) - {0, k} for k in range(m)):
        raise InputError(
            f'attention "{settings.attention}" looks at frames of other processes; start one process, or choose '
            '"first" or "own"'
        )
    if settings.temporal_shift > 0:
        raise InputError(
            f"temporal_shift = {settings.temporal_shift} needs the frames of other processes; start one process"
        )


def check_noise(job: "Job") -> None:
    """Refuse tensors in place of draws that would be ignored or do not fit."""
    given, settings = job.draws.given, job.settings
    of_kind = {"independent": {"shared"}, "progressive": {"shared"}, "shared": {"initial"}}
    of_kind["inverted"] = {"initial", "shared"}
    without_use = {
        "motion on": {"initial", "shared"} if job.moves else set(),
        "motion off": set() if job.moves else {"x_T", "forward"},
        f'initial noise "{settings.initial_noise}"': of_kind.get(settings.initial_noise, set()),
        "eta = 0, which adds none": {"eta"} if settings.eta == 0 else set(),
        'the sampler "ddim", which adds none': {"ancestral"} if settings.sampler == "ddim" else set(),
    }
    for why, names in without_use.items():
        for name in sorted(names & set(given)):
            raise InputError(f'noise "{name}" has no use with {why}')
    for name, tensor in given.items():
        _check_numbers(f'noise "{name}"', tensor, (*SHAPES[name](job.frames, settings.steps), *job.latent))


def check_inverted(job: "Job") -> None:
    """Refuse to start from an inverted video that is not there or does not fit; say if it is from another T."""
    inverted, tuned = job.sd.inverted, job.sd.defaults.get("generate", {})
    if job.settings.initial_noise != "inverted":
        return
    if inverted is None:
        raise InputError('initial noise "inverted" is for models tuned on a video; t2vz tune makes one')
    if tuple(inverted.shape) != (job.frames, *job.latent):
        m, _, h, w = inverted.shape
        size = size_in_words((m, h * job.sd.vae.factor, w * job.sd.vae.factor))
        asked = size_in_words((job.frames, job.settings.height, job.settings.width))
        raise InputError(f"this model was tuned on {size}, and starts from them; {asked} were asked for")
    if job.settings.steps != tuned.get("steps", job.settings.steps):
        job.notes.append(
            f"the video was inverted in {tuned['steps']} steps; {job.settings.steps} start at another timestep, "
            "so expect less of it"
        )


def check_tensors(job: "Job") -> None:
    """Refuse masks and a flow that do not fit, settings that a flow replaces, and hooks that cannot be called."""
    settings, m, masks, flow = job.settings, job.frames, job.masks, job.flow
    for name in ("progress", "on_step"):
        if getattr(job, name) is not None and not callable(getattr(job, name)):
            raise InputError(f"{name} must be a function; got a {type(getattr(job, name)).__name__}")
    for name, value in (("masks", masks), ("flow", flow)):
        if value is not None and not isinstance(value, Tensor):
            raise InputError(f"{name} must be a tensor; got a {type(value).__name__}: torch.as_tensor makes one")
    if masks is not None and (masks.ndim != 4 or masks.shape[0] not in (1, m) or masks.shape[1] != 1):
        raise InputError(
            f"masks must have shape ({m} or 1, 1, H, W), white (1) where the foreground is; got {tuple(masks.shape)}"
        )
    if masks is not None and not bool(((masks >= 0) & (masks <= 1)).all()):
        raise InputError("masks must lie between 0, background, and 1, foreground; divide pixels by 255")
    if flow is None:
        return
    _check_numbers("flow", flow, (m, 2, job.h, job.w), ", latent cells (x, y) for every frame")
    camera = settings.zoom != 1 or settings.rotation != 0
    if camera or settings.initial_noise != type(settings).initial_noise:
        raise InputError("a flow replaces motion, zoom, rotation and initial noise; leave those at their defaults")


def _check_numbers(name: str, tensor: Tensor, shape: tuple[int, ...], what: str = "") -> None:
    """Refuse a tensor that is not of this shape, or holds other than finite numbers. what: the shape in words."""
    if tuple(tensor.shape) != shape:
        raise InputError(f"{name} must have shape {shape}{what}; got {tuple(tensor.shape)}")
    if not tensor.is_floating_point():
        raise InputError(f"{name} must be of a floating type; got {tensor.dtype}: .float() makes one")
    if not bool(torch.isfinite(tensor).all()):
        raise InputError(f"{name} holds a NaN or an infinity; only finite numbers make a video")


def say_what_has_no_effect(job: "Job") -> None:
    """Notes on settings that do nothing, or less than they promise."""
    settings, masks = job.settings, job.masks
    why = needs_later_frames(job.sd.unet, settings)
    if why and (settings.chunk or job.frames) < job.frames:
        job.notes.append(f"{why} looks at later frames too, so chunk is ignored and memory grows with m")
    own = {one.name: one.default for one in fields(settings)} | job.sd.defaults.get(settings.TASK, {})
    smooth = settings.smooth_background > 0
    idle = {
        "with motion off": () if job.moves else ("t", "t_prime", *CONVENTIONS),
        "beside a flow": () if job.flow is None else ("motion", "flow_convention"),
        "with this initial noise": () if settings.initial_noise in STRENGTHS else ("noise_strength",),
        "without smooth_background (0.6 in the paper)": () if smooth else ("background_convention",),
    }
    for where, names in idle.items():
        for name in names:
            if getattr(settings, name) not in (own[name], None):
                job.notes.append(f"{name} has no effect {where}")
    if settings.smooth_background == 0 and (masks is not None or settings.foreground is not None):
        job.notes.append("masks and foreground words have no effect without smooth_background (0.6 in the paper)")
    elif masks is not None and settings.foreground is not None:
        job.notes.append("foreground words have no effect beside masks")
    if job.grid[0] < 700:
        job.notes.append(
            f"{settings.steps} steps start at timestep {job.grid[0]}, where a picture is not pure "
            "noise yet; expect a pale one (50 steps start at 981)"
        )
