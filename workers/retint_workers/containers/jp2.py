"""The boxes of JPEG 2000 files and the size in their codestream.

Source: ITU-T T.800 (2019), annexes A and I.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

CODESTREAM = b"\xff\x4f\xff\x51"
"""Start of codestream, and the segment SIZ that always follows it."""
SUPERBOXES = {b"jp2h", b"res "}
MAX_BOXES = 1000
ENUMERATED = {16: "rgb", 17: "gray", 18: "ycbcr"}
"""Color spaces by their numbers (table I.10): sRGB, gray with sRGB's curve, sYCC."""


@dataclass(frozen=True)
class Jp2:
    """What a JPEG 2000 says before its pixels.

    Attributes:
        width, height: of the picture.
        bits: of each component.
        is_signed: whether one is signed.
        is_whole: whether all components have the picture's size.
        color: `rgb`, `gray`, `ycbcr`, or empty where the file does not say or says something else.
        profile: the ICC profile.
        alpha: what its channel is: 1 premultiplied, 2 not; 0 where it has none.
        has_palette: whether components are indices.
        resolution: pixels per millimeter, across and down; None where the file does not say.
    """

    width: int
    height: int
    bits: tuple[int, ...]
    is_signed: bool
    is_whole: bool
    color: str
    profile: bytes | None
    alpha: int
    has_palette: bool
    resolution: tuple[float, float] | None


def read_jp2(file: BinaryIO) -> Jp2:
    """Read the boxes and the codestream's size.

    Raises:
        ValueError: the file is damaged.
    """
    file.seek(0)
    is_bare = file.read(4) == CODESTREAM
    boxes = {b"jp2c": 0} if is_bare else dict(_boxes(file, 0, file.seek(0, 2)))
    if b"jp2c" not in boxes:
        raise ValueError("no codestream")
    file.seek(boxes[b"jp2c"])
    head = file.read(42)
    if head[:4] != CODESTREAM or len(head) < 42:
        raise ValueError("no size")
    x1, y1, x0, y0 = struct.unpack(">4I", head[8:24])
    (count,) = struct.unpack(">H", head[40:42])
    parts = file.read(3 * count)
    if len(parts) != 3 * count or not count:
        raise ValueError("no components")
    color, profile = _read_color(_read_box(file, boxes, b"colr"))
    return Jp2(
        width=x1 - x0,
        height=y1 - y0,
        bits=tuple((value & 127) + 1 for value in parts[::3]),
        is_signed=any(value & 128 for value in parts[::3]),
        is_whole=all(step == 1 for at in (1, 2) for step in parts[at::3]),
        color=color,
        profile=profile,
        alpha=_read_alpha(_read_box(file, boxes, b"cdef")),
        has_palette=b"pclr" in boxes,
        resolution=_read_resolution(_read_box(file, boxes, b"resc")),
    )


def _boxes(file: BinaryIO, at: int, end: int) -> Iterator[tuple[bytes, int]]:
    """Yield the type of each box and where its content begins, also of boxes inside others."""
    for _ in range(MAX_BOXES):
        if at + 8 > end:
            return
        file.seek(at)
        length, kind = struct.unpack(">I4s", file.read(8))
        content = at + 8
        if length == 1:
            (length,) = struct.unpack(">Q", file.read(8).ljust(8, b"\0"))
            content += 8
        following = at + length if length else end
        if following <= at:
            return
        yield kind, content
        if kind in SUPERBOXES:
            yield from _boxes(file, content, min(following, end))
        at = following


def _read_box(file: BinaryIO, boxes: dict[bytes, int], kind: bytes) -> bytes:
    """Return the content of a box of the header; empty where there is none."""
    if kind not in boxes:
        return b""
    file.seek(boxes[kind] - 8)
    (length,) = struct.unpack(">I", file.read(4))
    file.seek(boxes[kind])
    return file.read(min(max(0, length - 8), 8 << 20))


def _read_color(colr: bytes) -> tuple[str, bytes | None]:
    """Return the color space's name, and the profile (I.5.3.3)."""
    if colr[:1] == b"\2" and len(colr) > 23:
        return {b"GRAY": "gray", b"RGB ": "rgb"}.get(colr[19:23], ""), colr[3:]
    if colr[:1] == b"\1" and len(colr) >= 7:
        return ENUMERATED.get(struct.unpack(">I", colr[3:7])[0], ""), None
    return "", None


def _read_alpha(cdef: bytes) -> int:
    """Return what the channel definitions say of transparency (I.5.3.6): 1 premultiplied, 2 not, 0 none."""
    for at in range(2, len(cdef) - 5, 6):
        kind = struct.unpack(">H", cdef[at + 2 : at + 4])[0]
        if kind in (1, 2):
            return 3 - int(kind)
    return 0


def _read_resolution(resc: bytes) -> tuple[float, float] | None:
    """Return the capture resolution (I.5.3.7.1), which is stored per meter."""
    if len(resc) < 10:
        return None
    down, down_by, across, across_by, down_power, across_power = struct.unpack(">4H2b", resc[:10])
    if not all((down, down_by, across, across_by)):
        return None
    return across / across_by * 10.0**across_power / 1000, down / down_by * 10.0**down_power / 1000
