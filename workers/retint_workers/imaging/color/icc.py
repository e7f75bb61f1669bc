"""ICC profiles as bytes: reads curves and primaries, builds profiles of curves and primaries.

Sources: ICC.1:2022 (version 4.4) and ICC.1:2001-04 (version 2.4). Light is relative to D50, the white of the profile
connection space.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retint_models.layers.encodings import CURVE_STEPS

Numbers = NDArray[np.float64]

HEADER_BYTES = 128
MAX_TAGS = 100
WHITE_D50 = (0.9642, 1.0, 0.8249)
"""X, Y, Z of the connection space's white (ICC.1:2022, 7.2.16)."""
D65 = (0.3127, 0.3290)
"""x and y of daylight, the white of sRGB and most working spaces."""
REC709 = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
"""x and y of red, green and blue (ITU-R BT.709-6, item 1.3), which are sRGB's, too."""
BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
"""XYZ to cone responses, for adaptation to another white (ICC.1:2022, annex E)."""
RGB, GRAY = "RGB ", "GRAY"
CODES = np.linspace(0, 1, CURVE_STEPS + 1)
"""Where curves are sampled."""
PARAMETERS = {0: 1, 1: 3, 2: 4, 3: 5, 4: 7}
"""Numbers of a parametric curve, by its function type (ICC.1:2022, table 68)."""


@dataclass(frozen=True)
class Profile:
    """A parsed profile.

    Attributes:
        device_class: `scnr`, `mntr`, `prtr`, `spac`, or another that describes no device.
        color_space: of the device, such as `RGB ` and `GRAY`.
        connection_space: `XYZ ` or `Lab `.
        tags: data of the tags by their signatures.
    """

    device_class: str
    color_space: str
    connection_space: str
    tags: Mapping[str, bytes]


def parse(data: bytes) -> Profile:
    """Parse a profile's header and its table of tags (ICC.1:2022, 7.2 and 7.3).

    Raises:
        ValueError: it is no profile, or is damaged.
    """
    if len(data) < HEADER_BYTES + 4 or data[36:40] != b"acsp":
        raise ValueError("not an ICC profile")
    (count,) = struct.unpack_from(">I", data, HEADER_BYTES)
    if count > MAX_TAGS or HEADER_BYTES + 4 + 12 * count > len(data):
        raise ValueError("an ICC profile with too many tags")
    tags = {}
    for i in range(count):
        signature, offset, size = struct.unpack_from(">4sII", data, HEADER_BYTES + 4 + 12 * i)
        tags[signature.decode("latin-1")] = data[offset : offset + size]
    device_class, color_space, connection_space = (data[at : at + 4].decode("latin-1") for at in (12, 16, 20))
    return Profile(device_class, color_space, connection_space, tags)


def read_curves_and_primaries(profile: Profile) -> tuple[Numbers, Numbers]:
    """Read what a matrix-based RGB profile says (ICC.1:2022, F.3).

    Returns:
        Three curves as `sample_curve` gives them, (3, n), and X, Y, Z of red, green and blue as columns, (3, 3).

    Raises:
        ValueError: it is not matrix-based, or is damaged.
    """
    if profile.color_space != RGB or profile.connection_space != "XYZ ":
        raise ValueError("not a matrix-based RGB profile")
    curves = np.stack([sample_curve(profile.tags.get(f"{c}TRC", b"")) for c in "rgb"])
    return curves, np.stack([_read_xyz(profile.tags.get(f"{c}XYZ", b"")) for c in "rgb"], axis=1)


def sample_curve(tag: bytes) -> Numbers:
    """Return the values of a `curv` or `para` tag at `CODES` (ICC.1:2022, 10.6 and 10.18), clipped to [0, 1].

    Raises:
        ValueError: it is neither, or is damaged.
    """
    try:
        if tag[:4] == b"curv":
            return _sample_table(tag)
        if tag[:4] == b"para":
            return _sample_parametric(tag)
    except struct.error as error:
        raise ValueError("a curve that ends early") from error
    raise ValueError("not a curve")


def _sample_table(tag: bytes) -> Numbers:
    (count,) = struct.unpack_from(">I", tag, 8)
    if count == 0:
        return CODES
    if len(tag) < 12 + 2 * count:
        raise ValueError("a curve that ends early")
    values = np.frombuffer(tag, ">u2", count, 12)
    if count == 1:
        return np.asarray(CODES ** (float(values[0]) / 256))
    return np.asarray(np.interp(CODES, np.linspace(0, 1, count), values / 65535))


def _sample_parametric(tag: bytes) -> Numbers:
    (kind,) = struct.unpack_from(">H", tag, 8)
    if kind not in PARAMETERS:
        raise ValueError("a curve of an unknown type")
    numbers = [number / 65536 for number in struct.unpack_from(f">{PARAMETERS[kind]}i", tag, 12)]
    numbers += (1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0)[len(numbers) :]  # those that the type leaves out
    g, a, b, c, d, e, f = numbers
    if kind in (1, 2):  # straight left of where the power begins
        d, e, f, c = -b / a if a else 0, c, c, 0
    with np.errstate(all="ignore"):
        values: Numbers = np.where(d <= CODES, np.maximum(a * CODES + b, 0) ** g + e, c * CODES + f)
    if not np.isfinite(values).all():
        raise ValueError("a curve without values")
    return np.asarray(np.clip(values, 0, 1))


def _read_xyz(tag: bytes) -> Numbers:
    if tag[:4] != b"XYZ " or len(tag) < 20:
        raise ValueError("not a color")
    return np.array(struct.unpack_from(">3i", tag, 8)) / 65536


# --- colorimetry ------------------------------------------------------------------------------------------------------


def adapt_primaries(primaries: Sequence[Sequence[float]], white: Sequence[float]) -> Numbers:
    """Return X, Y, Z of red, green and blue relative to D50, as columns, (3, 3).

    Args:
        primaries: x and y of red, green and blue.
        white: x and y of the white that all three give together.

    Raises:
        ValueError: these are no primaries and white.
    """
    xy = np.array([*primaries, white], np.float64)
    if (xy[:, 1] <= 0).any():
        raise ValueError("a primary without luminance")
    xyz = np.stack([xy[:, 0] / xy[:, 1], np.ones(4), (1 - xy.sum(axis=1)) / xy[:, 1]])
    try:
        colors = xyz[:, :3] * np.linalg.solve(xyz[:, :3], xyz[:, 3])
    except np.linalg.LinAlgError as error:
        raise ValueError("primaries on a line") from error
    scale = (BRADFORD @ WHITE_D50) / (BRADFORD @ xyz[:, 3])
    adapted: Numbers = np.linalg.solve(BRADFORD, scale[:, None] * (BRADFORD @ colors))
    return adapted


SRGB_D50 = adapt_primaries(REC709, D65)
"""Red, green and blue of sRGB, as `adapt_primaries` returns them."""


def lightness_to_light(lightness: Numbers) -> Numbers:
    """Return the luminance, 1 for white, of CIE L* (CIE 15:2018, 8.2.1)."""
    cube = ((lightness + 16) / 116) ** 3
    return np.where(lightness > 8, cube, lightness * (27 / 24389))


# --- building ---------------------------------------------------------------------------------------------------------


def build_rgb_profile(name: str, curve: bytes, primaries: Numbers = SRGB_D50) -> bytes:
    """Build a matrix-based RGB profile, version 2.4.

    Args:
        name: for people, ASCII.
        curve: data of the tag that all three channels share.
        primaries: as `adapt_primaries` returns them.
    """
    tags = {
        b"desc": b"desc" + struct.pack(">II", 0, len(name) + 1) + name.encode("ascii") + bytes(79),
        b"cprt": b"text\0\0\0\0No copyright, use freely\0",
        b"wtpt": _pack_xyz(WHITE_D50),
    }
    tags |= {tag: _pack_xyz(xyz) for tag, xyz in zip((b"rXYZ", b"gXYZ", b"bXYZ"), primaries.T, strict=True)}
    table, body, start = b"", b"", HEADER_BYTES + 4 + 12 * (len(tags) + 3)
    for tag, data in tags.items():
        table += tag + struct.pack(">II", start + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    for tag in (b"rTRC", b"gTRC", b"bTRC"):
        table += tag + struct.pack(">II", start + len(body), len(curve))
    body += curve + bytes(-len(curve) % 4)
    head = struct.pack(">I4sI4s4s4s", start + len(body), bytes(4), 0x02400000, b"mntr", b"RGB ", b"XYZ ")
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + _pack_fixed(WHITE_D50)
    return head.ljust(HEADER_BYTES, b"\0") + struct.pack(">I", len(tags) + 3) + table + body


def pack_gamma(gamma: float) -> bytes:
    """Return the tag of a power curve, its exponent rounded to 1/256 (ICC.1:2001-04, 6.5.3)."""
    return b"curv" + struct.pack(">IIH", 0, 1, round(gamma * 256))


def pack_samples(curve: Numbers, count: int = 4096) -> bytes:
    """Return the tag of a curve by so many samples; the curve has values at `CODES`."""
    values = np.interp(np.linspace(0, 1, count), CODES, curve)
    return b"curv" + struct.pack(">II", 0, count) + np.round(values * 65535).astype(">u2").tobytes()


def _pack_fixed(values: Sequence[float]) -> bytes:
    """Encode numbers as s15Fixed16."""
    return struct.pack(">3i", *(round(value * 65536) for value in values))


def _pack_xyz(values: Sequence[float]) -> bytes:
    return b"XYZ " + bytes(4) + _pack_fixed(values)
