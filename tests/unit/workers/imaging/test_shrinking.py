"""Smaller pictures: rounded means of cells."""

from typing import Any

import numpy as np
import pytest

from retint_workers.imaging import shrinking


def shrink(pixels: Any, factor: int) -> Any:
    size = (-(-side // factor) for side in pixels.shape[:2])
    means = np.empty((*size, *pixels.shape[2:]), pixels.dtype)
    shrinking.shrink(pixels, factor, means)
    return means


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(1, 1), (7, 11), (7, 11, 3), (12, 9, 3), (1, 100), (100, 1, 3)])
@pytest.mark.parametrize("factor", [1, 2, 3, 8, 300])
@pytest.mark.parametrize("fill", ["noise", "white", "nearly half"])
def test_a_pixel_is_the_rounded_mean_of_its_cell(dtype: Any, shape: tuple[int, ...], factor: int, fill: str) -> None:
    full = np.iinfo(dtype).max
    pixels = np.random.default_rng(1).integers(0, full, shape, dtype, endpoint=True)
    pixels = {"noise": pixels, "white": np.full(shape, full, dtype), "nearly half": pixels % 2 + 4}[fill].astype(dtype)
    smaller = shrink(pixels, factor)
    assert smaller.dtype == dtype
    wanted = [
        [(2 * cell.sum((0, 1), int) + cell[..., :1].size) // (2 * cell[..., :1].size) for cell in cells]
        for cells in (
            [
                pixels.reshape(*shape[:2], -1)[top : top + factor, left : left + factor]
                for left in range(0, shape[1], factor)
            ]
            for top in range(0, shape[0], factor)
        )
    ]
    assert np.array_equal(smaller.reshape(*smaller.shape[:2], -1), wanted)


def test_any_cut_into_strips_and_any_kind_of_array_gives_the_same() -> None:
    pixels = np.random.default_rng(1).integers(0, 255, (50, 40, 3), np.uint8)
    strips = [shrink(pixels[top : top + 6], 3) for top in range(0, 50, 6)]
    assert np.array_equal(np.concatenate(strips), shrink(pixels, 3))
    part = pixels[:, 5:20, ::2]
    part.flags.writeable = False
    assert np.array_equal(shrink(part, 3), shrink(part.copy(), 3))
