"""Classifier-free guidance, E5 (Ho & Salimans 2022, arXiv 2207.12598)."""

from torch import Tensor


def classifier_free_guidance(eps_negative: Tensor, eps_text: Tensor, guidance_scale: float) -> Tensor:
    """E5: ε = ε_∅ + w·(ε_τ − ε_∅). w = 1 is the text's prediction alone, w > 1 goes beyond it.

    eps_negative: prediction for the negative (by default empty) prompt; eps_text: for the prompt; same shape, any.
    """
    return eps_negative + guidance_scale * (eps_text - eps_negative)
