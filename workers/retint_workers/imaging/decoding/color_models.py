"""Converts pixels of any color model to gray or RGB of 8 or 16 bits, with a profile that holds all their colors.

CMYK goes through its profile, Lab through D50 into a space that is wide enough for it. Sources: TIFF 6.0 (Adobe, 1992),
sections 21 to 23; TIFF Technical Note "ICC L*a*b*"; ITU-T T.42 (default range); ISO 22028-2 (ROMM RGB).
"""

from collections.abc import Callable
from typing import Any

import imagecodecs
import numpy as np
import pyvips
from numpy.typing import NDArray

from retint.errors import InvalidPhoto
from retint_workers.imaging.color import icc, spaces
from retint_workers.imaging.decoding.pictures import Picture

Samples = NDArray[np.float64]
RELATIVE, BLACK_POINT = 1, 0x2000
"""Little CMS' intent and flag."""
XYZ_TO_ROMM = np.linalg.inv(icc.adapt_primaries(spaces.ROMM_PRIMARIES, spaces.ROMM_WHITE))
FLOAT_TOLERANCE = 0.005
"""How far values of floating point may leave [0, 1]: rounding, sharpening."""


def result_bits(picture: Picture) -> int:
    """Return the depth, 8 or 16, that holds a picture's values."""
    is_small = picture.kind == "u" and picture.bits <= 8
    return 8 if is_small and picture.model in ("gray", "rgb", "cmyk", "ycbcr") else 16


def result_profile(picture: Picture) -> bytes | None:
    """Return the profile of a converted picture; None for sRGB.

    Inks on paper fit into Adobe RGB (1998), which 8 bits resolve; Lab's colors into ROMM RGB, which needs 16.
    """
    if picture.model == "cmyk":
        return spaces.adobe_rgb().profile
    return spaces.romm_rgb().profile if picture.model.endswith("lab") else picture.profile


def convert_strip(picture: Picture, strip: NDArray[Any]) -> NDArray[Any]:
    """Convert a strip, (rows, width, samples), to (rows, width, 1 or 3 and the extras), uint8 or uint16.

    Raises:
        InvalidPhoto: values lie outside what a photograph has.
    """
    bits = result_bits(picture)
    color, extras = strip[..., : picture.bands], strip[..., picture.bands :]
    converted = MODELS[picture.model](picture, color, bits)
    if not extras.shape[-1]:
        return converted
    return np.concatenate([converted, quantize(normalize(picture, extras), bits)], axis=-1)


def normalize(picture: Picture, samples: NDArray[Any]) -> Samples:
    """Return samples in [0, 1].

    Raises:
        InvalidPhoto: floating point outside of it, or signed numbers below zero.
    """
    if picture.kind == "f":
        values = samples.astype(np.float64)
        if not np.isfinite(values).all() or values.min() < -FLOAT_TOLERANCE or values.max() > 1 + FLOAT_TOLERANCE:
            raise InvalidPhoto(
                "The picture's floating-point values go beyond black and white (0 and 1), or are no numbers: "
                "map them to that range and save it with 16 bits.",
                code="unsupported_depth",
            )
        return values.clip(0, 1)
    if picture.kind == "i":
        if samples.min() < 0:
            raise InvalidPhoto(
                "The picture has signed values below zero: save it with unsigned values of 8 or 16 bits.",
                code="unsupported_depth",
            )
        return np.asarray(samples / float((1 << (picture.bits - 1)) - 1))
    return np.asarray(samples / float((1 << picture.bits) - 1))


def quantize(values: Samples, bits: int) -> NDArray[Any]:
    """Return values in [0, 1] as uint8 or uint16."""
    full = (1 << bits) - 1
    return (values.clip(0, 1) * full + 0.5).astype(np.uint8 if bits == 8 else np.uint16)


def _keep(picture: Picture, samples: NDArray[Any], bits: int) -> NDArray[Any]:
    """Scale gray or RGB."""
    if picture.kind == "u" and picture.bits == bits and not picture.is_inverted:
        return samples.astype(np.uint8 if bits == 8 else np.uint16, copy=False)
    values = normalize(picture, samples)
    return quantize(1 - values if picture.is_inverted else values, bits)


def _from_cmyk(picture: Picture, samples: NDArray[Any], bits: int) -> NDArray[Any]:
    inks = np.ascontiguousarray(quantize(normalize(picture, samples), bits))
    converted: NDArray[Any] = imagecodecs.cms_transform(
        inks,
        picture.profile or default_cmyk_profile(),
        spaces.adobe_rgb().profile or b"",
        colorspace="cmyk",
        outcolorspace="rgb",
        outdtype=inks.dtype,
        intent=RELATIVE,
        flags=BLACK_POINT,
    )
    return converted


def default_cmyk_profile() -> bytes:
    """Return libvips' profile for inks of which nothing is known (Graeme W. Gill's "Chemical proof")."""
    profile: bytes = pyvips.Operation.call("profile_load", "cmyk")
    return profile


def _from_lab(picture: Picture, samples: NDArray[Any], bits: int) -> NDArray[Any]:
    """Convert Lab under D50 to ROMM RGB; what lies outside of it is clipped."""
    f = np.empty((*samples.shape[:-1], 3))
    lightness, a, b = DECODERS[picture.model](samples, picture.bits)
    f[..., 1] = (lightness + 16) / 116
    f[..., 0] = f[..., 1] + a / 500
    f[..., 2] = f[..., 1] - b / 200
    xyz = np.where(f > 6 / 29, f**3, (f - 4 / 29) * (108 / 841)) * np.array(icc.WHITE_D50)
    linear = (xyz @ XYZ_TO_ROMM.T).clip(0, 1)
    return quantize(linear ** (1 / spaces.ROMM_GAMMA), bits)


def _decode_cie_lab(samples: NDArray[Any], bits: int) -> tuple[Samples, Samples, Samples]:
    """CIE L*a*b*: lightness unsigned, a and b in two's complement (TIFF 6.0, section 23)."""
    full, step = (1 << bits) - 1, 1 << (bits - 8)
    a, b = (samples[..., i].astype(f"u{bits // 8}").view(f"i{bits // 8}") / step for i in (1, 2))
    return samples[..., 0].astype(f"u{bits // 8}") * (100 / full), a, b


def _decode_icc_lab(samples: NDArray[Any], bits: int) -> tuple[Samples, Samples, Samples]:
    """ICC L*a*b*: a and b shifted by 128 (ICC.1:1998, table of 8-bit, and of legacy 16-bit Lab)."""
    values = samples.astype(np.float64)
    if bits == 8:
        return values[..., 0] * (100 / 255), values[..., 1] - 128, values[..., 2] - 128
    return values[..., 0] * (100 / 65280), values[..., 1] / 256 - 128, values[..., 2] / 256 - 128


def _decode_itu_lab(samples: NDArray[Any], bits: int) -> tuple[Samples, Samples, Samples]:
    """ITU L*a*b* in the default range: a in [-85, 85], b in [-75, 125] (T.42)."""
    values = samples / float((1 << bits) - 1)
    return values[..., 0] * 100, values[..., 1] * 170 - 85, values[..., 2] * 200 - 75


DECODERS = {"cielab": _decode_cie_lab, "icclab": _decode_icc_lab, "itulab": _decode_itu_lab}


def _from_ycbcr(picture: Picture, samples: NDArray[Any], bits: int) -> NDArray[Any]:
    """Convert YCbCr by the file's coefficients and full range (TIFF 6.0, section 21)."""
    red, green, blue = picture.ycbcr[:3]
    y, cb, cr = np.moveaxis(normalize(picture, samples), -1, 0)
    middle = (1 << (picture.bits - 1)) / ((1 << picture.bits) - 1)
    r = y + (cr - middle) * (2 - 2 * red)
    b = y + (cb - middle) * (2 - 2 * blue)
    return quantize(np.stack([r, (y - red * r - blue * b) / green, b], axis=-1), bits)


MODELS: dict[str, Callable[[Picture, NDArray[Any], int], NDArray[Any]]] = {
    "gray": _keep,
    "rgb": _keep,
    "cmyk": _from_cmyk,
    "cielab": _from_lab,
    "icclab": _from_lab,
    "itulab": _from_lab,
    "ycbcr": _from_ycbcr,
}
