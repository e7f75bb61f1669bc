"""Tells gray, toned and color photographs apart."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retint_models.layers.color import CB_SCALE, CR_SCALE, LUMA

# Limits of chroma in code values of 255, for `detect_kind`. Set on 204 color photographs (one taken for toned), 35 real
# old ones (all 6 in color found, 27 of 29 monochrome ones) and 510 simulated prints (none missed).
GRAY_CHROMA = 4.0
WEAK_CHROMA = 9.0
MAX_RESIDUAL_95 = 8.0
MAX_ACROSS_95 = 2.8
MAX_ACROSS_99 = 4.3
LUMA_GROUPS = 24
SIDE = 96
RIM = 1 / 20
"""Share of each side that is ignored: mounts and scanner beds lie there."""


def detect_kind(pixels: NDArray[np.uint8]) -> str:
    """Tell `neutral` (gray), `toned` (one hue, such as sepia or cyanotype) and `color` apart, on a proxy (h, w, 3).

    In a toned print chroma follows from luma. So the residual after subtracting the median chroma of each luma is
    small. Across the print's own hue it is smaller still, because stains and uneven toning lie along the hue.
    """
    rgb = _shrink_and_crop(pixels)
    luma = rgb @ LUMA
    chroma = np.stack([(rgb[:, 2] - luma) / CB_SCALE, (rgb[:, 0] - luma) / CR_SCALE], -1)
    strength = np.percentile(np.hypot(*chroma.T), 99)
    if strength < GRAY_CHROMA:
        return "neutral"
    return "toned" if strength < WEAK_CHROMA or _has_single_hue(luma, chroma) else "color"


def _shrink_and_crop(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Shrink a picture, cut off its rim, and return its pixels in one row, (n, 3)."""
    size = tuple(max(1, round(length * SIDE / max(pixels.shape))) for length in pixels.shape[1::-1])
    rgb = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BOX), np.float64)
    rows, columns = (round(length * RIM) for length in rgb.shape[:2])
    return rgb[rows : len(rgb) - rows, columns : rgb.shape[1] - columns].reshape(-1, 3)


def _has_single_hue(luma: NDArray[np.float64], chroma: NDArray[np.float64]) -> bool:
    """Whether chroma (n, 2) follows from luma (n,), as in a toned print."""
    residual = chroma.copy()
    for group in np.array_split(np.argsort(luma, kind="stable"), LUMA_GROUPS):
        residual[group] -= np.median(chroma[group], axis=0)
    hue = chroma.mean(axis=0) / max(np.hypot(*chroma.mean(axis=0)), 1e-6)
    across = np.abs(residual @ (-hue[1], hue[0]))
    return bool(
        np.percentile(np.hypot(*residual.T), 95) < MAX_RESIDUAL_95
        and np.percentile(across, 95) < MAX_ACROSS_95
        and np.percentile(across, 99) < MAX_ACROSS_99
    )
