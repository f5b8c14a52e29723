"""Pictures for pages: latents in false colour, attention as heat over a frame, masks, strips of frames; as PNG data."""

import base64
import io

import numpy as np
from PIL import Image
from torch import Tensor

from ..errors import library

RANGE = 2.5  # standard deviations of a noisy latent that the false colours span
SIDE = 256  # the larger side of pictures that stand in a grid, in pixels


def data_uri(kind: str, data: bytes) -> str:
    """Bytes as a data: address. kind: as "video/mp4"."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def picture_uri(picture: np.ndarray, format: str = "PNG", **options) -> str:
    """uint8 (H, W, 3) or (H, W) as a data: address, as PNG with no pixel changed. options: of Pillow's `save`."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(buffer, format, **(options or {"optimize": True}))
    return data_uri(f"image/{format.lower()}", buffer.getvalue())


def false_colours(latents: Tensor) -> np.ndarray:
    """Latents (f, c, h, w) -> uint8 (f, h, w, 3): channels 1 to 3 as red, green, blue, from −2.5 (dark) to 2.5."""
    shown = (latents[:, :3].detach().float().cpu() / (2 * RANGE) + 0.5).clamp(0, 1)
    return (255 * shown).round().byte().permute(0, 2, 3, 1).numpy()


def small(frames: np.ndarray, side: int = SIDE) -> np.ndarray:
    """Frames (m, H, W, 3) no larger than `side`; smaller ones stay as they are."""
    frames = np.asarray(frames)
    height, width = frames.shape[1:3]
    if max(height, width) <= side:
        return frames
    size = (max(1, round(width * side / max(height, width))), max(1, round(height * side / max(height, width))))
    return np.stack([np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.LANCZOS)) for frame in frames])


def strip(frames: np.ndarray) -> np.ndarray:
    """All frames in one row: (m, H, W, 3) -> (H, m·W, 3)."""
    return np.concatenate(list(frames), axis=1)


def heat_over(frame: np.ndarray, weights: Tensor) -> np.ndarray:
    """A frame (H, W, 3) in grey under weights (h, w) in colour, dark the least and bright the most; no blurring."""
    colormap = library("matplotlib", "heat maps need").colormaps["inferno"]
    weights = weights.detach().float().cpu().numpy()
    scaled = (weights - weights.min()) / max(float(weights.max() - weights.min()), 1e-12)
    scaled = _enlarged(scaled, frame.shape[:2])[:, :, None]
    colours = colormap(scaled[:, :, 0])[:, :, :3] * 255
    grey = frame.mean(axis=2, keepdims=True)
    opacity = 0.45 + 0.5 * scaled
    return np.clip((1 - opacity) * grey * 0.8 + opacity * colours, 0, 255).astype(np.uint8)


def masked(frame: np.ndarray, mask: Tensor) -> np.ndarray:
    """A frame (H, W, 3) with what the mask (h, w) leaves out, 0, faded and grey."""
    kept = _enlarged(mask.detach().float().cpu().numpy(), frame.shape[:2])[:, :, None]
    faded = 0.25 * frame.mean(axis=2, keepdims=True) + 0.75 * 236
    return (kept * frame + (1 - kept) * faded).astype(np.uint8)


def _enlarged(grid: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A grid (h, w) at a picture's size (H, W), nearest neighbour."""
    return np.asarray(Image.fromarray(grid.astype(np.float32)).resize(size[::-1], Image.Resampling.NEAREST))
