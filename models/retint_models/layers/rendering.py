"""Apply layers to a photo of any size, strip by strip: color first, then density.

Each pixel depends only on its own value and position and on the layers, so strips may be cut anywhere. All arithmetic
is float32 in a fixed order, with tables for logarithms and exponentials: the same layers give the same bytes again.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from retint_models.layers.color import CB_SCALE, CR_SCALE, LUMA, density_to_srgb, srgb_to_density
from retint_models.layers.types import ColorLayer, DensityLayer
from retint_models.layers.upsampling import detail_slopes

Floats = NDArray[np.float32]

DEEPEST = 8.0
REACH = 4.0
STEPS = 4096
TONE_STEPS = 65536

KR, KG, KB = (np.float32(weight) for weight in LUMA)
RED, BLUE = np.float32(CR_SCALE), np.float32(CB_SCALE)
ZERO, HALF, ONE = np.float32(0), np.float32(0.5), np.float32(1)
LAST = np.float32(STEPS)
PER_DENSITY, PER_GAIN = np.float32(STEPS / DEEPEST), np.float32(STEPS / (2 * REACH))
LOWEST = np.float32(-REACH)


def lookup_table(values: NDArray[Any]) -> Floats:
    """Return evenly spaced values with the last one twice, so that interpolation needs no test for the end."""
    return np.append(values, values[-1]).astype(np.float32)


DENSITY_TABLE = lookup_table(srgb_to_density(np.linspace(0, 1, STEPS + 1)))
"""Density of gamma-coded values in [0, 1]."""
SRGB_TABLE = lookup_table(density_to_srgb(np.linspace(0, DEEPEST, STEPS + 1)))
"""Gamma-coded value of densities in [0, 8]."""
FACTOR_TABLE = lookup_table(np.exp(np.linspace(-REACH, REACH, STEPS + 1)))
"""Factor of density for log gains in [-4, 4]."""


class Rendering:
    """Layers prepared for one photo.

    Args:
        color: chroma in the photo's own encoding, or none to keep the photo's color.
        density: tone repair, or none.
        orientation: EXIF's (1 to 8): layers are upright, the photo's pixels may not be.
        tone: float32 (n,): the sRGB coding of the photo's gray values spaced evenly over [0, 1], rising, where the
            photo is not coded as sRGB.
    """

    def __init__(
        self,
        color: ColorLayer | None,
        density: DensityLayer | None,
        *,
        orientation: int = 1,
        tone: Floats | None = None,
    ) -> None:
        if density is not None and density.gate * density.strength == 0:
            density = None
        self.has_color = color is not None
        self.has_density = density is not None
        self._maps = (
            to_stored_orientation(chroma_maps(color), orientation) if color else np.zeros((0, 0, 5), np.float32)
        )
        self._density = density_tables(density, orientation)
        empty = np.zeros(0, np.float32)
        self._tones = (empty, empty) if tone is None else (lookup_table(tone), lookup_table(invert_curve(tone)))

    def apply(self, strip: NDArray[Any], top: int, full_size: tuple[int, int]) -> NDArray[Any]:
        """Render some rows of a photo.

        Args:
            strip: uint8 or uint16, (rows, width) gray or (rows, width, 3) RGB, gamma-coded.
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
        gray = strip.ndim == 2
        pixels = np.ascontiguousarray(strip).reshape(len(strip), width, -1)
        bands = 1 if gray and not self.has_color else 3
        out = np.empty((len(strip), width, bands), strip.dtype)
        full = np.float32(np.iinfo(strip.dtype).max)
        matrix, shift, curves, grid, amount = self._density
        chroma = (self._maps, *_column_taps(width, self._maps.shape[1]))
        local = (grid, *_column_taps(width, grid.shape[1]))
        _render_rows(pixels, out, top, height, full, chroma, local, matrix, shift, curves, amount, *self._tones)
        return out[:, :, 0] if bands == 1 else out


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
    return float(_largest_luma_change(*stacked)) / float(np.iinfo(before.dtype).max)


def chroma_maps(layer: ColorLayer) -> Floats:
    """Return what is interpolated at full size, (h, w, 5): Cb, Cr, their slopes along luma (see `upsampling`), luma."""
    luma, chroma = layer.luma.astype(np.float64), layer.chroma.astype(np.float64)
    return np.stack([*chroma, *detail_slopes(luma, chroma), luma], -1).astype(np.float32)


def density_tables(layer: DensityLayer | None, orientation: int) -> tuple[Any, ...]:
    """Return a density layer as the compiled code takes it; an empty grid means that there is none."""
    if layer is None:
        none = np.zeros((3, 3), np.float32)
        return none, none[0], none, np.zeros((0, 0, 0, 6), np.float32), ZERO
    grid = to_stored_orientation(np.ascontiguousarray(layer.grid.transpose(2, 3, 1, 0)), orientation)
    amount = np.float32(layer.gate * layer.strength)
    return layer.matrix, layer.shift, layer.curves, np.ascontiguousarray(grid), amount


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


def invert_curve(tone: Floats) -> Floats:
    """Return the inverse of a rising curve over [0, 1] with as many samples; a flat part maps into itself."""
    places = np.linspace(0, 1, len(tone))
    return np.interp(places, np.maximum.accumulate(tone), places).astype(np.float32)


def _column_taps(width: int, samples: int) -> tuple[NDArray[np.uint32], Floats]:
    """Return the sample to the left of each column of the photo and the weight of the next one; centers are aligned."""
    if samples == 0:
        return np.zeros(0, np.uint32), np.zeros(0, np.float32)
    at = np.clip((np.arange(width) + 0.5) * (samples / width) - 0.5, 0, samples - 1)
    left = np.floor(at).astype(np.uint32)
    return left, (at - left).astype(np.float32)


# --- compiled: one pass over the pixels -------------------------------------------------------------------------------


@njit(cache=True, nogil=True, error_model="numpy")
def _read_table(table, place):  # type: ignore[no-untyped-def]
    """Interpolate a table at a position counted in entries; outside, return its end."""
    place = min(max(place, ZERO), np.float32(table.shape[0] - 2))
    index = np.uint32(place)
    low = table[index]
    return low + (table[index + np.uint32(1)] - low) * (place - np.float32(index))


@njit(cache=True, nogil=True, error_model="numpy")
def _to_code_value(value, full):  # type: ignore[no-untyped-def]
    """Round a value in [0, 1] to a code value; outside, the end."""
    return min(max(value, ZERO), ONE) * full + HALF


@njit(cache=True, nogil=True, error_model="numpy")
def _interpolate_row(samples, y, height, line):  # type: ignore[no-untyped-def]
    """Interpolate a picture (h, w, …) at one of `height` rows into `line` (w, …); edges repeat."""
    rows = samples.shape[0]
    at = min(max((y + 0.5) * rows / height - 0.5, 0.0), rows - 1.0)
    above = int(at)
    below = min(above + 1, rows - 1)
    share = np.float32(at - above)
    first, second, flat = samples[above].ravel(), samples[below].ravel(), line.ravel()
    for i in range(flat.size):
        flat[i] = first[i] + (second[i] - first[i]) * share


@njit(cache=True, nogil=True, error_model="numpy")
def _add_chroma(luma, line, left, share):  # type: ignore[no-untyped-def]
    """R', G', B' of a pixel with this luma: chroma from the maps, reduced as far as the cube needs, luma kept."""
    right = min(left + np.uint32(1), np.uint32(line.shape[0] - 1))
    blue = line[left, 0] + (line[right, 0] - line[left, 0]) * share
    red = line[left, 1] + (line[right, 1] - line[left, 1]) * share
    blue_slope = line[left, 2] + (line[right, 2] - line[left, 2]) * share
    red_slope = line[left, 3] + (line[right, 3] - line[left, 3]) * share
    detail = luma - (line[left, 4] + (line[right, 4] - line[left, 4]) * share)
    r = RED * (red + red_slope * detail)
    b = BLUE * (blue + blue_slope * detail)
    g = -(KR * r + KB * b) / KG
    room = ONE
    for offset in (r, g, b):
        if luma + offset > ONE:
            room = min(room, (ONE - luma) / offset)
        elif luma + offset < ZERO:
            room = min(room, -luma / offset)
    return luma + room * r, luma + room * g, luma + room * b


@njit(cache=True, nogil=True, error_model="numpy")
def _read_curve(curve, d):  # type: ignore[no-untyped-def]
    """Read a curve with even knots over [0, 2.6] at density d; beyond the ends the last segment goes on."""
    segments = curve.shape[0] - 1
    place = d * np.float32(segments / 2.6)
    index = np.uint32(min(max(np.int32(place), 0), segments - 1))
    return curve[index] + (curve[index + np.uint32(1)] - curve[index]) * (place - np.float32(index))


@njit(cache=True, nogil=True, error_model="numpy")
def _change_density(coded, before, change):  # type: ignore[no-untyped-def]
    """Change the density of a gamma-coded value; no change leaves it alone, black included."""
    return coded + (
        _read_table(SRGB_TABLE, (before + change) * PER_DENSITY) - _read_table(SRGB_TABLE, before * PER_DENSITY)
    )


@njit(cache=True, nogil=True, error_model="numpy")
def _slice_grid(line, left, right, share, near, far, along, c):  # type: ignore[no-untyped-def]
    """Read one value of the grid's row (columns, bins, 6) between four samples."""
    low = line[left, near, c] + (line[right, near, c] - line[left, near, c]) * share
    high = line[left, far, c] + (line[right, far, c] - line[left, far, c]) * share
    return low + (high - low) * along


@njit(cache=True, nogil=True, error_model="numpy")
def _repair_tone(r, g, b, line, left, share, matrix, shift, curves, amount):  # type: ignore[no-untyped-def]
    """Repair the tone of a pixel coded as sRGB: the formula of `DensityLayer`."""
    right = min(left + np.uint32(1), np.uint32(line.shape[0] - 1))
    bins = line.shape[1]
    depth = min(max((KR * r + KG * g + KB * b) * np.float32(bins) - HALF, ZERO), np.float32(bins - 1))
    near = np.uint32(depth)
    far = min(near + np.uint32(1), np.uint32(bins - 1))
    along = depth - np.float32(near)
    dr = _read_table(DENSITY_TABLE, r * LAST)
    dg = _read_table(DENSITY_TABLE, g * LAST)
    db = _read_table(DENSITY_TABLE, b * LAST)

    def repaired(coded: Any, before: Any, c: int) -> Any:
        d = _read_curve(curves[c], matrix[c, 0] * dr + matrix[c, 1] * dg + matrix[c, 2] * db + shift[c])
        gain = _slice_grid(line, left, right, share, near, far, along, c)
        offset = _slice_grid(line, left, right, share, near, far, along, c + 3)
        d = d * _read_table(FACTOR_TABLE, (gain - LOWEST) * PER_GAIN) + offset
        return _change_density(coded, before, amount * (d - before))

    return repaired(r, dr, 0), repaired(g, dg, 1), repaired(b, db, 2)


@njit(cache=True, nogil=True, error_model="numpy")
def _render_rows(pixels, out, top, height, full, chroma, local, matrix, shift, curves, amount, tone, untone):  # type: ignore[no-untyped-def]
    """Apply color, then tone, and convert to code values: (rows, width, 1 or 3) into `out`."""
    maps, map_left, map_share = chroma
    grid, grid_left, grid_share = local
    has_color, has_density, has_tone = maps.shape[0] > 0, grid.shape[0] > 0, tone.shape[0] > 0
    map_line = np.empty(maps.shape[1:], np.float32)
    grid_line = np.empty(grid.shape[1:], np.float32)
    last_tone = np.float32(tone.shape[0] - 2)
    scale = ONE / full
    for row in range(pixels.shape[0]):
        if has_color:
            _interpolate_row(maps, top + row, height, map_line)
        if has_density:
            _interpolate_row(grid, top + row, height, grid_line)
        for x in range(pixels.shape[1]):
            r = g = b = np.float32(pixels[row, x, 0]) * scale
            if pixels.shape[2] == 3:
                g = np.float32(pixels[row, x, 1]) * scale
                b = np.float32(pixels[row, x, 2]) * scale
            if has_color:
                luma = r if pixels.shape[2] == 1 else KR * r + KG * g + KB * b
                r, g, b = _add_chroma(luma, map_line, map_left[x], map_share[x])
            if has_density:
                if has_tone:
                    r = _read_table(tone, r * last_tone)
                    g = _read_table(tone, g * last_tone)
                    b = _read_table(tone, b * last_tone)
                r, g, b = _repair_tone(r, g, b, grid_line, grid_left[x], grid_share[x], matrix, shift, curves, amount)
                if has_tone:
                    r = _read_table(untone, r * last_tone)
                    g = _read_table(untone, g * last_tone)
                    b = _read_table(untone, b * last_tone)
            if out.shape[2] == 1:
                out[row, x, 0] = _to_code_value(KR * r + KG * g + KB * b if has_density else r, full)
            else:
                out[row, x, 0] = _to_code_value(r, full)
                out[row, x, 1] = _to_code_value(g, full)
                out[row, x, 2] = _to_code_value(b, full)


@njit(cache=True, nogil=True, error_model="numpy")
def _largest_luma_change(before, after):  # type: ignore[no-untyped-def]
    """The largest change of luma in code values between (rows, width, 1 or 3) and (rows, width, 1 or 3)."""
    largest = 0.0
    for row in range(before.shape[0]):
        for x in range(before.shape[1]):
            change = 0.0
            for c in range(3):
                one = before[row, x, min(c, before.shape[2] - 1)]
                two = after[row, x, min(c, after.shape[2] - 1)]
                change += LUMA[c] * (float(two) - float(one))
            largest = max(largest, abs(change))
    return largest
