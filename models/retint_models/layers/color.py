"""sRGB, linear reflectance, optical density, Rec. 709 luma and chroma, in numpy.

sRGB, luma and chroma are gamma-coded: sRGB and luma in [0, 1], chroma (Cb, Cr) in [-.5, .5]. Linear reflectance R is in
[0, 1]; optical density is D = -log10(R), from 0 (white) to 4 (black). Results have the floating type of their input.
Sources: IEC 61966-2-1 (sRGB), ITU-R BT.709-6 (luma and chroma).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

LUMA = (0.2126, 0.7152, 0.0722)
"""Rec. 709 weights of R', G' and B' in luma (ITU-R BT.709-6, item 3.2)."""
CB_SCALE = 1.8556
CR_SCALE = 1.5748
"""What B' - Y' and R' - Y' are divided by to give Cb and Cr."""
DARKEST = 1e-4
"""Linear reflectance of density 4, the darkest there is; smaller values are below one code value of 8-bit sRGB."""


def srgb_to_linear(srgb: Array) -> Array:
    """Return the linear reflectance of sRGB."""
    return np.where(srgb <= 0.04045, srgb / 12.92, ((np.maximum(srgb, 0.04045) + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(linear: Array) -> Array:
    """Return the sRGB of linear reflectance, which is clipped to [0, 1]."""
    linear = np.clip(linear, 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * np.maximum(linear, 0.0031308) ** (1 / 2.4) - 0.055)


def srgb_to_density(srgb: Array) -> Array:
    """Return the optical density of sRGB."""
    density: Array = -np.log10(np.maximum(srgb_to_linear(srgb), DARKEST))
    return density


def density_to_srgb(density: Array) -> Array:
    """Return the sRGB of optical densities; what is brighter than white becomes white."""
    return linear_to_srgb(10.0**-density)


def rec709_luma(rgb: Array) -> Array:
    """Return the luma (..., 1) of sRGB (..., 3)."""
    luma: Array = rgb @ np.array(LUMA, rgb.dtype)
    return luma[..., None]


def rec709_chroma(rgb: Array) -> Array:
    """Return Cb and Cr (..., 2) of sRGB (..., 3)."""
    luma = rec709_luma(rgb)[..., 0]
    return np.stack([(rgb[..., 2] - luma) / CB_SCALE, (rgb[..., 0] - luma) / CR_SCALE], axis=-1)


def join_luma_chroma(luma: Array, chroma: Array) -> Array:
    """Return sRGB (..., 3) of luma (..., 1) and chroma (..., 2); out of gamut chroma is reduced, never luma."""
    blue, red = chroma[..., :1] * CB_SCALE, chroma[..., 1:] * CR_SCALE
    green = -(LUMA[0] * red + LUMA[2] * blue) / LUMA[1]
    difference = np.concatenate([red, green, blue], axis=-1).astype(luma.dtype)
    room = np.where(difference > 0, 1 - luma, luma) / np.maximum(np.abs(difference), 1e-6)
    rgb: Array = np.clip(luma + np.minimum(1, room.min(axis=-1, keepdims=True)) * difference, 0, 1)
    return rgb
