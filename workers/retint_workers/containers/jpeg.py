"""The segments of JPEG files.

Source: ITU-T T.81 (1992), annex B; JFIF 1.02 (Hamilton, 1992).
"""

import io
import mmap
import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

SCAN, END, QUANTIZATION, COMMENT = 0xDA, 0xD9, 0xDB, 0xFE
"""Markers: start of the coded pixels, end of the image, quantization tables, a comment."""
APP0, APP1, APP2, APP11, APP13, APP14 = 0xE0, 0xE1, 0xE2, 0xEB, 0xED, 0xEE
FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}
LOSSLESS = {0xC3, 0xC7, 0xCB, 0xCF}
"""Markers of frames: all, those whose scans refine each other, those without a transform."""
FILL = 0xFF
TRANSFORM_AT, NO_TRANSFORM, LUMA_AND_CHROMA = 11, 0, 1
"""Where Adobe's segment holds the transform of color, and two of its values."""
MAX_DATA = 65_533
"""The most bytes of data that fit into a segment."""
CHUNK = 1 << 20
MAX_BETWEEN_SCANS = 256
"""More segments of metadata between the scans of a JPEG are not read."""
MARKER_IN_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
"""What ends coded pixels: a marker that is neither a stuffed byte nor a restart."""


@dataclass(frozen=True)
class Segment:
    """A marker segment: its marker's second byte, where its data begins, and the data."""

    marker: int
    at: int
    data: bytes

    @property
    def is_metadata(self) -> bool:
        """Whether it is an application's segment or a comment."""
        return APP0 <= self.marker <= 0xEF or self.marker == COMMENT


def read_segments(file: BinaryIO) -> Iterator[Segment]:
    """Yield the segments from the start of the image to the coded pixels; a damaged one ends them."""
    at = 2
    while True:
        file.seek(at)
        head = file.read(4)
        if len(head) == 4 and head[0] == head[1] == FILL:  # any number of fill bytes may stand before a marker
            at += 1
            continue
        if len(head) < 4 or head[0] != FILL or head[1] in (SCAN, END):
            return
        length = struct.unpack(">H", head[2:])[0]
        yield Segment(head[1], at + 4, file.read(max(0, length - 2)))
        at += 2 + length


def read_segments_of(stream: bytes) -> list[Segment]:
    """Return the segments of a JPEG in memory, such as the tables of a TIFF."""
    return list(read_segments(io.BytesIO(stream)))


@dataclass(frozen=True)
class Frame:
    """What a frame's header says (B.2.2): its marker, bits of a sample, size, and components with their sampling."""

    marker: int
    bits: int
    width: int
    height: int
    sampling: tuple[tuple[int, int], ...]

    @property
    def components(self) -> int:
        """Components of a pixel."""
        return len(self.sampling)


def read_frame(file: BinaryIO) -> Frame | None:
    """Return the frame's header; None where there is none before the first scan."""
    for segment in read_segments(file):
        data = segment.data
        if segment.marker in FRAMES and len(data) >= 6 and len(data) >= 6 + 3 * data[5]:
            bits, height, width, count = struct.unpack(">BHHB", data[:6])
            factors = data[7 : 6 + 3 * count : 3]
            return Frame(segment.marker, bits, width, height, tuple((value >> 4, value & 15) for value in factors))
    return None


@dataclass(frozen=True)
class Extent:
    """What lies behind the first coded pixels of a file: the metadata between scans, and where the image ends."""

    between_scans: tuple[Segment, ...]
    end: int


def find_end(file: BinaryIO) -> Extent:
    """Find the end of the image: the offset after its last marker, or the file's length where it has none."""
    last = 2
    for segment in read_segments(file):
        last = segment.at + len(segment.data)
    found: list[Segment] = []
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        at = last
        while match := MARKER_IN_SCAN.search(data, at):
            at, marker = match.end(), match[0][1]
            if marker == END:
                return Extent(tuple(found), at)
            length = int.from_bytes(data[at : at + 2], "big")
            segment = Segment(marker, at + 2, b"")
            if segment.is_metadata and length >= 2 and len(found) < MAX_BETWEEN_SCANS:
                found.append(Segment(marker, at + 2, data[at + 2 : at + length]))
            at += max(length, 2)
        return Extent(tuple(found), len(data))


def replace_metadata(source: BinaryIO, target: BinaryIO, metadata: Iterable[tuple[int, bytes]]) -> None:
    """Copy a JPEG, with other metadata.

    Args:
        source: the JPEG.
        target: receives the copy.
        metadata: marker and data of each segment, at most `MAX_DATA` bytes.
    """
    target.write(b"\xff\xd8")
    for marker, data in metadata:
        target.write(struct.pack(">BBH", FILL, marker, len(data) + 2) + data)
    last = 2
    for segment in read_segments(source):
        last = segment.at + len(segment.data)
        if not segment.is_metadata:
            target.write(struct.pack(">BBH", FILL, segment.marker, len(segment.data) + 2) + segment.data)
    source.seek(last)
    while chunk := source.read(CHUNK):
        target.write(chunk)


def is_color_coding(segment: Segment) -> bool:
    """Whether it is Adobe's segment, which tells how color is coded (T.872, 6.5.3)."""
    return segment.marker == APP14 and segment.data.startswith(b"Adobe") and len(segment.data) > TRANSFORM_AT


# --- packets that are longer than a segment ---------------------------------------------------------------------------


def join(parts: Iterable[bytes], prefix: bytes) -> bytes:
    """Join the data of segments that begin with the same signature."""
    return b"".join(part[len(prefix) :] for part in parts)


def split(data: bytes, prefix: bytes) -> list[bytes]:
    """Cut data into the data of segments, each with the signature; one at least."""
    size = MAX_DATA - len(prefix)
    return [prefix + data[at : at + size] for at in range(0, len(data) or 1, size)]


ICC = b"ICC_PROFILE\0"
"""The signature of the segments with a color profile. Source: ICC.1:2022, annex B.4."""


def split_profile(profile: bytes) -> list[bytes]:
    """Cut a color profile into the data of numbered segments."""
    parts = split(profile, b"\0" * (len(ICC) + 2))
    return [ICC + bytes([number, len(parts)]) + part[len(ICC) + 2 :] for number, part in enumerate(parts, 1)]
