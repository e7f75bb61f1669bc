"""Optical density of sRGB and back, compiled, for loops that work on many pixels at a time.

Powers, logarithms and exponentials are sums and products of float32 in a fixed order: the same values give the same
bytes again on every processor. Errors are below 1e-6.
"""

from math import factorial, log, log2, log10, sqrt

import numpy as np
from numba import njit

from retint_models.layers.color import DARKEST

ZERO, HALF, ONE = np.float32(0), np.float32(0.5), np.float32(1)
ROOT_BITS, MANTISSA_BITS, BIAS = np.float32(sqrt(0.5)).view(np.int32), np.int32(23), np.int32(127)
"""Of IEEE 754's 32 bits: those of the square root of 1/2, how many are the fraction, what is added to the exponent."""
EXP = tuple(np.float32(log(2) ** power / factorial(power)) for power in range(8))
"""Taylor's series of 2^x."""
LOG = tuple(np.float32(2 / log(2) / power) for power in (1, 3, 5, 7, 9))
"""The series of log2 x in odd powers of (x - 1) / (x + 1)."""

# sRGB (IEC 61966-2-1) has a straight part below a knee, given here as sRGB and as density.
KNEE, KNEE_DENSITY = np.float32(0.04045), np.float32(-log10(0.0031308))
STRAIGHT, POWER, OFFSET, SCALE = np.float32(12.92), 2.4, np.float32(0.055), np.float32(1.055)
PER_STRAIGHT, PER_SCALE = np.float32(1 / 12.92), np.float32(1 / 1.055)
DENSITY_PER_LOG = np.float32(-log10(2)), np.float32(-log10(2) * POWER)
LOG_PER_DENSITY = np.float32(-log2(10)), np.float32(-log2(10) / POWER)
"""On the straight part, and above."""
BLACKEST, DEEPEST = np.float32(-log10(DARKEST)), np.float32(8)
"""The largest density that sRGB can have, and the largest that is told from black."""
BLACKEST_SRGB = np.float32(12.92 * DARKEST)


@njit(cache=True, nogil=True, error_model="numpy")
def exp2(value):  # type: ignore[no-untyped-def]
    """Return 2^value for values in [-100, 100]."""
    whole = np.floor(value + HALF)
    rest = value - whole
    power = EXP[6] + rest * EXP[7]
    power = EXP[3] + rest * (EXP[4] + rest * (EXP[5] + rest * power))
    power = ONE + rest * (EXP[1] + rest * (EXP[2] + rest * power))
    return power * np.int32((np.int32(whole) + BIAS) << MANTISSA_BITS).view(np.float32)


@njit(cache=True, nogil=True, error_model="numpy")
def find_log2(value):  # type: ignore[no-untyped-def]
    """Return log2 of a value; of 0 less than -100."""
    bits = np.float32(value).view(np.int32)
    whole = np.int32((bits - ROOT_BITS) >> MANTISSA_BITS)
    near_one = np.int32(bits - (whole << MANTISSA_BITS)).view(np.float32)
    ratio = (near_one - ONE) / (near_one + ONE)
    square = ratio * ratio
    series = LOG[0] + square * (LOG[1] + square * (LOG[2] + square * (LOG[3] + square * LOG[4])))
    return np.float32(whole) + ratio * series


@njit(cache=True, nogil=True, error_model="numpy")
def srgb_to_density(srgb):  # type: ignore[no-untyped-def]
    """Return the density of sRGB, from 0 (white) to 4; outside [0, 1] that of the end."""
    srgb = min(max(srgb, ZERO), ONE)
    is_dark = srgb <= KNEE
    base = srgb * PER_STRAIGHT if is_dark else (srgb + OFFSET) * PER_SCALE
    density = find_log2(base) * (DENSITY_PER_LOG[0] if is_dark else DENSITY_PER_LOG[1])
    return min(max(density, ZERO), BLACKEST)


@njit(cache=True, nogil=True, error_model="numpy")
def density_to_srgb(density):  # type: ignore[no-untyped-def]
    """Return the sRGB of a density; what is brighter than white becomes white."""
    density = min(max(density, ZERO), DEEPEST)
    is_dark = density >= KNEE_DENSITY
    power = exp2(density * (LOG_PER_DENSITY[0] if is_dark else LOG_PER_DENSITY[1]))
    return power * STRAIGHT if is_dark else power * SCALE - OFFSET
