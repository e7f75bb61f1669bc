"""Real photographs for tests, from packages that every checkout installs."""

from pathlib import Path
from typing import Any

import numpy as np
import skimage.data
from numpy.typing import NDArray
from PIL import Image

from retint_models.datasets import fading
from retint_models.layers.color import LUMA

Pixels = NDArray[Any]

NAMES = ("astronaut", "chelsea", "coffee", "rocket")
LEAST_DETAIL = 2.5
"""Mean difference of neighbors' luma, of 255, below which a print of a crop may be called blank."""


def color_photo(number: int, side: int = 256) -> NDArray[np.uint8]:
    """Return a color photograph, uint8 (side, side, 3): a different crop for every number, never of sky alone."""
    photo = getattr(skimage.data, NAMES[number % len(NAMES)])()
    random = np.random.default_rng(number)
    while True:
        size = int(random.integers(220, min(photo.shape[:2])))
        top, left = (int(random.integers(0, extent - size + 1)) for extent in photo.shape[:2])
        crop = photo[top : top + size, left : left + size]
        if np.abs(np.diff(to_gray(crop).astype(float))).mean() >= LEAST_DETAIL:
            return np.asarray(Image.fromarray(crop).resize((side, side), Image.Resampling.LANCZOS))


def write_old_prints(folder: Path, count: int, side: int = 256, first: int = 0) -> Path:
    """Write simulated old prints (gray, faded, all different) as JPEG files into two folders; return the parent."""
    for number in range(first, first + count):
        path = folder / ("attic" if number % 2 else "cellar") / f"print {number:04}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(fading.make_old_print(color_photo(number, side), seed=number)).save(path, quality=90)
    return folder


def to_gray(rgb: Pixels) -> Pixels:
    """Convert uint8 RGB to its rounded luma, uint8 (h, w)."""
    return np.asarray(rgb @ np.array(LUMA) + 0.5, np.uint8)


def to_16_bits(pixels: Pixels) -> Pixels:
    """Widen uint8 pixels to uint16, with noise in the low bits."""
    noise = np.random.default_rng(5).integers(0, 257, pixels.shape)
    return np.asarray(np.minimum(pixels.astype(np.uint32) * 257 + noise, 65535), np.uint16)


def to_sepia(gray: Pixels) -> Pixels:
    """Tone a gray photograph brown, uint8 (h, w, 3)."""
    return np.asarray((gray[..., None] / 255) ** np.array([0.8, 1.0, 1.3]) * 255 + 0.5, np.uint8)
