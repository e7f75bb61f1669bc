"""What a photo looks like, cell by cell: for comparing a result with what it should look like.

Both sides go through lcms, never through the arithmetic that rendered the result, so that a wrong conversion cannot
confirm itself.
"""

from typing import Any

import numpy as np
import pyvips
from numpy.typing import NDArray

from retint_models.layers.color import srgb_to_linear
from retint_models.layers.rendering import Rendering
from retint_models.layers.types import ColorLayer, DensityLayer
from retint_workers.imaging import profiles
from retint_workers.imaging.formats import Header
from retint_workers.imaging.previews import Downscaler

Cells = NDArray[np.float64]
"""Mean sRGB of square cells of a picture, float64 (h, w, 3) in [0, 1]."""


def measure(smaller: Downscaler, header: Header) -> Cells:
    """Return what a smaller copy of a photo looks like, by what the header says of its colors."""
    return _average(profiles.to_srgb(smaller.image(), header.space.equivalent, depth=16), smaller.cell)


def predict(before: Downscaler, header: Header, color: ColorLayer | None, density: DensityLayer | None) -> Cells:
    """Return what a result should look like: the photo's smaller copy in sRGB, with the layers applied there."""
    srgb = profiles.to_srgb(before.image(), header.space.equivalent, depth=16).numpy()
    pixels = np.ascontiguousarray(srgb[..., 1] if header.bands == 1 else srgb)
    rendered = Rendering(color, density, orientation=header.orientation).apply(pixels, 0, pixels.shape[:2])
    if rendered.ndim == 2:
        rendered = np.repeat(rendered[..., None], 3, axis=2)
    return _average(pyvips.Image.new_from_array(rendered), before.cell)


def _average(srgb: pyvips.Image, cell: int) -> Cells:
    return np.asarray(srgb.cast("float").shrink(cell, cell, ceil=True).numpy(), np.float64) / 65535


def compare(one: NDArray[Any], two: NDArray[Any]) -> NDArray[np.float64]:
    """Return the differences ΔE*ab of colors in sRGB (..., 3)."""
    difference = _to_lab(one) - _to_lab(two)
    return np.asarray(np.sqrt(np.square(difference).sum(axis=-1)), np.float64)


def _to_lab(srgb: NDArray[Any]) -> NDArray[Any]:
    return profiles.linear_to_lab(srgb_to_linear(srgb))
