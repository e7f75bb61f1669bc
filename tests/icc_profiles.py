"""ICC profiles for tests, written byte by byte: of curves and primaries, of gray, and of tables in every type.

Sources: ICC.1:2022 (version 4.4) and ICC.1:2001-04 (version 2.4).
"""

import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retint_models.layers.encodings import Encoding
from retint_workers.imaging.color import icc, profiles

Numbers = NDArray[np.float64]
REC2020 = ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046))


def pack(
    tags: Mapping[bytes, bytes],
    *,
    kind: bytes = b"mntr",
    space: bytes = b"RGB ",
    pcs: bytes = b"XYZ ",
    version: int = 2,
) -> bytes:
    """A profile of these tags; a name in the tag `desc` may be plain text."""
    tags = {b"cprt": b"text\0\0\0\0none\0", b"wtpt": pack_xyz(icc.WHITE_D50), **tags}
    table, body, start = b"", b"", 132 + 12 * len(tags)
    for tag, data in tags.items():
        if tag == b"desc":
            data = b"desc" + struct.pack(">II", 0, len(data) + 1) + data + bytes(79)
        table += tag + struct.pack(">II", start + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    head = struct.pack(">I4sI4s4s4s", start + len(body), bytes(4), version << 24, kind, space, pcs)
    head += bytes(12) + b"acsp" + bytes(28) + pack_xyz(icc.WHITE_D50)[8:]
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def pack_xyz(values: Sequence[float]) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(value * 65536) for value in values))


def pack_curve(values: Any) -> bytes:
    """A curve by its samples in [0, 1]."""
    return b"curv" + struct.pack(">II", 0, len(values)) + np.round(np.asarray(values) * 65535).astype(">u2").tobytes()


def make_matrix(
    name: str,
    curve: bytes,
    primaries: Sequence[Sequence[float]] = icc.REC709,
    white: Sequence[float] = icc.D65,
    version: int = 2,
) -> bytes:
    """An RGB profile of one curve and primaries by x and y."""
    adapted = icc.adapt_primaries(primaries, white)
    tags = {
        b"desc": name.encode(),
        **{f"{c}XYZ".encode(): pack_xyz(xyz) for c, xyz in zip("rgb", adapted.T, strict=True)},
    }
    return pack({**tags, b"rTRC": curve, b"gTRC": curve, b"bTRC": curve}, version=version)


def make_gray(name: str, curve: bytes, pcs: bytes = b"XYZ ") -> bytes:
    """A gray profile; under `Lab ` the curve gives L*."""
    return pack({b"desc": name.encode(), b"kTRC": curve}, space=b"GRAY", pcs=pcs)


def pack_parametric(kind: int, *numbers: float) -> bytes:
    """A parametric curve of a type, by its numbers in the specification's order."""
    return struct.pack(f">4sIHH{len(numbers)}i", b"para", 0, kind, 0, *(round(number * 65536) for number in numbers))


SRGB_CURVE = pack_parametric(3, 2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)


# --- tables -----------------------------------------------------------------------------------------------------------


def make_tables(
    name: str, coding: Encoding, types: Mapping[bytes, bytes], *, kind: bytes = b"prtr", grid: int = 25
) -> bytes:
    """An RGB profile of tables that means a coding.

    Args:
        name: for people.
        coding: what the tables hold.
        types: the type (`mft1`, `mft2`, `mAB ` or `mBA `) of each tag (`A2B0`, `B2A1`, …).
        kind: its device class.
        grid: points a side.
    """
    version = 4 if any(each in (b"mAB ", b"mBA ") for each in types.values()) else 2
    tags = {b"desc": name.encode()}
    for tag, each in types.items():
        tags[tag] = _pack_table(
            each, _from_device(coding, grid, each) if tag[:1] == b"A" else _to_device(coding, grid, each)
        )
    return pack(tags, kind=kind, pcs=b"Lab ", version=version)


def _axis(grid: int) -> Numbers:
    return np.linspace(0, 1, grid)


def _from_device(coding: Encoding, grid: int, table_type: bytes) -> Numbers:
    codes = np.stack(np.meshgrid(*[_axis(grid)] * 3, indexing="ij"), -1).reshape(1, -1, 3)
    lab = profiles.linear_to_lab(coding.decode(codes.astype(np.float32)))[0]
    low, high = _range(table_type)
    return np.asarray(np.clip((lab - low) / (high - low), 0, 1))


def _to_device(coding: Encoding, grid: int, table_type: bytes) -> Numbers:
    low, high = _range(table_type)
    lab = np.stack(np.meshgrid(*[_axis(grid)] * 3, indexing="ij"), -1).reshape(1, -1, 3) * (high - low) + low
    return np.asarray(np.clip(coding.encode(profiles.lab_to_linear(lab))[0], 0, 1), np.float64)


def _range(table_type: bytes) -> tuple[Numbers, Numbers]:
    """Lab of the smallest and the largest number of a table (ICC.1:2022, 6.3.4.2 and 10.10)."""
    if table_type == b"mft2":  # 16 bits of version 2 hold a little more than 100 and 127
        return np.array([0.0, -128, -128]), np.array([100, 255, 255]) * 65535 / 65280 - np.array([0, 128, 128])
    return np.array([0.0, -128, -128]), np.array([100.0, 127, 127])


def _pack_table(table_type: bytes, values: Numbers) -> bytes:
    grid = round(len(values) ** (1 / 3))
    if table_type == b"mft1":
        identity = np.arange(256, dtype=np.uint8).tobytes() * 3
        head = table_type + bytes(4) + bytes([3, 3, grid, 0]) + _identity_matrix()
        return head + identity + np.round(values * 255).astype(np.uint8).tobytes() + identity
    if table_type == b"mft2":
        identity = np.array([0, 65535] * 3, ">u2").tobytes()
        head = table_type + bytes(4) + bytes([3, 3, grid, 0]) + _identity_matrix() + struct.pack(">HH", 2, 2)
        return head + identity + np.round(values * 65535).astype(">u2").tobytes() + identity
    curves = (b"curv" + bytes(8)) * 3  # B, then the table, then A
    table = bytes([grid] * 3).ljust(16, b"\0") + bytes([2, 0, 0, 0]) + np.round(values * 65535).astype(">u2").tobytes()
    table += bytes(-len(table) % 4)
    first, second, third = 32, 32 + len(curves), 32 + len(curves) + len(table)
    return (
        table_type
        + bytes(4)
        + bytes([3, 3, 0, 0])
        + struct.pack(">5I", first, 0, 0, second, third)
        + curves
        + table
        + curves
    )


def _identity_matrix() -> bytes:
    return struct.pack(">9i", *(65536 * (i % 4 == 0) for i in range(9)))
