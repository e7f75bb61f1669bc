"""What a photo looks like, cell by cell: for comparing a result with what it should look like.

Both sides go through lcms, never through the arithmetic that rendered the result, so that a wrong conversion cannot
confirm itself.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pyvips
from numpy.typing import NDArray

from retint_models.layers.color import srgb_to_linear
from retint_models.layers.encodings import to_unit_range
from retint_models.layers.pixels import put_on_luma
from retint_models.layers.rendering import Rendering
from retint_models.layers.types import ColorLayer, DensityLayer, Layers, Order
from retint_workers.imaging.color import profiles
from retint_workers.imaging.color.spaces import ColorSpace
from retint_workers.imaging.decoding.formats import Header
from retint_workers.imaging.previews import Downscaler
from retint_workers.imaging.stored_region import Picture

ROWS_OF_CELLS = 4
"""How many are converted at a time, to need little memory."""
Cells = NDArray[np.float64]
"""Mean sRGB of square cells of a picture, float64 (h, w, 3) in [0, 1]."""


def measure(smaller: Downscaler, header: Header) -> Cells:
    """Return what a smaller copy of a photo looks like, by what the header says of its colors."""
    return _average(smaller, lambda rows, _: profiles.to_srgb(rows, header.space.equivalent, depth=16).numpy())


def predict(
    before: Downscaler,
    header: Header,
    picture: Picture,
    space: ColorSpace,
    color: ColorLayer | None,
    density: DensityLayer | None,
) -> Cells:
    """Return what a result should look like: the photo's smaller copy with the layers applied to it in sRGB.

    Args:
        before: collected from the photo.
        header: the photo's.
        picture: what of it is restored.
        space: the result's.
        color: the color layer, or none.
        density: the density layer, or none.
    """
    region = picture.region.shrink(before.factor, before.size)
    render = _Renderer((color, density), header, space, region.bounds_size).render

    def look(rows: pyvips.Image, top: int) -> NDArray[Any]:
        codes = rows.invert() if picture.is_inverted else rows
        if region.is_whole:
            return render(codes, top)
        left, start, right, _ = region.bounds

        def restore(inside: NDArray[Any], first: int) -> NDArray[Any]:
            part = codes.crop(left, first + start - top, right - left, len(inside))
            return np.atleast_3d(render(part, first))

        unchanged = profiles.to_srgb(rows, header.space.equivalent, depth=16).numpy()
        return region.change_pixels(unchanged, top, 3, restore)

    return _average(before, look)


class _Renderer:
    """Applies layers to some rows of a smaller copy in sRGB, step by step."""

    def __init__(self, layers: Layers, header: Header, space: ColorSpace, size: tuple[int, int]) -> None:
        color, density = layers
        prepare = partial(Rendering, orientation=header.orientation)
        self._order = color.order if color else None
        is_color_first = self._order is Order.COLOR_FIRST
        self._repair, self._color = prepare(None, density), prepare(color, None if is_color_first else density)
        self._header, self._profile, self._size = header, space.equivalent, size

    def render(self, rows: pyvips.Image, top: int) -> NDArray[Any]:
        """Return what rows of stored pixels become: uint16 (h, w) or (h, w, 3) in sRGB."""
        srgb = profiles.to_srgb(rows, self._header.space.equivalent, depth=16).numpy()
        srgb = np.ascontiguousarray(srgb[..., 1] if self._header.bands == 1 else srgb)
        where = top, self._size
        if self._order is None:
            return self._repair.apply(srgb, *where)
        if self._order is Order.COLOR_FIRST:
            srgb = self._color.apply(srgb, *where)
            if self._profile is not None:
                srgb = _put_on_luma(srgb, _read_codes(rows, self._header, self._profile), self._profile)
            return self._repair.apply(srgb, *where)
        colored = self._color.apply(srgb, *where)
        if self._profile is None:
            return colored
        codes = _read_codes(rows, self._header, self._profile)
        if self._repair.has_density:
            codes = _to_codes(self._repair.apply(srgb, *where), self._profile)
        return _put_on_luma(colored, codes, self._profile)


def _put_on_luma(srgb: NDArray[Any], codes: NDArray[Any], profile: bytes) -> NDArray[Any]:
    """Return colors, uint16 (h, w, 3) in sRGB, at the luma of a result's code values."""
    placed = put_on_luma(to_unit_range(_to_codes(srgb, profile)), to_unit_range(np.atleast_3d(codes)))
    fixed = (np.clip(placed, 0, 1) * 65535 + 0.5).astype(np.uint16)
    found: NDArray[Any] = profiles.to_srgb(pyvips.Image.new_from_array(fixed), profile, depth=16).numpy()
    return found


def _to_codes(srgb: NDArray[Any], profile: bytes) -> NDArray[Any]:
    """Return a result's code values of colors, uint16 (h, w) or (h, w, 3) in sRGB."""
    return profiles.from_lab(_to_lab(np.atleast_3d(srgb) / 65535 * np.ones(3)), profile)


def _read_codes(rows: pyvips.Image, header: Header, profile: bytes) -> NDArray[Any]:
    """Return the code values that a photo's pixels have in a result before they are changed."""
    stored: NDArray[Any] = rows.numpy()
    if header.space.has_way_back:
        return stored
    return profiles.from_lab(profiles.to_lab(stored, header.space.equivalent or b""), profile)


def _average(smaller: Downscaler, look: Callable[[pyvips.Image, int], NDArray[Any]]) -> Cells:
    """Return the means of a picture's cells; `look` gives some rows in sRGB, uint16 (h, w) or (h, w, 3)."""
    image, cells = smaller.image(), []
    for top in range(0, image.height, ROWS_OF_CELLS * smaller.cell):
        rows = image.crop(0, top, image.width, min(ROWS_OF_CELLS * smaller.cell, image.height - top))
        srgb = pyvips.Image.new_from_array(look(rows, top)).cast("float")
        cells.append(np.atleast_3d(srgb.shrink(smaller.cell, smaller.cell, ceil=True).numpy()))
    return np.concatenate(cells) / 65535 * np.ones(3)


def compare(one: NDArray[Any], two: NDArray[Any]) -> NDArray[np.float64]:
    """Return the differences ΔE*ab of colors in sRGB (h, w, 3)."""
    difference = _to_lab(one) - _to_lab(two)
    return np.asarray(np.sqrt(np.square(difference).sum(axis=-1)), np.float64)


def _to_lab(srgb: NDArray[Any]) -> NDArray[Any]:
    return profiles.linear_to_lab(srgb_to_linear(srgb))
