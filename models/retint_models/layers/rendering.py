"""Applies layers to a photo of any size, strip by strip, in the order that they were decided for (see `Order`).

Tone first: the tone is repaired, then chroma is put on the repaired luma. At less than full strength of the repair
chroma still follows the luma of the full repair, which is what the colorizer looked at. Color first: as the first
layers were made, chroma is put on the photo's own luma, and the tone of the colored picture is repaired.

Each pixel depends only on its own value and position and on the layers, so strips may be cut anywhere. All arithmetic
is float32 in a fixed order, without any library's powers or logarithms: the same layers give the same bytes again.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retint_models.layers.encodings import CurvesAndMatrix, Encoding, Floats, to_unit_range
from retint_models.layers.pixels import color_rows, largest_luma_change, put_on_luma, render_rows, repair_rows
from retint_models.layers.types import ColorLayer, DensityLayer, Order
from retint_models.layers.upsampling import detail_slopes

BLOCK_PIXELS = 1 << 19
"""Pixels that all threads convert at a time where a photo is not coded as sRGB: some 40 MB."""
LEAST_PIXELS = 1 << 17
"""A thread is not started for less."""


class Rendering:
    """Layers prepared for one photo.

    Args:
        color: chroma, or none to keep the photo's color.
        density: tone repair, or none.
        orientation: EXIF's (1 to 8): layers are upright, the photo's pixels may not be.
        encoding: the photo's, where it is not coded as sRGB. Both layers are then applied in sRGB, and what they
            change is converted to the photo's code values.
        threads: what is rendered is divided among so many.

    Raises:
        ValueError: the layers were decided for different orders.
    """

    def __init__(
        self,
        color: ColorLayer | None,
        density: DensityLayer | None,
        *,
        orientation: int = 1,
        encoding: Encoding | None = None,
        threads: int = 1,
    ) -> None:
        if color and density and color.order != density.order:
            raise ValueError(f"the color layer is {color.order}, and the density layer {density.order}")
        self.has_color = color is not None
        self._is_color_first = color is not None and color.order is Order.COLOR_FIRST
        guides_color = color is not None and not self._is_color_first
        if density is not None and density.gate * (1 if guides_color else density.strength) == 0:
            density = None
        self.has_density = density is not None
        self._layers = color, density
        self._orientation, self._encoding, self._threads = orientation, encoding, threads
        maps = to_stored_orientation(chroma_maps(color), orientation) if color else np.zeros((0, 0, 5), np.float32)
        self._maps = np.ascontiguousarray(maps.transpose(2, 0, 1))
        self._density = density_tables(density, orientation)

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
        part = max(1, LEAST_PIXELS // width, -(-len(strip) // self._threads))
        starts = range(0, len(strip), part)
        if len(starts) == 1:
            self._render(pixels, out, top, height)
        else:
            with ThreadPoolExecutor(len(starts), "retint-render") as threads:
                parts = [slice(start, start + part) for start in starts]
                done = [threads.submit(self._render, pixels[p], out[p], top + p.start, height) for p in parts]
                for each in done:
                    each.result()
        return out[:, :, 0] if bands == 1 else out

    def _render(self, pixels: NDArray[Any], out: NDArray[Any], top: int, height: int) -> None:
        """Render rows (n, width, 1 or 3) into others."""
        width, bands = out.shape[1:]
        if self._encoding is None:
            layers = self._color_of(width), self._tone_of(width)
            render_rows(pixels, out, top, height, *layers, self._is_color_first)
            return
        block = max(1, BLOCK_PIXELS // self._threads // width)
        for row in range(0, len(pixels), block):
            rows = slice(row, row + block)
            out[rows] = self._apply_encoded(pixels[rows], top + row, height, self._encoding)[..., :bands]

    def measure_color_drift(self, strip: NDArray[Any], top: int, full_size: tuple[int, int]) -> float:
        """Return how far color alone changes the luma of some rows, as a fraction of full scale.

        Arguments as for `apply`. What color is put on (the photo, or its repaired tone) is compared with the same in
        color, both with 16 bits: rounding to 8 bits is no change by color.
        """
        deep = strip if strip.dtype == np.uint16 else strip.astype(np.uint16) * np.uint16(257)
        with_first_layer = self._first_layer.apply(deep, top, full_size)
        if self._is_color_first:
            return luma_drift(deep, with_first_layer)
        return luma_drift(with_first_layer, self.apply(deep, top, full_size))

    @cached_property
    def _first_layer(self) -> "Rendering":
        """The layer that is applied first, alone."""
        color, density = self._layers
        first = (color, None) if self._is_color_first else (None, density)
        return Rendering(*first, orientation=self._orientation, encoding=self._encoding)

    def _color_of(self, width: int) -> tuple[Any, ...]:
        """Return the color layer as the compiled code takes it, for a photo of this width."""
        return self._maps, *_column_taps(width, self._maps.shape[2])

    def _tone_of(self, width: int) -> tuple[Any, ...]:
        """Return the density layer as the compiled code takes it, for a photo of this width."""
        matrix, shift, curves, grid, amount, full_amount = self._density
        return grid, *_column_taps(width, grid.shape[1]), matrix, shift, curves, amount, full_amount

    def _apply_encoded(self, pixels: NDArray[Any], top: int, height: int, encoding: Encoding) -> NDArray[Any]:
        """Render rows (n, width, 1 or 3) that are not coded as sRGB; the result has three bands."""
        full = np.float32(np.iinfo(pixels.dtype).max)
        codes = to_unit_range(pixels)
        linear = encoding.decode(codes)
        is_gray = pixels.shape[2] == 1
        if self._is_color_first:
            codes = self._put_color(codes, linear, linear, top, height, encoding)
            linear, is_gray = encoding.decode(codes) if self.has_density else linear, False
        guide = linear
        if self.has_density:
            tone = self._tone_of(pixels.shape[1])
            toned = _repair(linear, top, height, tone, is_gray)
            codes = codes + (encoding.encode(toned) - encoding.encode(linear))
            *rest, amount, full_amount = tone
            same = amount == full_amount or not self.has_color
            guide = toned if same else _repair(linear, top, height, (*rest, full_amount, full_amount), is_gray)
            linear = toned
        if self.has_color and not self._is_color_first:
            codes = self._put_color(np.clip(codes, 0, 1), linear, guide, top, height, encoding)
        return (np.clip(codes, 0, 1) * full + np.float32(0.5)).astype(pixels.dtype)

    def _put_color(
        self, codes: Floats, linear: Floats, guide: Floats, top: int, height: int, encoding: Encoding
    ) -> Floats:
        """Return code values in color, of the same luma; `linear` is the same in linear sRGB, `guide` as seen."""
        colored = np.empty_like(linear)
        color_rows(linear, guide, colored, top, height, self._color_of(linear.shape[1]))
        return np.asarray(put_on_luma(encoding.encode(colored), codes), np.float32)


def _repair(linear: Floats, top: int, height: int, tone: tuple[Any, ...], stays_gray: bool) -> Floats:
    repaired = np.empty_like(linear)
    repair_rows(linear, repaired, top, height, tone, stays_gray)
    return repaired


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
    """Show a proxy, uint8 or uint16 (h, w, 3) sRGB, in the colors that were decided: for a defader, color first."""
    return apply(proxy, 0, proxy.shape[:2], layer, None)


def repair_proxy(proxy: NDArray[Any], layer: DensityLayer) -> NDArray[Any]:
    """Show a proxy, uint8 or uint16 (h, w, 3) sRGB, with its tone fully repaired: for a colorizer, tone first."""
    return apply(proxy, 0, proxy.shape[:2], None, replace(layer, strength=1.0))


def luma_drift(before: NDArray[Any], after: NDArray[Any]) -> float:
    """Return the largest change of luma between two strips, gray or RGB of one type, as a fraction of full scale."""
    # A film's frames have padding beside their rows, which the compiled code cannot pass over.
    stacked = [np.ascontiguousarray(pixels).reshape(*pixels.shape[:2], -1) for pixels in (before, after)]
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
        none, nothing = np.zeros((3, 3), np.float32), np.float32(0)
        return none, none[0], none, np.zeros((0, 0, 0, 6), np.float32), nothing, nothing
    grid = to_stored_orientation(np.ascontiguousarray(layer.grid.transpose(2, 3, 1, 0)), orientation)
    amount, full_amount = np.float32(layer.gate * layer.strength), np.float32(layer.gate)
    # Copies, because to numba a read-only array is of another type.
    arrays = layer.matrix.copy(), layer.shift.copy(), layer.curves.copy(), np.ascontiguousarray(grid)
    return *arrays, amount, full_amount


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
