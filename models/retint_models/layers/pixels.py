"""What color and tone do to the pixels of a few rows: compiled, in blocks (see `blocks`).

`render_rows` applies both to pixels that are coded as sRGB; `color_rows` and `repair_rows` each apply one to linear
sRGB.
"""

import numpy as np
from numba import njit

from retint_models.layers.blocks import (
    BLOCK,
    HALF,
    KB,
    KG,
    KR,
    ONE,
    ZERO,
    add_chroma,
    cut,
    read_grid,
    read_maps,
    repair_tone,
    room,
    sum_luma,
    sum_toned_luma,
)
from retint_models.layers.color import LUMA
from retint_models.layers.encodings import CURVE_STEPS, LINEAR_BY_SRGB, ROOT_STEPS, SRGB_BY_ROOT, read_even

LAST_ROOT, LAST_CODE = np.float32(ROOT_STEPS), np.float32(CURVE_STEPS)
SHADE = np.float32(1e-3)
"""Luminance below which what lies outside of sRGB hardly grows."""
STILL = np.float32(4e-6)
"""A change of sRGB that is smaller, a quarter of a 16-bit code value, is rounding, and none."""
SCALE = np.int32(10_000)
WEIGHTS = tuple(np.int32(round(weight * 10_000)) for weight in LUMA)
"""Of luma, in whole numbers."""


@njit(cache=True, nogil=True, error_model="numpy")
def _load(line, scale, r, g, b):  # type: ignore[no-untyped-def]
    """Read a row's code values, gray (n,) or interleaved RGB (3 n,)."""
    if line.size == r.size:
        for x in range(r.size):
            r[x] = np.float32(line[x]) * scale
            g[x] = b[x] = r[x]
    else:
        for x in range(r.size):
            r[x] = np.float32(line[3 * x]) * scale
            g[x] = np.float32(line[3 * x + 1]) * scale
            b[x] = np.float32(line[3 * x + 2]) * scale


@njit(cache=True, nogil=True, error_model="numpy")
def _store(line, full, r, g, b):  # type: ignore[no-untyped-def]
    """Round values in [0, 1] to code values; outside, the end. Gray is the luma; see `_load`."""
    if line.size == r.size:
        for x in range(r.size):
            luma = KR * r[x] + KG * g[x] + KB * b[x]
            line[x] = np.int32(min(max(luma, ZERO), ONE) * full + HALF)
    else:
        for x in range(r.size):
            line[3 * x] = np.int32(min(max(r[x], ZERO), ONE) * full + HALF)
            line[3 * x + 1] = np.int32(min(max(g[x], ZERO), ONE) * full + HALF)
            line[3 * x + 2] = np.int32(min(max(b[x], ZERO), ONE) * full + HALF)


@njit(cache=True, nogil=True, error_model="numpy")
def render_rows(pixels, out, top, height, color, tone, is_color_first):  # type: ignore[no-untyped-def]
    """Apply color and tone to sRGB, and convert to code values.

    Args:
        pixels: uint8 or uint16, (rows, width, 1 or 3).
        out: for the result; like `pixels`.
        top: the photo's row that the pixels begin with.
        height: of the photo.
        color: maps (5, h, w), see `rendering.chroma_maps`; the sample to the left of each of the photo's columns, and
            the weight of the next one. No color where the maps are empty.
        tone: grid (h, w, bins, 6) and the same for its columns; matrix, shift and curves; the amount of the repair,
            and what it would be at full strength. No tone where the grid is empty.
        is_color_first: whether the tone of the colored picture is repaired.
    """
    maps, map_left, map_share = color
    grid, grid_left = tone[0], tone[1]
    width, full = pixels.shape[1], np.float32(255 if pixels.itemsize == 1 else 65535)
    kept_rows, wide = np.full(2, -1), np.empty((2, 5, width if maps.shape[1] > 0 else 0), np.float32)
    map_line, grid_line = np.empty(wide.shape[1:], np.float32), np.empty(grid.shape[1:], np.float32)
    starts = cut(width, grid_left)
    space = np.empty((20, BLOCK), np.float32)
    for row in range(pixels.shape[0]):
        if map_line.size > 0:
            read_maps(maps, map_left, map_share, top + row, height, kept_rows, wide, map_line)
        if grid_line.size > 0:
            read_grid(grid, top + row, height, grid_line)
        for i in range(starts.size - 1):
            start, stop = starts[i], starts[i + 1]
            r, g, b = space[0, : stop - start], space[1, : stop - start], space[2, : stop - start]
            _load(pixels[row, start:stop].reshape(-1), ONE / full, r, g, b)
            if is_color_first:
                if map_line.size > 0:
                    sum_luma(r, g, b, space[3, : r.size])
                    add_chroma(space[3, : r.size], space[3, : r.size], map_line, start, r, g, b)
                if grid_line.size > 0:
                    repair_tone(r, g, b, grid_line, start, tone, tone[6], space[4:])
            else:
                _put_color_on_tone(r, g, b, pixels.shape[2] == 1, map_line, grid_line, start, tone, space[3:])
            _store(out[row, start:stop].reshape(-1), full, r, g, b)


@njit(cache=True, nogil=True, error_model="numpy")
def _put_color_on_tone(r, g, b, is_gray, map_line, grid_line, start, tone, work):  # type: ignore[no-untyped-def]
    """Repair the tone of pixels (n,) coded as sRGB, in place, and put color on its luma, as far as there are layers."""
    n, amount, full_amount = r.size, tone[6], tone[7]
    luma, guide, full_r, full_g, full_b = work[0, :n], work[1, :n], work[2, :n], work[3, :n], work[4, :n]
    is_weak = grid_line.size > 0 and map_line.size > 0 and full_amount != amount
    if is_weak:
        full_r[:], full_g[:], full_b[:] = r, g, b
        repair_tone(full_r, full_g, full_b, grid_line, start, tone, full_amount, work[5:])
        sum_toned_luma(full_r, full_g, full_b, is_gray, guide)
    if grid_line.size > 0:
        repair_tone(r, g, b, grid_line, start, tone, amount, work[5:])
    if map_line.size > 0:
        sum_toned_luma(r, g, b, is_gray, luma)
        add_chroma(luma, guide if is_weak else luma, map_line, start, r, g, b)


@njit(cache=True, nogil=True, error_model="numpy")
def _to_srgb(light):  # type: ignore[no-untyped-def]
    """Code linear light as sRGB; outside [0, 1], the end."""
    return read_even(SRGB_BY_ROOT, np.sqrt(min(max(light, ZERO), ONE)) * LAST_ROOT)


@njit(cache=True, nogil=True, error_model="numpy")
def _load_light(light, start, r, g, b):  # type: ignore[no-untyped-def]
    """Read pixels of a row of linear sRGB (width, 3) from a column on, coded as sRGB."""
    for x in range(r.size):
        pixel = light[start + x]
        r[x], g[x], b[x] = _to_srgb(pixel[0]), _to_srgb(pixel[1]), _to_srgb(pixel[2])


@njit(cache=True, nogil=True, error_model="numpy")
def color_rows(linear, guide, out, top, height, color):  # type: ignore[no-untyped-def]
    """Apply color to linear sRGB (rows, width, 3); `guide` is the same as the colorizer saw it."""
    maps, left, share = color
    width = linear.shape[1]
    kept_rows, wide = np.full(2, -1), np.empty((2, 5, width), np.float32)
    line, work = np.empty((5, width), np.float32), np.empty((5, width), np.float32)
    r, g, b, luma, seen = work[0], work[1], work[2], work[3], work[4]
    for row in range(linear.shape[0]):
        read_maps(maps, left, share, top + row, height, kept_rows, wide, line)
        _load_light(guide[row], 0, r, g, b)
        sum_luma(r, g, b, seen)
        _load_light(linear[row], 0, r, g, b)
        sum_luma(r, g, b, luma)
        add_chroma(luma, seen, line, 0, r, g, b)
        for x in range(width):
            out[row, x, 0], out[row, x, 1], out[row, x, 2] = _to_light(r[x]), _to_light(g[x]), _to_light(b[x])


@njit(cache=True, nogil=True, error_model="numpy")
def put_on_luma(colored, codes):  # type: ignore[no-untyped-def]
    """Return colored code values (rows, width, 3) at the luma of others; out of gamut chroma is reduced, never luma."""
    out = np.empty_like(colored)
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            luma = KR * codes[y, x, 0] + KG * codes[y, x, 1] + KB * codes[y, x, 2]
            r, g, b = colored[y, x, 0], colored[y, x, 1], colored[y, x, 2]
            middle = KR * r + KG * g + KB * b
            r, g, b = r - middle, g - middle, b - middle
            share = room(luma, r, g, b)
            out[y, x, 0], out[y, x, 1], out[y, x, 2] = luma + share * r, luma + share * g, luma + share * b
    return out


@njit(cache=True, nogil=True, error_model="numpy")
def repair_rows(linear, out, top, height, tone, stays_gray):  # type: ignore[no-untyped-def]
    """Apply tone to linear sRGB (rows, width, 3).

    What lies outside of sRGB is repaired as its nearest color inside. The part outside grows with the luminance.
    """
    grid_line, starts = np.empty(tone[0].shape[1:], np.float32), cut(linear.shape[1], tone[1])
    space = np.empty((18, BLOCK), np.float32)
    for row in range(linear.shape[0]):
        read_grid(tone[0], top + row, height, grid_line)
        for i in range(starts.size - 1):
            start, stop = starts[i], starts[i + 1]
            n = stop - start
            r, g, b = space[0, :n], space[1, :n], space[2, :n]
            _load_light(linear[row], start, r, g, b)
            space[3:6, :n] = space[0:3, :n]
            repair_tone(r, g, b, grid_line, start, tone, tone[6], space[6:])
            _move_light(linear[row, start:stop], space[3:6], space[0:3], stays_gray, out[row, start:stop])


@njit(cache=True, nogil=True, error_model="numpy")
def _move_light(light, before, after, stays_gray, moved):  # type: ignore[no-untyped-def]
    """Move light (n, 3) as its sRGB (3, n) was changed."""
    for x in range(light.shape[0]):
        old = (before[0, x], before[1, x], before[2, x])
        new = (_settle(old[0], after[0, x]), _settle(old[1], after[1, x]), _settle(old[2], after[2, x]))
        if stays_gray:
            change = KR * (new[0] - old[0]) + KG * (new[1] - old[1]) + KB * (new[2] - old[2])
            new = (old[0] + change, old[1] + change, old[2] + change)
        growth = (_luminance(new) + SHADE) / (_luminance(old) + SHADE)
        for c in range(3):
            inside = min(max(light[x, c], ZERO), ONE)
            change = _to_light(new[c]) - _to_light(old[c])
            moved[x, c] = inside + change + (light[x, c] - inside) * growth


@njit(cache=True, nogil=True, error_model="numpy")
def _to_light(srgb):  # type: ignore[no-untyped-def]
    return read_even(LINEAR_BY_SRGB, srgb * LAST_CODE)


@njit(cache=True, nogil=True, error_model="numpy")
def _luminance(srgb):  # type: ignore[no-untyped-def]
    """Return the luminance of sRGB."""
    return KR * _to_light(srgb[0]) + KG * _to_light(srgb[1]) + KB * _to_light(srgb[2])


@njit(cache=True, nogil=True, error_model="numpy")
def _settle(before, after):  # type: ignore[no-untyped-def]
    """Return a repaired value, or the one before where the change is only rounding."""
    return before if abs(after - before) < STILL else after


@njit(cache=True, nogil=True, error_model="numpy")
def largest_luma_change(before, after):  # type: ignore[no-untyped-def]
    """The largest change of luma in code values between (rows, width, 1 or 3) and (rows, width, 1 or 3)."""
    largest, width = np.int32(0), before.shape[1]
    one, two = np.empty(width, np.int32), np.empty(width, np.int32)
    for row in range(before.shape[0]):
        _scale_luma(before[row].reshape(-1), one)
        _scale_luma(after[row].reshape(-1), two)
        for x in range(width):
            largest = max(largest, abs(two[x] - one[x]))
    return largest / SCALE


@njit(cache=True, nogil=True, error_model="numpy")
def _scale_luma(line, luma):  # type: ignore[no-untyped-def]
    """Find the exact luma of a row's code values, in whole numbers; see `_load`."""
    if line.size == luma.size:
        for x in range(luma.size):
            luma[x] = np.int32(line[x]) * SCALE
    else:
        for x in range(luma.size):
            luma[x] = (
                np.int32(line[3 * x]) * WEIGHTS[0]
                + np.int32(line[3 * x + 1]) * WEIGHTS[1]
                + np.int32(line[3 * x + 2]) * WEIGHTS[2]
            )
