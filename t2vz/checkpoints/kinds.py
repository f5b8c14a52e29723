"""Which model a safetensors file holds, told by its keys and a few shapes; and what to do with another.

A whole Stable Diffusion, or a UNet in a folder, is known by itself: a stray key beside it is named when the file is
loaded, and does not make it another model. Then come rows of marks, tried from the top: the order matters, because
SDXL, SD 2.x and Zero123 files also hold what marks Stable Diffusion 1.x. File names are often wrong, and not asked.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import InputError
from . import layouts

Shapes = Mapping[str, tuple[int, ...]]

FIRST = "input_blocks.0.0.weight"  # a single file's first convolution
TEXT = layouts.TEXT + "*"
WHOLE = "give a whole Stable Diffusion 1.x checkpoint (one file, or a folder with unet/ vae/ text_encoder/)"
PART = "it is one part; give the folder that holds unet/ vae/ text_encoder/"
LORA = "give the checkpoint it was made for, and the LoRA beside it (--lora PATH, or loras=[PATH])"
CONTROL_LORA = "give the whole ControlNet it was made from (--controlnet PATH), and a checkpoint"
TOWER = "a text encoder alone"
STEERS = "it steers a checkpoint and is none itself; " + WHOLE


@dataclass(frozen=True)
class Kind:
    """kind: a short word. words: the model's name for a message. layout: "single-file" or "folder" names.

    advice: what to do when a whole checkpoint was wanted; None for what may be part of one.
    """

    kind: str
    words: str
    layout: str = "single-file"
    advice: str | None = WHOLE


# What a key contains, or how it begins if that ends in "*"; what the file is. Tried in this order.
MODELS = [
    ("lora_controlnet*", Kind("control-lora", "a control-LoRA (low-rank changes of a UNet)", advice=CONTROL_LORA)),
    (
        "lora_down lora_A lora.down lora_linear_layer. lora_up hada_w1 lokr_w1 oft_blocks",
        Kind("lora", "a LoRA (changes to a model, not a model)", "folder", LORA),
    ),
    ("conditioner.embedders.* model.diffusion_model.label_emb.*", Kind("sdxl", "SDXL")),
    ("cond_stage_model.model.*", Kind("sd2", "Stable Diffusion 2.x")),
    ("cc_projection.weight", Kind("zero123", "Zero123")),
    ("joint_blocks.", Kind("sd3", "Stable Diffusion 3")),
    ("double_blocks.", Kind("flux", "Flux")),
]
CONTROLNETS = [
    ("input_hint_block.0.weight", Kind("controlnet", "a ControlNet", advice=STEERS)),
    ("controlnet_cond_embedding.conv_in.weight*", Kind("controlnet", "a ControlNet", "folder", STEERS)),
]
PARTS = [
    ("encoder.down_blocks.*", Kind("vae", "a VAE alone", "folder", PART)),
    ("encoder.down.* first_stage_model.encoder.down.*", Kind("vae", "a VAE alone")),
    (TEXT, Kind("text", TOWER)),
    ("text_model.embeddings.* embeddings.token_embedding.weight*", Kind("text", TOWER, "folder", PART)),
]
# A UNet's first convolution reads 4 channels; others read more than the noisy latent.
BY_CHANNELS = {
    4: ("sd1", "Stable Diffusion 1.x", None),
    8: ("instruct-pix2pix", "InstructPix2Pix", None),
    9: ("inpainting", "an inpainting model (9 input channels)", WHOLE + " that is not for inpainting"),
}
# The width of the text states that a UNet of 320 channels reads.
BY_CONTEXT = {1024: ("sd2", "Stable Diffusion 2.x"), 2048: ("sdxl", "SDXL"), 1280: ("refiner", "the SDXL refiner")}


def identify(shapes: Shapes) -> Kind:
    """Tell a file by its keys and shapes (`{key: shape}`); kind "unknown" if nothing fits."""
    single = layouts.UNET + FIRST in shapes
    if single and _has(shapes, TEXT):
        return _unet(shapes, layouts.UNET, FIRST, "single-file")
    if "conv_in.weight" in shapes and _has(shapes, "up_blocks.*"):
        return _unet(shapes, "", "conv_in.weight", "folder")
    if kind := _first(shapes, MODELS):
        return kind
    if single:
        return _unet(shapes, layouts.UNET, FIRST, "single-file")
    if kind := _first(shapes, CONTROLNETS):
        delta = {"kind": "controlnet-delta", "words": "a ControlNet stored as differences from a UNet"}
        return replace(kind, **delta) if "difference" in shapes else kind
    if kind := _displaced_unet(shapes):
        return kind
    kind = _first(shapes, PARTS) or Kind("unknown", "no model t2vz knows")
    if kind.kind == "vae" and _has(shapes, TEXT):
        return replace(kind, words="a VAE and a text encoder, without a UNet")
    return kind


def refuse(kind: Kind, path: Path | str, shapes: Shapes) -> None:
    """Raise InputError that says which model the file at `path` is, and what to do instead."""
    words, advice = kind.words, kind.advice
    if advice is None and kind.layout == "folder":  # the right model in the wrong place
        words, advice = "a UNet alone", PART
    elif advice is None:
        words, advice = "a whole checkpoint inside a folder for one part", "give the file itself"
    seen = f" (its first key: {min(shapes)})" if kind.kind == "unknown" and shapes else ""
    raise InputError(f"{path}: this is {words}{seen}, and t2vz runs Stable Diffusion 1.x; {advice}")


def _has(shapes: Shapes, marks: str) -> bool:
    """Whether any key has any of the marks, which are separated by spaces."""
    return any(
        key.startswith(mark[:-1]) if mark.endswith("*") else mark in key for mark in marks.split() for key in shapes
    )


def _first(shapes: Shapes, table: list[tuple[str, Kind]]) -> Kind | None:
    """The first row of a table whose marks a file has."""
    return next((kind for marks, kind in table if _has(shapes, marks)), None)


def _displaced_unet(shapes: Shapes) -> Kind | None:
    """A UNet under other names than programs look for: another prefix than a single file's, or none; or EMA copies."""
    if layouts.ema_key(layouts.UNET + FIRST) in shapes:
        return Kind("ema", f"a UNet's moving average (EMA) alone, without the UNet ({layouts.UNET}…) itself")
    single = (FIRST, "out.2.weight", layouts.UNET)
    for first, mark, wanted in (single, ("conv_in.weight", "time_embedding.linear_1.weight", "")):
        for key in shapes:
            prefix = key.removesuffix(first)
            if key.endswith(first) and prefix + mark in shapes:
                words = _unet(shapes, prefix, first, "single-file").words
                has, should = (f'the prefix "{name}"' if name else "no prefix" for name in (prefix, wanted))
                return Kind("displaced", f"a UNet ({words}) whose keys have {has}, and should have {should}")
    return None


def _unet(shapes: Shapes, prefix: str, first: str, layout: str) -> Kind:
    """Which UNet: by what its first convolution reads, and by the width of the text states it reads."""
    width, channels = (*shapes[prefix + first], 0, 0)[:2]
    readers = sorted(key for key in shapes if key.startswith(prefix) and key.endswith("attn2.to_k.weight"))
    context = next((shapes[key][1] for key in readers if len(shapes[key]) == 2), None)
    if width == 320 and context in BY_CONTEXT:  # networks of other widths are small ones, and choose freely
        return Kind(*BY_CONTEXT[context], layout)
    if channels not in BY_CHANNELS:
        return Kind("unknown-unet", f"a UNet that reads {channels} channels", layout)
    kind, words, advice = BY_CHANNELS[channels]
    if context is None:
        return Kind("unknown-unet", "a UNet without text cross-attention", layout)
    return Kind(kind, words, layout, advice)
