"""How DeOldify shows a picture to a generator and takes its colors: a gray square in, luma of the picture kept.

Facts: Jason Antic, DeOldify, https://github.com/jantic/DeOldify (MIT), `deoldify/filters.py`; written afresh.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from retint_models.deoldify import MEAN, STD

RENDER_FACTORS = range(7, 46)
"""Sides of the square that a generator sees, in units of 16 pixels."""


def colorized(network: nn.Module, picture: NDArray[np.uint8], render_factor: int) -> NDArray[np.uint8]:
    """Color a picture as DeOldify does, without its watermark.

    The network sees a gray square of 16 times the render factor; luma stays that of the picture.

    Args:
        network: A generator; it decides on (1, 3, h, w).
        picture: uint8 (h, w, 3), RGB; its own colors are not used.
        render_factor: 7 to 45.

    Returns:
        uint8 (h, w, 3), RGB.

    Raises:
        ValueError: not such a picture or render factor.
    """
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or 0 in picture.shape:
        raise ValueError(f"expected a uint8 picture (h, w, 3), not {picture.dtype} {picture.shape}")
    if render_factor not in RENDER_FACTORS:
        raise ValueError(f"a render factor is a whole number from 7 to 45, not {render_factor}")
    height, width, _ = picture.shape
    square = colored_square(network, gray_square(picture, render_factor))
    stretched = np.asarray(Image.fromarray(square).resize((width, height), Image.Resampling.BILINEAR))
    return merged(picture, stretched)


def gray_square(picture: NDArray[np.uint8], render_factor: int) -> NDArray[np.uint8]:
    """Return what the network sees of uint8 (h, w, 3): uint8 (side, side), gray, whatever the aspect."""
    side = 16 * render_factor
    square = Image.fromarray(picture).resize((side, side), Image.Resampling.BILINEAR)
    return np.asarray(square.convert("L"))


@torch.inference_mode()
def colored_square(network: nn.Module, gray: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the network's colors, uint8 (h, w, 3), of gray uint8 (h, w)."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    x = (torch.from_numpy(gray.astype(np.float32)).expand(1, 3, -1, -1) / 255 - mean) / std
    rgb = (network(x)[0].float() * std + mean).clamp(0, 1)
    cut: NDArray[np.uint8] = (255 * rgb).to(torch.uint8).permute(1, 2, 0).contiguous().numpy()  # not rounded
    return cut


def merged(picture: NDArray[np.uint8], colors: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Join the luma of one RGB picture with the chroma of another, both uint8 (h, w, 3).

    Rec. 601 in integers of 14 bits, as OpenCV converts 8-bit YUV, hence exactly what the original gives.
    """
    luma = luma_of(picture)
    own = luma_of(colors)
    half, middle = 1 << 13, 128 << 14
    u = np.clip((8061 * (colors[..., 2] - own) + middle + half) >> 14, 0, 255) - 128
    v = np.clip((14369 * (colors[..., 0] - own) + middle + half) >> 14, 0, 255) - 128
    red = luma + ((18678 * v + half) >> 14)
    green = luma + ((-9519 * v - 6472 * u + half) >> 14)
    blue = luma + ((33292 * u + half) >> 14)
    rgb: NDArray[np.uint8] = np.clip(np.stack([red, green, blue], -1), 0, 255).astype(np.uint8)
    return rgb


def luma_of(rgb: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Return Rec. 601 luma, int32 (h, w) in 0..255, of uint8 (h, w, 3)."""
    red, green, blue = np.moveaxis(rgb.astype(np.int32), -1, 0)
    luma: NDArray[np.int32] = (4899 * red + 9617 * green + 1868 * blue + (1 << 13)) >> 14
    return luma
