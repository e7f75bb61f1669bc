"""Fit a density layer to a network's repair of a gray picture: one curve, then offsets in a bilateral grid.

Both are linear least squares. An error in density is weighted by the error that it causes in gamma-coded values.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retint_models.layers.color import srgb_to_density
from retint_models.layers.types import DENSITY_RANGE, DensityLayer

Floats = NDArray[np.float64]

SIDE = 144
"""Side of the reduced pictures to which the layer is fitted."""
KNOTS = 9
GRID = (8, 16, 16)
"""Cells along luma, rows and columns."""
STIFFNESS = 1e-3
"""Weight of the curve's bends, relative to the mean pixel."""
SMOOTHNESS, TRUST = 1.0, 0.05
"""Weights of the differences of neighboring cells and of a cell's size, relative to a white pixel."""


def fit_layer(gray: NDArray[Any], repaired: NDArray[Any], record: dict[str, Any]) -> DensityLayer:
    """Fit a layer that maps one gray picture close to another and treats the three channels alike.

    Args:
        gray: (h, w), gamma-coded, in [0, 1].
        repaired: (h, w), the wanted result.
        record: Record of the layer.
    """
    before, after = reduce_by_area(gray), reduce_by_area(repaired)
    densities, wanted = (srgb_to_density(values).ravel() for values in (before, after))
    # With V = 1.055 R^(1 / 2.4) - .055 and D = -log10 R, the slope dV / dD is proportional to V + .055.
    weights = (after.ravel() + 0.055) / 1.055
    curve = fit_curve(densities, wanted, weights)
    offsets = fit_offsets(before, wanted - hat_basis(densities) @ curve, weights)
    return DensityLayer(
        matrix=np.eye(3, dtype=np.float32),
        shift=np.zeros(3, np.float32),
        curves=np.repeat(curve[None].astype(np.float32), 3, axis=0),
        grid=np.repeat(np.stack([np.zeros(GRID), offsets]), 3, axis=0).astype(np.float32),
        gate=1.0,
        record=record,
    )


def reduce_by_area(values: NDArray[Any]) -> Floats:
    """Reduce (h, w) by area to (SIDE, SIDE), in [0, 1]."""
    picture = Image.fromarray(np.ascontiguousarray(values, np.float32))
    return np.clip(np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BOX), np.float64), 0, 1)


def fit_curve(densities: Floats, wanted: Floats, weights: Floats) -> Floats:
    """Fit a curve that never falls; return its values at KNOTS knots.

    Least squares in the curve's steps; falling steps are fixed at 0, the worst first.
    """
    steps = np.tril(np.ones((KNOTS, KNOTS)))  # the first step is the value at density 0, which may have either sign
    samples = (weights[:, None] * hat_basis(densities)) @ steps
    bends = np.sqrt(STIFFNESS * len(densities)) * np.diff(np.eye(KNOTS), 2, axis=0) @ steps
    system, goal = np.vstack([samples, bends]), np.append(weights * wanted, np.zeros(len(bends)))
    matrix, right = system.T @ system, system.T @ goal
    free, found = np.ones(KNOTS, bool), np.zeros(KNOTS)
    while True:
        found[:] = 0
        found[free] = np.linalg.lstsq(matrix[np.ix_(free, free)], right[free], rcond=None)[0]
        worst = 1 + int(found[1:].argmin())
        if found[worst] >= 0:
            curve: Floats = steps @ found
            return curve
        free[worst] = False


def hat_basis(densities: Floats) -> Floats:
    """Return the weights of the knots at densities (n,), (n, KNOTS); beyond the last knot the last segment goes on."""
    place = densities * ((KNOTS - 1) / DENSITY_RANGE)
    left = np.minimum(place.astype(int), KNOTS - 2)
    counts = np.zeros((len(densities), KNOTS))
    rows = np.arange(len(densities))
    counts[rows, left] = 1 - (place - left)
    counts[rows, left + 1] = place - left
    return counts


def fit_offsets(picture: Floats, missing: Floats, weights: Floats) -> Floats:
    """Fit the grid of offsets to the missing densities, by conjugate gradients (Hestenes and Stiefel, 1952).

    Args:
        picture: (SIDE, SIDE), the gray values at which the grid is read.
        missing: (SIDE * SIDE,), densities to add.
        weights: (SIDE * SIDE,), of the pixels.
    """
    cells, shares = grid_corners(picture)
    shares = shares * weights

    def apply_normal_matrix(grid: Floats) -> Floats:
        """Apply the matrix of the normal equations."""
        read = (grid.ravel()[cells] * shares).sum(axis=0)
        result = scatter(read) + TRUST * grid
        for axis in range(grid.ndim):
            ends = [(0, 0)] * axis + [(1, 1)] + [(0, 0)] * (grid.ndim - 1 - axis)
            result -= SMOOTHNESS * np.diff(np.pad(np.diff(grid, axis=axis), ends), axis=axis)
        return result

    def scatter(values: Floats) -> Floats:
        """Add the pixels' values to their cells."""
        sums = np.bincount(cells.ravel(), (shares * values).ravel(), int(np.prod(GRID)))
        return sums.reshape(GRID).astype(np.float64)

    grid = np.zeros(GRID)
    rest = scatter(weights * missing)
    direction, length = rest, float((rest * rest).sum())
    for _ in range(200):
        if length < 1e-12:
            break
        image = apply_normal_matrix(direction)
        step = length / float((direction * image).sum())
        grid, rest = grid + step * direction, rest - step * image
        previous, length = length, float((rest * rest).sum())
        direction = rest + (length / previous) * direction
    return grid


def grid_corners(picture: Floats) -> tuple[NDArray[np.int64], Floats]:
    """Return the eight cells that each pixel is read from, and their shares: both (8, SIDE * SIDE)."""
    rows, columns = np.divmod(np.arange(picture.size), SIDE)
    cells, shares = np.zeros((1, picture.size), np.int64), np.ones((1, picture.size))
    for place, count in zip((picture.ravel(), (rows + 0.5) / SIDE, (columns + 0.5) / SIDE), GRID, strict=True):
        at = np.clip(place * count - 0.5, 0, count - 1)
        near = np.minimum(at.astype(np.int64), count - 2)
        far = at - near
        cells = np.concatenate([cells * count + near, cells * count + near + 1])
        shares = np.concatenate([shares * (1 - far), shares * far])
    return cells, shares
