"""CIE Lab of linear light and back, compiled (CIE 15:2018, 8.2.1)."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

BEND = 216 / 24389
"""Luminance below which CIE L* is straight."""
SLOPE = 24389 / 27
"""L* per luminance there."""


@njit(cache=True, nogil=True, error_model="numpy")
def light_to_lab(light: NDArray[np.float32], to_white: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return CIE Lab of light.

    Args:
        light: (h, w, 3), linear, any primaries; negative values are allowed.
        to_white: float64 (3, 3), from it to X, Y, Z, each divided by the white's.
    """
    lab = np.empty(light.shape, np.float32)
    f = np.empty(3)
    for y in range(light.shape[0]):
        for x in range(light.shape[1]):
            for c in range(3):
                value = (
                    to_white[c, 0] * light[y, x, 0] + to_white[c, 1] * light[y, x, 1] + to_white[c, 2] * light[y, x, 2]
                )
                f[c] = np.cbrt(value) if value > BEND else (SLOPE * value + 16) / 116
            lab[y, x, 0] = 116 * f[1] - 16
            lab[y, x, 1] = 500 * (f[0] - f[1])
            lab[y, x, 2] = 200 * (f[1] - f[2])
    return lab


@njit(cache=True, nogil=True, error_model="numpy")
def lab_to_light(lab: NDArray[np.float32], from_white: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return light (h, w, 3) of CIE Lab; `from_white` is the inverse of `to_white` in `light_to_lab`."""
    light = np.empty(lab.shape, np.float32)
    xyz = np.empty(3)
    for y in range(lab.shape[0]):
        for x in range(lab.shape[1]):
            middle = (lab[y, x, 0] + 16) / 116
            for c, f in enumerate((middle + lab[y, x, 1] / 500, middle, middle - lab[y, x, 2] / 200)):
                cube = f * f * f
                xyz[c] = cube if cube > BEND else (116 * f - 16) / SLOPE
            for c in range(3):
                light[y, x, c] = from_white[c, 0] * xyz[0] + from_white[c, 1] * xyz[1] + from_white[c, 2] * xyz[2]
    return light


def warm_up() -> None:
    """Compile both, or load them from numba's cache, once for a process."""
    matrix = np.eye(3)
    lab_to_light(light_to_lab(np.zeros((1, 1, 3), np.float32), matrix), matrix)
