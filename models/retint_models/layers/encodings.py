"""How a photo's code values relate to linear sRGB, where they are not coded as sRGB.

Linear sRGB is light in the primaries of Rec. 709, white at (1, 1, 1). Colors that sRGB cannot show lie outside [0, 1]
and keep their place there. Tables stand for powers, so that the same values give the same bytes again.
"""

from typing import Any, Protocol

import numpy as np
from numba import njit
from numpy.typing import NDArray

from retint_models.layers.color import linear_to_srgb, srgb_to_linear

Floats = NDArray[np.float32]

CURVE_STEPS = 65536
"""Steps of a curve from code values to light: a 16-bit code value falls on a step."""
ROOT_STEPS = 16384
"""Steps of a curve back, which are even in the square root of light, where codings are nearly straight."""
ZERO, ONE = np.float32(0), np.float32(1)


class Encoding(Protocol):
    """A photo's coding: code values in [0, 1] to linear sRGB, and back."""

    def decode(self, codes: Floats) -> Floats:
        """Return the linear sRGB (h, w, 3) of code values (h, w, 3)."""

    def encode(self, linear: Floats) -> Floats:
        """Return the code values (h, w, 3) of linear sRGB (h, w, 3); a color that has none may lie outside [0, 1]."""


def extend(values: NDArray[Any]) -> Floats:
    """Return evenly spaced values with the last one twice, so that interpolation needs no test for the end."""
    return np.concatenate([values, values[..., -1:]], -1).astype(np.float32)


ROOTS = np.linspace(0, 1, ROOT_STEPS + 1)
SRGB_BY_ROOT = extend(linear_to_srgb(ROOTS * ROOTS))
"""sRGB of light, by the square root of light."""
LINEAR_BY_SRGB = extend(srgb_to_linear(np.linspace(0, 1, CURVE_STEPS + 1)))
"""Light by sRGB."""


def to_unit_range(pixels: NDArray[Any]) -> Floats:
    """Return code values, uint8 or uint16 (h, w, 1 or 3), as three bands of float32 in [0, 1]."""
    full = np.float32(np.iinfo(pixels.dtype).max)
    three_bands = np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)), np.float32)
    return np.asarray(three_bands / full, np.float32)


class CurvesAndMatrix:
    """A coding by a curve for each channel and a matrix: what display and working spaces are.

    Args:
        curves: float (1 or 3, n): light in [0, 1] of code values spaced evenly over [0, 1]; not falling.
        matrix: float (3, 3): from light in the space's own primaries to linear sRGB.
    """

    def __init__(self, curves: NDArray[Any], matrix: NDArray[Any]) -> None:
        self.curves = np.broadcast_to(np.asarray(curves, np.float64), (3, np.shape(curves)[-1]))
        self.matrix = np.asarray(matrix, np.float64)
        places = np.linspace(0, 1, self.curves.shape[1])
        steps = np.linspace(0, 1, CURVE_STEPS + 1)
        self._curves = extend(np.stack([np.interp(steps, places, curve) for curve in self.curves]))
        rising = np.maximum.accumulate(self.curves, axis=1)
        self._roots = extend(np.stack([np.interp(ROOTS * ROOTS, curve, places) for curve in rising]))
        self._matrix = self.matrix.astype(np.float32)
        self._inverse = np.linalg.inv(self.matrix).astype(np.float32)

    def decode(self, codes: Floats) -> Floats:
        """See `Encoding`."""
        linear = np.empty_like(codes)
        _decode(codes, self._curves, self._matrix, linear)
        return linear

    def encode(self, linear: Floats) -> Floats:
        """See `Encoding`: below 0 the curves are mirrored, above 1 they go straight on."""
        codes = np.empty_like(linear)
        _encode(linear, self._roots, self._inverse, codes)
        return codes


# --- compiled ---------------------------------------------------------------------------------------------------------


@njit(cache=True, nogil=True, error_model="numpy")
def read_even(table, place):  # type: ignore[no-untyped-def]
    """Interpolate a table at a position counted in entries; outside, return its end."""
    place = min(max(place, ZERO), np.float32(table.shape[0] - 2))
    index = np.uint32(place)
    low = table[index]
    return low + (table[index + np.uint32(1)] - low) * (place - np.float32(index))


@njit(cache=True, nogil=True, error_model="numpy")
def read_root(table, light):  # type: ignore[no-untyped-def]
    """Interpolate a table by the square root of light: mirrored below 0, straight on above 1."""
    last = table.shape[0] - 2
    if light < ZERO:
        return table[0] + table[0] - read_even(table, np.sqrt(-light) * np.float32(last))
    if light > ONE:
        slope = (table[last] - table[last - 1]) * np.float32(last)
        return table[last] + (np.sqrt(light) - ONE) * slope
    return read_even(table, np.sqrt(light) * np.float32(last))


@njit(cache=True, nogil=True, error_model="numpy")
def _decode(codes, curves, matrix, linear):  # type: ignore[no-untyped-def]
    last = np.float32(curves.shape[1] - 2)
    for y in range(codes.shape[0]):
        for x in range(codes.shape[1]):
            r = read_even(curves[0], codes[y, x, 0] * last)
            g = read_even(curves[1], codes[y, x, 1] * last)
            b = read_even(curves[2], codes[y, x, 2] * last)
            for c in range(3):
                linear[y, x, c] = matrix[c, 0] * r + matrix[c, 1] * g + matrix[c, 2] * b


@njit(cache=True, nogil=True, error_model="numpy")
def _encode(linear, roots, inverse, codes):  # type: ignore[no-untyped-def]
    for y in range(linear.shape[0]):
        for x in range(linear.shape[1]):
            r, g, b = linear[y, x, 0], linear[y, x, 1], linear[y, x, 2]
            for c in range(3):
                codes[y, x, c] = read_root(roots[c], inverse[c, 0] * r + inverse[c, 1] * g + inverse[c, 2] * b)
