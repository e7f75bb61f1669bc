"""Run a computation on large maps in strips of rows, which the threads share.

Intermediate maps then exist for one strip at a time, not for the whole picture. Each thread computes its strip alone
and waits for no other, and a strip is still in the cache when it is read again.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import product

import numpy as np
import torch
from numba import njit
from torch import Tensor

from retint_models.acceleration.winograd import narrow, widen

STRIP_BYTES = 12 << 20
"""Size of a strip where a computation needs the most channels."""


def run_in_strips(compute: Callable[[int, int, int], None], maps: Tensor, channels: int) -> None:
    """Call `compute(number of the picture, first row, row after the last)` for all rows of maps, in parallel.

    Args:
        compute: Writes its result where the caller wants it; runs with one thread of its own.
        maps: (B, H, W, any): its first three sizes and its type say how large the strips may be.
        channels: The most channels that the computation needs at a time.
    """
    batch, height, width = maps.shape[:3]
    threads = torch.get_num_threads()
    count = -(-height * width * channels * maps.element_size() // STRIP_BYTES)
    count = -(-count * batch // threads) * threads // batch  # every thread gets the same number of strips
    starts = range(0, height, max(1, -(-height // max(1, count))))

    @torch.inference_mode()
    def compute_strip(at: tuple[int, int]) -> None:
        picture, first = at
        compute(picture, first, min(first + starts.step, height))

    for _ in thread_pool(threads).map(compute_strip, product(range(batch), starts)):
        pass
    torch.set_num_threads(threads)  # the pool's threads have set it to 1 for all threads started later


@cache
def thread_pool(threads: int) -> ThreadPoolExecutor:
    """Return a pool of threads in which torch uses one thread each."""
    return ThreadPoolExecutor(threads, "strips", initializer=torch.set_num_threads, initargs=(1,))


def to_rows(x: Tensor) -> Tensor:
    """Return (B, C, h, w) as contiguous (B, h, w, C)."""
    return x.permute(0, 2, 3, 1).contiguous()


@njit(cache=True, nogil=True, error_model="numpy")
def shuffle_and_blur(maps, shift, doubled):  # type: ignore[no-untyped-def]
    """Pixel-shuffle maps (h, w, 4 n) to twice the size and average 2 x 2 pixels; the first row and column repeat.

    Writes to `doubled`, (rows, W, n or more), which begins `shift` rows below the first row of the doubled maps.
    """
    channels = maps.shape[2] // 4
    corners = np.zeros((4, channels), np.float32)
    mean = np.zeros(channels, np.float32)
    for r in range(doubled.shape[0]):
        for c in range(doubled.shape[1]):
            for corner in range(4):
                row = max(shift + r - corner // 2, 0)
                column = max(c - corner % 2, 0)
                start = (2 * (row % 2) + column % 2) * channels
                widen(maps[row // 2, column // 2, start : start + channels], corners[corner])
            for k in range(channels):
                mean[k] = np.float32(0.25) * (corners[0, k] + corners[1, k] + corners[2, k] + corners[3, k])
            narrow(mean, doubled[r, c, :channels])
