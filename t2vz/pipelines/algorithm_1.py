"""Algorithm 1 of Text2Video-Zero (arXiv 2303.13439), once, for `text_to_video`, `control_video` and `edit_video`.

The three differ in ε_θ alone, the guided prediction that a Job brings along: E5, E5 with E14, E15. Shapes: m frames of
c × h × w latent cells; an upper index counts frames from 1, a lower one is the timestep, as in the paper.

What is inside those lines, from the outside in:

    E3, E4    a step of `job.denoise`            schedulers.ddim_step, schedulers.euler_ancestral_step
    E5        ε_θ guided by the text             prediction.guided_by_text, schedulers.classifier_free_guidance
    E15       … by a picture and the text        edit.guided_by_image_and_text, schedulers.image_text_guidance
    E14       … with ControlNets in it           control.controlled
    E12, E11  attention to frame 1, in the UNet  attention.cross_frame_attention, attention.attention
"""

import torch
from torch import Tensor

from ..motion import dilate, global_motion, mask_to_latent, similarity_flow, smooth_background, translation_flow, warp
from ..schedulers import forward_jump
from .job import Job, Predict
from .masks import AttentionRecord, foreground_from_attention
from .trace import show


def algorithm_1(job: Job) -> Tensor:
    """The latents x_0 of all frames, (m, c, h, w), from noise. (`job.mine`: of several processes each makes some.)

    Where nothing moves (`job.moves` is false), frames start from `job.initial_noise()`, and E6–E9 are left out.
    Raises FailedError if the latents stop being finite.
    """
    T, T_prime, settings = job.T, job.T_prime, job.settings
    predict = job.make_predict(job)  # ε_θ(x, t), guided: E5 by the text, E15 by a picture and the text
    flow = motion_flow(job)[job.mine]  # E7
    if job.moves:
        noise, fresh = job.noise("x_T", job.mine[:1]), job.noise("forward", job.mine[1:])
        x_1_T = job.denoise(predict, noise, job.start, T, "frame 1 to T")  # E6
        x_1_T_prime = job.denoise(predict, x_1_T, T, T_prime, "frame 1 to T'")  # E6
        warped = warp(x_1_T_prime, flow[1:])  # E8
        ratio = job.sd.schedule.jump_ratio(T_prime, T, settings.jump_convention)
        forward = forward_jump(warped, ratio, fresh)  # E9
        x_T = torch.cat([x_1_T, forward])
        show({"x_T'": x_1_T_prime, "warped": warped, "forward": forward})
    else:
        x_T = job.initial_noise()
    show({"flow": flow, "x_T": x_T})
    if settings.smooth_background > 0:
        x_T = with_smooth_background(job, predict, x_T, flow)  # E13
    return job.denoise(predict, x_T, T, None, "all frames")  # E10; attention to frame 1 (E12) is inside ε_θ


def motion_flow(job: Job) -> Tensor:
    """E7 as a flow (m, 2, h, w) in latent cells: the caller's, or translation, zoom and rotation that grow with k.

    Zero where motion is off.
    """
    settings, m, h, w = job.settings, job.frames, job.h, job.w
    if job.flow is not None:
        return job.flow
    if settings.motion is None:
        return torch.zeros(m, 2, h, w, device="cpu")
    flow = translation_flow(global_motion(settings.motion, m), h, w, settings.flow_convention)
    k = torch.arange(m, dtype=torch.float64, device="cpu")
    return flow + similarity_flow(settings.zoom**k, settings.rotation * k, h, w)


def with_smooth_background(job: Job, predict: Predict, x_T: Tensor, flow: Tensor) -> Tensor:
    """E13 at T: x_T (m, c, h, w) with frame 1's background, moved along E7's flow, blended into the others'."""
    foreground, settings = find_foreground(job, predict, x_T), job.settings
    smoothed = smooth_background(x_T, foreground, flow, settings.smooth_background, settings.background_convention)
    show({"foreground": foreground, "smoothed": smoothed})
    return smoothed


def find_foreground(job: Job, predict: Predict, x_T: Tensor) -> Tensor:
    """E13's masks M^k, dilated: (m, 1, h, w) in {0, 1}. The caller's, or from the text attention of a first E10."""
    h, w = job.h, job.w
    if job.masks is not None:
        masks = mask_to_latent(job.masks, h, w).expand(job.frames, -1, -1, -1)[job.mine]
    else:
        record = AttentionRecord(h, w)
        job.denoise(lambda x, t: predict(x, t, record), x_T, job.T, None, "all frames, to find the foreground")
        masks = foreground_from_attention(record, job.sd.tokenizer, job.settings)
    return dilate(masks).to(x_T)
