"""What a photo looks like, cell by cell: for comparing a result with what it should look like.

Both sides go through lcms, never through the arithmetic that rendered the result, so that a wrong conversion cannot
confirm itself.
"""

from typing import Any

import numpy as np
import pyvips
from numpy.typing import NDArray

from retint_models.layers.color import srgb_to_linear
from retint_models.layers.encodings import to_unit_range
from retint_models.layers.pixels import put_on_luma
from retint_models.layers.rendering import Rendering
from retint_models.layers.types import ColorLayer, DensityLayer
from retint_workers.imaging import profiles
from retint_workers.imaging.formats import Header
from retint_workers.imaging.previews import Downscaler
from retint_workers.imaging.spaces import ColorSpace

Cells = NDArray[np.float64]
"""Mean sRGB of square cells of a picture, float64 (h, w, 3) in [0, 1]."""


def measure(smaller: Downscaler, header: Header) -> Cells:
    """Return what a smaller copy of a photo looks like, by what the header says of its colors."""
    return _average(profiles.to_srgb(smaller.image(), header.space.equivalent, depth=16), smaller.cell)


def predict(
    before: Downscaler, header: Header, space: ColorSpace, color: ColorLayer | None, density: DensityLayer | None
) -> Cells:
    """Return what a result should look like: the photo's smaller copy with the layers applied to it in sRGB.

    Args:
        before: collected from the photo.
        header: the photo's.
        space: the result's.
        color: the color layer, or none.
        density: the density layer, or none.
    """
    small = before.image()
    srgb = profiles.to_srgb(small, header.space.equivalent, depth=16).numpy()
    srgb = np.ascontiguousarray(srgb[..., 1] if header.bands == 1 else srgb)
    size = srgb.shape[:2]
    if color is not None:
        srgb = Rendering(color, None, orientation=header.orientation).apply(srgb, 0, size)
        if space.equivalent is not None:
            srgb = _put_on_luma(srgb, small, header, space.equivalent)
    rendered = Rendering(None, density, orientation=header.orientation).apply(srgb, 0, size)
    return _average(pyvips.Image.new_from_array(np.atleast_3d(rendered) * np.ones(3, np.uint16)), before.cell)


def _put_on_luma(srgb: NDArray[Any], small: pyvips.Image, header: Header, profile: bytes) -> NDArray[Any]:
    """Return colors, uint16 (h, w, 3) in sRGB, at the luma that the photo has in a result's code values."""
    codes = profiles.from_lab(_to_lab(srgb / 65535), profile)
    stored = small.numpy()
    if not header.space.has_way_back:
        stored = profiles.from_lab(profiles.to_lab(stored, header.space.equivalent or b""), profile)
    placed = put_on_luma(to_unit_range(codes), to_unit_range(np.atleast_3d(stored)))
    fixed = (np.clip(placed, 0, 1) * 65535 + 0.5).astype(np.uint16)
    found: NDArray[Any] = profiles.to_srgb(pyvips.Image.new_from_array(fixed), profile, depth=16).numpy()
    return found


def _average(srgb: pyvips.Image, cell: int) -> Cells:
    return np.asarray(srgb.cast("float").shrink(cell, cell, ceil=True).numpy(), np.float64) / 65535


def compare(one: NDArray[Any], two: NDArray[Any]) -> NDArray[np.float64]:
    """Return the differences ΔE*ab of colors in sRGB (..., 3)."""
    difference = _to_lab(one) - _to_lab(two)
    return np.asarray(np.sqrt(np.square(difference).sum(axis=-1)), np.float64)


def _to_lab(srgb: NDArray[Any]) -> NDArray[Any]:
    return profiles.linear_to_lab(srgb_to_linear(srgb))
