"""Pictures as judges handle them: uint8 arrays (h, w, 3) and float tensors (3, h, w)."""

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

Pixels = NDArray[np.uint8]


def to_tensor(pixels: Pixels) -> Tensor:
    """Convert uint8 (h, w, 3) to float32 (3, h, w) in [0, 1]."""
    return torch.from_numpy(np.array(pixels)).permute(2, 0, 1).float() / 255


def to_pixels(rgb: Tensor) -> Pixels:
    """Round (3, h, w) in [0, 1] to uint8 (h, w, 3)."""
    pixels: Pixels = (255 * rgb.clamp(0, 1)).round().byte().permute(1, 2, 0).cpu().numpy()
    return pixels


def halve(pixels: Pixels) -> Pixels:
    """Reduce a picture to half its size with a box filter."""
    size = (max(1, pixels.shape[1] // 2), max(1, pixels.shape[0] // 2))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BOX))
