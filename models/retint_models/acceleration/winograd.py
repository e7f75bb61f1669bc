"""3x3 convolutions by Winograd's minimal filtering: 36 multiplications for 4 x 4 pixels instead of 144.

A map is cut into tiles of 6 x 6 that overlap by two. Each tile is read as a polynomial in two directions and evaluated
at six points, where a convolution is a product; the products are interpolated back to 4 x 4 pixels (Lavin and Gray,
arXiv:1509.09308). The points 0, 3/4, -3/4, 3/2, -3/2 and infinity have about half the rounding error of the usual ones,
0, 1, -1, 2, -2 and infinity (after Barabasz et al., arXiv:1803.10986): 1e-6 in float32, half a percent in bfloat16.

The products are matrix products by oneDNN; the transforms are compiled here, one pass over the tiles each. Maps are
(height, width, channels). numpy has no bfloat16, so the compiled functions see its bits as uint16.
"""

from typing import Any, Self

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from retint_models.acceleration.folding import batch_norm_affine
from retint_models.acceleration.onednn import multiply

POINTS = (0.0, 0.75, -0.75, 1.5, -1.5)
"""Where the polynomials are evaluated, besides infinity."""
TILE_BYTES = 8 << 20
"""Size of the evaluated tiles at a time: large enough for the matrix products, small enough for the cache."""
ALIGNMENT = 8
"""Channels are padded to a multiple of this."""

A, B = (np.float32(point) for point in POINTS[1::2])
A2, B2, A3, B3 = A * A, B * B, A * A * A, B * B * B
SUM, PRODUCT = A2 + B2, A2 * B2
ZERO = np.float32(0)


class Winograd:
    """A 3x3 convolution with bias, then ReLU, then a gain and an offset for each channel.

    Args:
        weight: (outside, inside, 3, 3).
        bias: (outside,).
        gain: (outside,).
        offset: (outside,).
        dtype: The precision: float32 or bfloat16.
    """

    def __init__(self, weight: Tensor, bias: Tensor, gain: Tensor, offset: Tensor, dtype: torch.dtype) -> None:
        outside, inside = weight.shape[:2]
        kernel_points = kernel_evaluation()
        self.weight = torch.einsum("ia,jb,ocab->ijoc", kernel_points, kernel_points, weight).flatten(0, 1).to(dtype)
        self.after = [each.float().numpy() for each in (bias, gain, offset)]
        self.inside, self.outside = inside, outside

    @classmethod
    def from_layers(cls, layers: Any, dtype: torch.dtype) -> Self:
        """Join a convolution, a ReLU and perhaps a batch norm, in this order; channels are padded to `ALIGNMENT`."""
        conv = layers[0]
        bias = torch.zeros(conv.out_channels) if conv.bias is None else conv.bias
        gain, offset = torch.ones_like(bias), torch.zeros_like(bias)
        if len(layers) > 2:
            gain, offset = batch_norm_affine(layers[2])
        more_in, more_out = -conv.in_channels % ALIGNMENT, -conv.out_channels % ALIGNMENT
        weight = functional.pad(conv.weight, (0, 0, 0, 0, 0, more_in, 0, more_out))
        bias, gain, offset = (functional.pad(each, (0, more_out)) for each in (bias, gain, offset))
        return cls(weight, bias, gain, offset, dtype)

    def __call__(self, x: Tensor, top: bool, bottom: bool) -> Tensor:
        """Convolve rows of a map.

        Args:
            x: (h, w, inside).
            top: Whether the first row is the map's first, so that zeros lie above it. Otherwise it only serves as the
                neighbor of the second row.
            bottom: The same for the last row.

        Returns:
            (h, w, outside), without the rows that only serve as neighbors.
        """
        start, end = 0 if top else 1, len(x) if bottom else len(x) - 1
        y = x.new_empty(end - start, x.shape[1], self.outside)
        across = -(-x.shape[1] // 4)
        step = 4 * max(1, TILE_BYTES // (36 * across * self.inside * x.element_size()))
        for row in range(start, end, step):
            down = -(-(min(row + step, end) - row) // 4)
            tiles = x.new_empty(36, down * across, self.inside)
            evaluate_tiles(as_numpy(x), row, as_numpy(tiles))
            interpolate_tiles(self.multiply_tiles(tiles), as_numpy(y), row - start, *self.after)
        return y

    def multiply_tiles(self, tiles: Tensor) -> NDArray[np.generic] | tuple[NDArray[np.generic], ...]:
        """Multiply tiles (36, count, inside) by the kernels; return 36 arrays (count, outside)."""
        if tiles.dtype == torch.bfloat16:
            return as_numpy(tiles.bmm(self.weight.mT))
        return tuple(as_numpy(multiply(*factors)) for factors in zip(tiles, self.weight, strict=True))


def kernel_evaluation() -> Tensor:
    """Return the matrix (6, 3) that evaluates three numbers of a kernel at the six points."""
    points = np.array(POINTS)
    rows = [point ** np.arange(3) / np.prod(point - points[points != point]) for point in points]
    return torch.from_numpy(np.stack([*rows, np.array([0.0, 0.0, 1.0])])).float()


def as_numpy(x: Tensor) -> NDArray[np.generic]:
    """Return a view of a contiguous tensor's memory: float32, or uint16 for bfloat16."""
    numbers: NDArray[np.generic] = (x.view(torch.uint16) if x.dtype == torch.bfloat16 else x).numpy()
    return numbers


# --- compiled ---------------------------------------------------------------------------------------------------------


@njit(cache=True, nogil=True, error_model="numpy")
def widen(source, target):  # type: ignore[no-untyped-def]
    """Copy a row of float32 or bfloat16 to one of float32."""
    if source.itemsize == 2:
        wide = target.view(np.uint32)
        for c in range(source.size):
            wide[c] = np.uint32(source[c]) << np.uint32(16)
    else:
        for c in range(source.size):
            target[c] = source[c]


@njit(cache=True, nogil=True, error_model="numpy")
def narrow(source, target):  # type: ignore[no-untyped-def]
    """Copy a row of float32 to one of float32 or, rounded to even, of bfloat16."""
    if target.itemsize == 2:
        wide = source.view(np.uint32)
        for c in range(source.size):
            odd = (wide[c] >> np.uint32(16)) & np.uint32(1)
            target[c] = (wide[c] + np.uint32(0x7FFF) + odd) >> np.uint32(16)
    else:
        for c in range(source.size):
            target[c] = source[c]


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def evaluate_line(d, i, v):  # type: ignore[no-untyped-def]
    """Evaluate six coefficients d[:, i] (6, _, C) at the six points: v (6, C)."""
    for c in range(d.shape[2]):
        d1, d2, d3, d4 = d[1, i, c], d[2, i, c], d[3, i, c], d[4, i, c]
        v[0, c] = PRODUCT * d[0, i, c] - SUM * d2 + d4
        even, odd = d4 - B2 * d2, A * (d3 - B2 * d1)
        v[1, c] = even + odd
        v[2, c] = even - odd
        even, odd = d4 - A2 * d2, B * (d3 - A2 * d1)
        v[3, c] = even + odd
        v[4, c] = even - odd
        v[5, c] = PRODUCT * d1 - SUM * d3 + d[5, i, c]


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def interpolate_line(m, i, y):  # type: ignore[no-untyped-def]
    """Find the four pixels y (4, C) whose values at the six points are m[:, i] (6, _, C)."""
    for c in range(m.shape[2]):
        a, b = m[1, i, c] + m[2, i, c], m[3, i, c] + m[4, i, c]
        y[0, c] = m[0, i, c] + a + b
        y[2, c] = A2 * a + B2 * b
        a, b = m[1, i, c] - m[2, i, c], m[3, i, c] - m[4, i, c]
        y[1, c] = A * a + B * b
        y[3, c] = A3 * a + B3 * b + m[5, i, c]


@njit(cache=True, nogil=True, error_model="numpy")
def evaluate_tiles(x, row, tiles):  # type: ignore[no-untyped-def]
    """Evaluate the tiles of x (h, w, C), from a row on, into `tiles` (36, count, C)."""
    height, width, channels = x.shape
    across = (width + 3) // 4
    pixels = np.zeros((6, 1, channels), np.float32)
    half = np.zeros((6, 6, channels), np.float32)  # columns, not yet rows
    done = np.zeros((6, channels), np.float32)
    for tile in range(tiles.shape[1]):
        top, left = row + 4 * (tile // across) - 1, 4 * (tile % across) - 1
        for k in range(6):
            for r in range(6):
                if 0 <= top + r < height and 0 <= left + k < width:
                    widen(x[top + r, left + k], pixels[r, 0])
                else:
                    pixels[r, 0] = ZERO
            evaluate_line(pixels, 0, half[k])
        for i in range(6):
            evaluate_line(half, i, done)
            for j in range(6):
                narrow(done[j], tiles[6 * i + j, tile])


@njit(cache=True, nogil=True, error_model="numpy")
def interpolate_tiles(products, y, row, bias, gain, offset):  # type: ignore[no-untyped-def]
    """Interpolate 36 arrays (count, C) into y (h, w, C), from a row on; add the bias, apply ReLU, gain and offset."""
    height, width, channels = y.shape
    across = (width + 3) // 4
    values = np.zeros((6, 6, channels), np.float32)
    half = np.zeros((6, 4, channels), np.float32)
    done = np.zeros((4, channels), np.float32)
    for tile in range(products[0].shape[0]):
        top, left = row + 4 * (tile // across), 4 * (tile % across)
        for i in range(6):
            for j in range(6):
                widen(products[6 * i + j][tile], values[i, j])
        for j in range(6):
            interpolate_line(values, j, half[j])
        for r in range(min(4, height - top)):
            interpolate_line(half, r, done)
            for k in range(min(4, width - left)):
                line = done[k]
                for c in range(channels):
                    line[c] = max(line[c] + bias[c], ZERO) * gain[c] + offset[c]
                narrow(line, y[top + r, left + k])
