"""Guidance: classifier-free, E5 (Ho & Salimans 2022, arXiv 2207.12598), and by text and image, E15."""

from torch import Tensor


def classifier_free_guidance(eps_negative: Tensor, eps_text: Tensor, guidance_scale: float) -> Tensor:
    """E5: ε = ε_∅ + w·(ε_τ − ε_∅). w = 1 is the text's prediction alone, w > 1 goes beyond it.

    eps_negative: prediction for the negative (by default empty) prompt; eps_text: for the prompt; same shape, any.
    """
    return eps_negative + guidance_scale * (eps_text - eps_negative)


def image_text_guidance(
    eps_none: Tensor, eps_image: Tensor, eps_both: Tensor, image_scale: float, text_scale: float
) -> Tensor:
    """E15: ε = ε_∅ + s_I·(ε_I − ε_∅) + s_T·(ε_{I,τ} − ε_I), for a network that reads an image and an instruction.

    eps_none: prediction without image and instruction; eps_image: with the image alone; eps_both: with both; same
    shape, any. image_scale s_I holds on to the image, text_scale s_T follows the instruction. The three weigh 1 − s_I,
    s_I − s_T and s_T. Source: Brooks et al. 2022, InstructPix2Pix (arXiv 2211.09800), eq. 3.
    """
    return eps_none + image_scale * (eps_image - eps_none) + text_scale * (eps_both - eps_image)
