"""What color and tone do to a block of pixels of one row: compiled, a step of the formula after the other.

Each step is a loop that is simple enough for the compiler to let the processor take many pixels at once: no branches,
no tables, contiguous arrays of float32. The arithmetic has a fixed order, and what a pixel becomes does not depend on
its block.
"""

from math import log

import numpy as np
from numba import njit

from retint_models.layers.color import CB_SCALE, CR_SCALE, LUMA
from retint_models.layers.density import BLACKEST_SRGB, density_to_srgb, exp2, srgb_to_density
from retint_models.layers.types import DENSITY_RANGE

BLOCK = 512
"""Columns of a block at most: what is needed of them fits into the fastest memory."""
REACH = np.float32(4)
"""Log gains are at most so large."""
LOG2_E = np.float32(1 / log(2))
KR, KG, KB = (np.float32(weight) for weight in LUMA)
RED, BLUE = np.float32(CR_SCALE), np.float32(CB_SCALE)
ZERO, HALF, ONE = np.float32(0), np.float32(0.5), np.float32(1)


# --- places -----------------------------------------------------------------------------------------------------------


@njit(cache=True, nogil=True, error_model="numpy")
def cut(width, left):  # type: ignore[no-untyped-def]
    """Return where blocks of columns begin, and the end.

    Args:
        width: of the photo.
        left: sample to the left of each column, the same all over a block; or empty.
    """
    starts = np.empty(width + 1, np.int64)
    count = 0
    for x in range(width):
        if x == 0 or x - starts[count - 1] == BLOCK or (left.size > 0 and left[x] != left[x - 1]):
            starts[count] = x
            count += 1
    starts[count] = width
    return starts[: count + 1]


@njit(cache=True, nogil=True, error_model="numpy")
def _find_rows(y, height, rows):  # type: ignore[no-untyped-def]
    """Return between which two rows of a smaller picture a row lies, and the weight of the second; edges repeat."""
    at = min(max((y + 0.5) * rows / height - 0.5, 0.0), rows - 1.0)
    above = int(at)
    return above, min(above + 1, rows - 1), np.float32(at - above)


@njit(cache=True, nogil=True, error_model="numpy")
def _mix(first, second, share, mixed):  # type: ignore[no-untyped-def]
    for i in range(mixed.size):
        mixed[i] = first[i] + (second[i] - first[i]) * share


# --- color ------------------------------------------------------------------------------------------------------------


@njit(cache=True, nogil=True, error_model="numpy")
def _widen(maps, row, left, share, kept_rows, wide):  # type: ignore[no-untyped-def]
    """Interpolate a row of the maps (5, h, w) at every column of the photo, unless it is there yet.

    `wide` (2, 5, width) keeps an even row and an odd one; `kept_rows` tells which.
    """
    if kept_rows[row % 2] == row:
        return
    kept_rows[row % 2] = row
    last = np.uint32(maps.shape[2] - 1)
    for plane in range(5):
        line, target = maps[plane, row], wide[row % 2, plane]
        for x in range(target.size):
            first, second = line[left[x]], line[min(left[x] + np.uint32(1), last)]
            target[x] = first + (second - first) * share[x]


@njit(cache=True, nogil=True, error_model="numpy")
def read_maps(maps, left, share, y, height, kept_rows, wide, line):  # type: ignore[no-untyped-def]
    """Interpolate the maps at one of `height` rows into `line` (5, width)."""
    above, below, weight = _find_rows(y, height, maps.shape[1])
    _widen(maps, above, left, share, kept_rows, wide)
    _widen(maps, below, left, share, kept_rows, wide)
    _mix(wide[above % 2].ravel(), wide[below % 2].ravel(), weight, line.ravel())


@njit(cache=True, nogil=True, error_model="numpy")
def room(luma, r, g, b):  # type: ignore[no-untyped-def]
    """Return the share of the differences R' - Y', G' - Y', B' - Y' for which the cube has room at this luma."""
    highest, lowest = max(r, max(g, b)), min(r, min(g, b))
    above = (ONE - luma) / highest if luma + highest > ONE else ONE
    below = -luma / lowest if luma + lowest < ZERO else ONE
    return min(above, below)


@njit(cache=True, nogil=True, error_model="numpy")
def add_chroma(luma, guide, line, start, r, g, b):  # type: ignore[no-untyped-def]
    """R', G', B' of pixels (n,) with this luma: chroma from the maps, reduced as far as the cube needs, luma kept.

    `guide` is the pixels' luma as the colorizer saw it, whose detail chroma follows; `line` (5, width) is of the
    maps, and `start` the column of the first pixel.
    """
    stop = start + r.size
    blue, red, seen = line[0, start:stop], line[1, start:stop], line[4, start:stop]
    blue_slope, red_slope = line[2, start:stop], line[3, start:stop]
    for x in range(r.size):
        detail = guide[x] - seen[x]
        to_red = RED * (red[x] + red_slope[x] * detail)
        to_blue = BLUE * (blue[x] + blue_slope[x] * detail)
        to_green = -(KR * to_red + KB * to_blue) / KG
        share = room(luma[x], to_red, to_green, to_blue)
        r[x] = luma[x] + share * to_red
        g[x] = luma[x] + share * to_green
        b[x] = luma[x] + share * to_blue


# --- tone -------------------------------------------------------------------------------------------------------------


@njit(cache=True, nogil=True, error_model="numpy")
def _add_between(near, far, share, weight, total):  # type: ignore[no-untyped-def]
    """Add what is interpolated between two samples, weighted."""
    step = far - near
    for x in range(total.size):
        total[x] += (near + step * share[x]) * weight[x]


@njit(cache=True, nogil=True, error_model="numpy")
def _slice_grid(depth, near, far, share, weight, values):  # type: ignore[no-untyped-def]
    """Read the grid between two of its columns (bins, 6), into `values` (6, n).

    Args:
        depth: (n,) place in [0, bins - 1].
        near: the column to the left.
        far: the column to the right.
        share: (n,) weight of the column to the right.
        weight: (n,) to work in.
        values: (6, at least n) gains and offsets.
    """
    bins = near.shape[0]
    lowest, highest = np.int32(bins), np.int32(0)
    for x in range(depth.size):
        lowest, highest = min(lowest, np.int32(depth[x])), max(highest, np.int32(depth[x]))
    values[:, : depth.size] = ZERO
    for k in range(lowest, min(highest + 2, bins)):
        middle = np.float32(k)
        for x in range(depth.size):
            weight[x] = max(ONE - abs(depth[x] - middle), ZERO)
        for c in range(6):
            _add_between(near[k, c], far[k, c], share, weight, values[c, : depth.size])


@njit(cache=True, nogil=True, error_model="numpy")
def _read_curve(curve, place, value):  # type: ignore[no-untyped-def]
    """Read a curve with even knots at places (n,), counted in knots; beyond the ends the last segment goes on."""
    slope = curve[1] - curve[0]
    for x in range(place.size):
        value[x] = curve[0] + slope * place[x]
    for k in range(1, curve.size - 1):
        knot, bend = np.float32(k), curve[k + 1] - curve[k] - slope
        slope += bend
        for x in range(place.size):
            value[x] += bend * max(place[x] - knot, ZERO)


@njit(cache=True, nogil=True, error_model="numpy")
def _change_density(coded, before, curved, gain, offset, amount):  # type: ignore[no-untyped-def]
    """Change the density of gamma-coded values (n,). What lies below the darkest density stays as far below."""
    for x in range(coded.size):
        factor = exp2(min(max(gain[x], -REACH), REACH) * LOG2_E)
        change = amount * (curved[x] * factor + offset[x] - before[x])
        coded[x] += density_to_srgb(before[x] + change) - min(max(coded[x], BLACKEST_SRGB), ONE)


@njit(cache=True, nogil=True, error_model="numpy")
def _find_densities(coded, density):  # type: ignore[no-untyped-def]
    for x in range(coded.size):
        density[x] = srgb_to_density(coded[x])


@njit(cache=True, nogil=True, error_model="numpy")
def read_grid(grid, y, height, line):  # type: ignore[no-untyped-def]
    """Interpolate the grid at one of `height` rows into `line` (columns, bins, 6)."""
    above, below, weight = _find_rows(y, height, grid.shape[0])
    _mix(grid[above].ravel(), grid[below].ravel(), weight, line.ravel())


@njit(cache=True, nogil=True, error_model="numpy")
def repair_tone(r, g, b, grid_line, start, tone, amount, work):  # type: ignore[no-untyped-def]
    """Repair the tone of pixels (n,) coded as sRGB, in place: the formula of `DensityLayer`.

    Args:
        r: red, like `g` and `b`.
        g: green.
        b: blue.
        grid_line: see `read_grid`.
        start: column of the first pixel; all lie between the same columns of the grid.
        tone: the layer, see `pixels.render_rows`.
        amount: of the repair.
        work: (12, at least n) to work in.
    """
    n = r.size
    _, grid_left, grid_share, matrix, shift, curves, _, _ = tone
    left = grid_left[start]
    near, far = grid_line[left], grid_line[min(left + np.uint32(1), np.uint32(grid_line.shape[0] - 1))]
    depth, place, curved, dr, dg, db = work[0, :n], work[1, :n], work[2, :n], work[3, :n], work[4, :n], work[5, :n]
    values, bins = work[6:12], np.float32(near.shape[0])
    for x in range(n):
        depth[x] = min(max((KR * r[x] + KG * g[x] + KB * b[x]) * bins - HALF, ZERO), bins - ONE)
    _slice_grid(depth, near, far, grid_share[start : start + n], place, values)
    _find_densities(r, dr)
    _find_densities(g, dg)
    _find_densities(b, db)
    knots = np.float32((curves.shape[1] - 1) / DENSITY_RANGE)
    for c, coded, before in ((0, r, dr), (1, g, dg), (2, b, db)):
        of_red, of_green, of_blue, more = matrix[c, 0], matrix[c, 1], matrix[c, 2], shift[c]
        for x in range(n):
            place[x] = (of_red * dr[x] + of_green * dg[x] + of_blue * db[x] + more) * knots
        _read_curve(curves[c], place, curved)
        _change_density(coded, before, curved, values[c, :n], values[c + 3, :n], amount)


@njit(cache=True, nogil=True, error_model="numpy")
def sum_luma(r, g, b, luma):  # type: ignore[no-untyped-def]
    """Find the luma of pixels (n,)."""
    for x in range(luma.size):
        luma[x] = KR * r[x] + KG * g[x] + KB * b[x]


@njit(cache=True, nogil=True, error_model="numpy")
def sum_toned_luma(r, g, b, is_gray, luma):  # type: ignore[no-untyped-def]
    """Find the luma that pixels have in a result whose tone alone is repaired."""
    if is_gray:
        for x in range(luma.size):
            luma[x] = min(max(KR * r[x] + KG * g[x] + KB * b[x], ZERO), ONE)
    else:
        for x in range(luma.size):
            red, green, blue = min(max(r[x], ZERO), ONE), min(max(g[x], ZERO), ONE), min(max(b[x], ZERO), ONE)
            luma[x] = KR * red + KG * green + KB * blue
