"""What color and tone do to the pixels of a few rows: compiled, one pass each.

`render_rows` applies both to pixels that are coded as sRGB; `color_rows` and `repair_rows` each apply one to linear
sRGB. All arithmetic is float32 in a fixed order, with tables for powers, logarithms and exponentials.
"""

from typing import Any

import numpy as np
from numba import njit

from retint_models.layers.color import CB_SCALE, CR_SCALE, LUMA, density_to_srgb, srgb_to_density
from retint_models.layers.encodings import (
    CURVE_STEPS,
    LINEAR_BY_SRGB,
    ROOT_STEPS,
    SRGB_BY_ROOT,
    extend,
    read_even,
)

DEEPEST = 8.0
REACH = 4.0
STEPS = 4096

KR, KG, KB = (np.float32(weight) for weight in LUMA)
RED, BLUE = np.float32(CR_SCALE), np.float32(CB_SCALE)
ZERO, HALF, ONE = np.float32(0), np.float32(0.5), np.float32(1)
LAST = np.float32(STEPS)
PER_DENSITY, PER_GAIN = np.float32(STEPS / DEEPEST), np.float32(STEPS / (2 * REACH))
LOWEST = np.float32(-REACH)
LAST_ROOT, LAST_CODE = np.float32(ROOT_STEPS), np.float32(CURVE_STEPS)
SHADE = np.float32(1e-3)
"""Luminance below which what lies outside of sRGB hardly grows."""
STILL = np.float32(4e-6)
"""A change of sRGB that is smaller, a quarter of a 16-bit code value, is the tables' rounding, and none."""


DENSITY_TABLE = extend(srgb_to_density(np.linspace(0, 1, STEPS + 1)))
"""Density of gamma-coded values in [0, 1]."""
SRGB_TABLE = extend(density_to_srgb(np.linspace(0, DEEPEST, STEPS + 1)))
"""Gamma-coded value of densities in [0, 8]."""
FACTOR_TABLE = extend(np.exp(np.linspace(-REACH, REACH, STEPS + 1)))
"""Factor of density for log gains in [-4, 4]."""


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
def _room(luma, r, g, b):  # type: ignore[no-untyped-def]
    """Return the share of the differences R' - Y', G' - Y', B' - Y' for which the cube has room at this luma."""
    room = ONE
    for offset in (r, g, b):
        if luma + offset > ONE:
            room = min(room, (ONE - luma) / offset)
        elif luma + offset < ZERO:
            room = min(room, -luma / offset)
    return room


@njit(cache=True, nogil=True, error_model="numpy")
def _add_chroma(luma, guide, line, left, share):  # type: ignore[no-untyped-def]
    """R', G', B' of a pixel with this luma: chroma from the maps, reduced as far as the cube needs, luma kept.

    `guide` is the pixel's luma as the colorizer saw it, whose detail chroma follows.
    """
    right = min(left + np.uint32(1), np.uint32(line.shape[0] - 1))
    blue = line[left, 0] + (line[right, 0] - line[left, 0]) * share
    red = line[left, 1] + (line[right, 1] - line[left, 1]) * share
    blue_slope = line[left, 2] + (line[right, 2] - line[left, 2]) * share
    red_slope = line[left, 3] + (line[right, 3] - line[left, 3]) * share
    detail = guide - (line[left, 4] + (line[right, 4] - line[left, 4]) * share)
    r = RED * (red + red_slope * detail)
    b = BLUE * (blue + blue_slope * detail)
    g = -(KR * r + KB * b) / KG
    room = _room(luma, r, g, b)
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
        read_even(SRGB_TABLE, (before + change) * PER_DENSITY) - read_even(SRGB_TABLE, before * PER_DENSITY)
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
    dr = read_even(DENSITY_TABLE, r * LAST)
    dg = read_even(DENSITY_TABLE, g * LAST)
    db = read_even(DENSITY_TABLE, b * LAST)

    def repaired(coded: Any, before: Any, c: int) -> Any:
        d = _read_curve(curves[c], matrix[c, 0] * dr + matrix[c, 1] * dg + matrix[c, 2] * db + shift[c])
        gain = _slice_grid(line, left, right, share, near, far, along, c)
        offset = _slice_grid(line, left, right, share, near, far, along, c + 3)
        d = d * read_even(FACTOR_TABLE, (gain - LOWEST) * PER_GAIN) + offset
        return _change_density(coded, before, amount * (d - before))

    return repaired(r, dr, 0), repaired(g, dg, 1), repaired(b, db, 2)


@njit(cache=True, nogil=True, error_model="numpy")
def _clip(value):  # type: ignore[no-untyped-def]
    return min(max(value, ZERO), ONE)


@njit(cache=True, nogil=True, error_model="numpy")
def _toned_luma(r, g, b, is_gray):  # type: ignore[no-untyped-def]
    """Return the luma that a pixel has in a result whose tone alone is repaired."""
    if is_gray:
        return _clip(KR * r + KG * g + KB * b)
    return KR * _clip(r) + KG * _clip(g) + KB * _clip(b)


@njit(cache=True, nogil=True, error_model="numpy")
def render_rows(pixels, out, top, height, color, tone, is_color_first):  # type: ignore[no-untyped-def]
    """Apply color and tone to sRGB, and convert to code values: (rows, width, 1 or 3) into `out`."""
    maps, map_left, map_share = color
    grid, grid_left, grid_share, matrix, shift, curves, amount, full_amount = tone
    has_color, has_density = maps.shape[0] > 0, grid.shape[0] > 0
    is_gray = pixels.shape[2] == 1
    full = np.float32(255 if pixels.itemsize == 1 else 65535)
    map_line = np.empty(maps.shape[1:], np.float32)
    grid_line = np.empty(grid.shape[1:], np.float32)
    scale = ONE / full
    for row in range(pixels.shape[0]):
        if has_color:
            _interpolate_row(maps, top + row, height, map_line)
        if has_density:
            _interpolate_row(grid, top + row, height, grid_line)
        for x in range(pixels.shape[1]):
            r = g = b = np.float32(pixels[row, x, 0]) * scale
            if not is_gray:
                g = np.float32(pixels[row, x, 1]) * scale
                b = np.float32(pixels[row, x, 2]) * scale
            if has_color and is_color_first:
                luma = r if is_gray else KR * r + KG * g + KB * b
                r, g, b = _add_chroma(luma, luma, map_line, map_left[x], map_share[x])
            before = (r, g, b)
            if has_density:
                left, share = grid_left[x], grid_share[x]
                r, g, b = _repair_tone(r, g, b, grid_line, left, share, matrix, shift, curves, amount)
            if has_color and not is_color_first:
                luma = guide = _toned_luma(r, g, b, is_gray) if has_density or not is_gray else r
                if has_density and full_amount != amount:
                    left, share, (r, g, b) = grid_left[x], grid_share[x], before
                    r, g, b = _repair_tone(r, g, b, grid_line, left, share, matrix, shift, curves, full_amount)
                    guide = _toned_luma(r, g, b, is_gray)
                r, g, b = _add_chroma(luma, guide, map_line, map_left[x], map_share[x])
            if out.shape[2] == 1:
                out[row, x, 0] = _to_code_value(KR * r + KG * g + KB * b if has_density else r, full)
            else:
                out[row, x, 0] = _to_code_value(r, full)
                out[row, x, 1] = _to_code_value(g, full)
                out[row, x, 2] = _to_code_value(b, full)


@njit(cache=True, nogil=True, error_model="numpy")
def _to_srgb(light):  # type: ignore[no-untyped-def]
    """Code linear light as sRGB; outside [0, 1], the end."""
    return read_even(SRGB_BY_ROOT, np.sqrt(min(max(light, ZERO), ONE)) * LAST_ROOT)


@njit(cache=True, nogil=True, error_model="numpy")
def color_rows(linear, guide, out, top, height, color):  # type: ignore[no-untyped-def]
    """Apply color to linear sRGB (rows, width, 3); `guide` is the same as the colorizer saw it."""
    maps, left, share = color
    line = np.empty(maps.shape[1:], np.float32)
    for row in range(linear.shape[0]):
        _interpolate_row(maps, top + row, height, line)
        for x in range(linear.shape[1]):
            r, g, b = _to_srgb(linear[row, x, 0]), _to_srgb(linear[row, x, 1]), _to_srgb(linear[row, x, 2])
            seen = KR * _to_srgb(guide[row, x, 0]) + KG * _to_srgb(guide[row, x, 1]) + KB * _to_srgb(guide[row, x, 2])
            r, g, b = _add_chroma(KR * r + KG * g + KB * b, seen, line, left[x], share[x])
            out[row, x, 0], out[row, x, 1], out[row, x, 2] = _to_light(r), _to_light(g), _to_light(b)


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
            room = _room(luma, r, g, b)
            out[y, x, 0], out[y, x, 1], out[y, x, 2] = luma + room * r, luma + room * g, luma + room * b
    return out


@njit(cache=True, nogil=True, error_model="numpy")
def repair_rows(linear, out, top, height, tone, stays_gray):  # type: ignore[no-untyped-def]
    """Apply tone to linear sRGB (rows, width, 3).

    What lies outside of sRGB is repaired as its nearest color inside. The part outside grows with the luminance.
    """
    grid, left, share, matrix, shift, curves, amount, _ = tone
    line = np.empty(grid.shape[1:], np.float32)
    for row in range(linear.shape[0]):
        _interpolate_row(grid, top + row, height, line)
        for x in range(linear.shape[1]):
            light = (linear[row, x, 0], linear[row, x, 1], linear[row, x, 2])
            before = (_to_srgb(light[0]), _to_srgb(light[1]), _to_srgb(light[2]))
            r, g, b = _repair_tone(*before, line, left[x], share[x], matrix, shift, curves, amount)
            after = (_settle(before[0], r), _settle(before[1], g), _settle(before[2], b))
            if stays_gray:
                change = KR * (after[0] - before[0]) + KG * (after[1] - before[1]) + KB * (after[2] - before[2])
                after = (before[0] + change, before[1] + change, before[2] + change)
            growth = (_luminance(after) + SHADE) / (_luminance(before) + SHADE)
            for c in range(3):
                inside = min(max(light[c], ZERO), ONE)
                moved = _to_light(after[c]) - _to_light(before[c])
                out[row, x, c] = inside + moved + (light[c] - inside) * growth


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
