"""Applies layers to a photo of any size, strip by strip: color first, then density.

Each pixel depends only on its own value and position and on the layers, so strips may be cut anywhere. All arithmetic
is float32 in a fixed order, with tables for logarithms and exponentials: the same layers give the same bytes again.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retint_models.layers.encodings import CurvesAndMatrix, Encoding, Floats, to_unit_range
from retint_models.layers.pixels import color_rows, largest_luma_change, put_on_luma, render_rows, repair_rows
from retint_models.layers.types import ColorLayer, DensityLayer
from retint_models.layers.upsampling import detail_slopes

BLOCK_PIXELS = 1 << 19
"""Pixels that are converted at a time where a photo is not coded as sRGB: some 40 MB."""


class Rendering:
    """Layers prepared for one photo.

    Args:
        color: chroma, or none to keep the photo's color.
        density: tone repair, or none.
        orientation: EXIF's (1 to 8): layers are upright, the photo's pixels may not be.
        encoding: the photo's, where it is not coded as sRGB. Both layers are then applied in sRGB, and what they
            change is converted to the photo's code values.
    """

    def __init__(
        self,
        color: ColorLayer | None,
        density: DensityLayer | None,
        *,
        orientation: int = 1,
        encoding: Encoding | None = None,
    ) -> None:
        if density is not None and density.gate * density.strength == 0:
            density = None
        self.has_color = color is not None
        self.has_density = density is not None
        self._maps = (
            to_stored_orientation(chroma_maps(color), orientation) if color else np.zeros((0, 0, 5), np.float32)
        )
        self._density = density_tables(density, orientation)
        self._encoding = encoding

    def apply(self, strip: NDArray[Any], top: int, full_size: tuple[int, int]) -> NDArray[Any]:
        """Render some rows of a photo.

        Args:
            strip: uint8 or uint16, (rows, width) gray or (rows, width, 3) RGB.
            top: the photo's row that the strip begins with.
            full_size: height and width of the photo.

        Returns:
            The same type; RGB where there is color to show, else as many bands as before.

        Raises:
            ValueError: another type or shape, or rows that the photo does not have.
        """
        height, width = full_size
        if strip.dtype not in (np.uint8, np.uint16) or strip.ndim not in (2, 3) or strip.shape[2:] not in ((), (3,)):
            raise ValueError(f"expected uint8 or uint16 gray or RGB, got {strip.dtype} {strip.shape}")
        if strip.shape[1] != width or top < 0 or top + len(strip) > height:
            raise ValueError(f"rows {top} to {top + len(strip)} of {strip.shape[1]} pixels do not lie in {full_size}")
        pixels = np.ascontiguousarray(strip).reshape(len(strip), width, -1)
        bands = 1 if strip.ndim == 2 and not self.has_color else 3
        out = np.empty((len(strip), width, bands), strip.dtype)
        if self._encoding is None:
            render_rows(pixels, out, top, height, self._color_of(width), self._tone_of(width))
        else:
            block = max(1, BLOCK_PIXELS // width)
            for row in range(0, len(strip), block):
                rows = slice(row, row + block)
                out[rows] = self._apply_encoded(pixels[rows], top + row, height, self._encoding)[..., :bands]
        return out[:, :, 0] if bands == 1 else out

    def _color_of(self, width: int) -> tuple[Any, ...]:
        """Return the color layer as the compiled code takes it, for a photo of this width."""
        return self._maps, *_column_taps(width, self._maps.shape[1])

    def _tone_of(self, width: int) -> tuple[Any, ...]:
        """Return the density layer as the compiled code takes it, for a photo of this width."""
        matrix, shift, curves, grid, amount = self._density
        return grid, *_column_taps(width, grid.shape[1]), matrix, shift, curves, amount

    def _apply_encoded(self, pixels: NDArray[Any], top: int, height: int, encoding: Encoding) -> NDArray[Any]:
        """Render rows (n, width, 1 or 3) that are not coded as sRGB; the result has three bands."""
        full, width = np.float32(np.iinfo(pixels.dtype).max), pixels.shape[1]
        codes = to_unit_range(pixels)
        linear = encoding.decode(codes)
        if self.has_color:
            changed = np.empty_like(linear)
            color_rows(linear, changed, top, height, self._color_of(width))
            codes = put_on_luma(encoding.encode(changed), codes)
            linear = encoding.decode(codes) if self.has_density else linear
        if self.has_density:
            changed = np.empty_like(linear)
            stays_gray = pixels.shape[2] == 1 and not self.has_color
            repair_rows(linear, changed, top, height, self._tone_of(width), stays_gray)
            codes = codes + (encoding.encode(changed) - encoding.encode(linear))
        return (np.clip(codes, 0, 1) * full + np.float32(0.5)).astype(pixels.dtype)


def apply(
    strip: NDArray[Any],
    top: int,
    full_size: tuple[int, int],
    color: ColorLayer | None,
    density: DensityLayer | None,
) -> NDArray[Any]:
    """Render some rows of an upright sRGB photo; see `Rendering.apply`."""
    return Rendering(color, density).apply(strip, top, full_size)


def colorize_proxy(proxy: NDArray[Any], layer: ColorLayer) -> NDArray[Any]:
    """Show a proxy, uint8 or uint16 (h, w, 3) sRGB, in the colors that were decided: what a defader sees."""
    return apply(proxy, 0, proxy.shape[:2], layer, None)


def luma_drift(before: NDArray[Any], after: NDArray[Any]) -> float:
    """Return the largest change of luma between two strips, gray or RGB of one type, as a fraction of full scale."""
    stacked = [pixels.reshape(*pixels.shape[:2], -1) for pixels in (before, after)]
    return float(largest_luma_change(*stacked)) / float(np.iinfo(before.dtype).max)


def warm_up() -> None:
    """Compile all that rendering needs, or load it from numba's cache: for every type of strip, once for a process.

    Strips may be read-only, which are other types to numba.
    """
    chroma, luma = np.zeros((2, 2, 2), np.float16), np.zeros((2, 2), np.float16)
    color = ColorLayer(chroma, luma, np.zeros((2, 2), np.uint8))
    curves, grid = np.zeros((3, 2), np.float32), np.zeros((6, 1, 1, 1), np.float32)
    density = DensityLayer(np.eye(3, dtype=np.float32), curves[:, 0], curves, grid, gate=1)
    for encoding in (None, CurvesAndMatrix(np.linspace(0, 1, 2)[None], np.eye(3))):
        for dtype in (np.uint8, np.uint16):
            for is_writable in (True, False):
                strip = np.zeros((2, 2, 3), dtype)
                strip.flags.writeable = is_writable
                luma_drift(strip, Rendering(color, density, encoding=encoding).apply(strip, 0, (2, 2)))


def chroma_maps(layer: ColorLayer) -> Floats:
    """Return what is interpolated at full size, (h, w, 5): Cb, Cr, their slopes along luma (see `upsampling`), luma."""
    luma, chroma = layer.luma.astype(np.float64), layer.chroma.astype(np.float64)
    return np.stack([*chroma, *detail_slopes(luma, chroma), luma], -1).astype(np.float32)


def density_tables(layer: DensityLayer | None, orientation: int) -> tuple[Any, ...]:
    """Return a density layer as the compiled code takes it; an empty grid means that there is none."""
    if layer is None:
        none = np.zeros((3, 3), np.float32)
        return none, none[0], none, np.zeros((0, 0, 0, 6), np.float32), np.float32(0)
    grid = to_stored_orientation(np.ascontiguousarray(layer.grid.transpose(2, 3, 1, 0)), orientation)
    amount = np.float32(layer.gate * layer.strength)
    # Copies, because to numba a read-only array is of another type.
    return layer.matrix.copy(), layer.shift.copy(), layer.curves.copy(), np.ascontiguousarray(grid), amount


TO_STORED: Mapping[int, Callable[[NDArray[Any]], NDArray[Any]]] = {
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.swapaxes(0, 1),
    6: lambda upright: np.rot90(upright),
    7: lambda upright: upright[::-1, ::-1].swapaxes(0, 1),
    8: lambda upright: np.rot90(upright, -1),
}


def to_stored_orientation(upright: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn an upright picture (h, w, …) as a photo with this EXIF orientation stores its pixels."""
    return np.ascontiguousarray(TO_STORED.get(orientation, np.asarray)(upright))


def _column_taps(width: int, samples: int) -> tuple[NDArray[np.uint32], Floats]:
    """Return the sample to the left of each column of the photo and the weight of the next one; centers are aligned."""
    if samples == 0:
        return np.zeros(0, np.uint32), np.zeros(0, np.float32)
    at = np.clip((np.arange(width) + 0.5) * (samples / width) - 0.5, 0, samples - 1)
    left = np.floor(at).astype(np.uint32)
    return left, (at - left).astype(np.float32)
