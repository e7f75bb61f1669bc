"""The segments of JPEG files.

Source: ITU-T T.81 (1992), annex B.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

SCAN, END, QUANTIZATION = 0xDA, 0xD9, 0xDB
"""Markers: start of the coded pixels, end of the image, quantization tables."""
FILL = 0xFF


@dataclass(frozen=True)
class Segment:
    """A marker segment before the coded pixels: its marker's second byte, where its data begins, and the data."""

    marker: int
    at: int
    data: bytes


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
