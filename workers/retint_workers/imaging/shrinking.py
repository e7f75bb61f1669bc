"""Pictures that are a whole number of times smaller: compiled means of square cells."""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray


def shrink(pixels: NDArray[Any], factor: int, means: NDArray[Any]) -> None:
    """Find the means, rounded, of cells of `factor` x `factor` pixels; those at the edges may have fewer.

    Args:
        pixels: uint8 or uint16, (h, w) or (h, w, 3).
        factor: side of a cell, at least 1.
        means: for the result: of the same type, contiguous, ceil(h / factor) x ceil(w / factor).
    """
    if factor == 1:
        means[:] = pixels
    else:
        stacked = np.ascontiguousarray(pixels).reshape(*pixels.shape[:2], -1)
        _average(stacked, factor, means.reshape(*means.shape[:2], -1))


def warm_up() -> None:
    """Compile for every type of pixels, or load it from numba's cache, once for a process."""
    for dtype in (np.uint8, np.uint16):
        for is_writable in (True, False):
            pixels = np.zeros((2, 2), dtype)
            pixels.flags.writeable = is_writable
            shrink(pixels, 2, np.empty((1, 1), dtype))


@njit(cache=True, nogil=True, error_model="numpy")
def _average(pixels, factor, means):  # type: ignore[no-untyped-def]
    height, width, bands = pixels.shape
    sums = np.empty(width * bands, np.uint32)
    for y in range(means.shape[0]):
        rows = min(factor, height - y * factor)
        sums[:] = 0
        for row in range(y * factor, y * factor + rows):
            line = pixels[row].ravel()
            for i in range(sums.size):
                sums[i] += line[i]
        for x in range(means.shape[1]):
            left = x * factor
            columns = min(factor, width - left)
            count = rows * columns
            share = 1.0 / count
            half = 0.5 * count + 0.25  # a quarter of one: the product never falls short of a whole number
            for c in range(bands):
                total = np.uint64(0)
                for column in range(left, left + columns):
                    total += np.uint64(sums[column * bands + c])
                means[y, x, c] = (np.float64(total) + half) * share
