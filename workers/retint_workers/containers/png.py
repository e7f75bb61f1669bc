"""The chunks of PNG files.

Source: Portable Network Graphics, third edition (W3C, 2025), section 5.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

SIGNATURE = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Chunk:
    """A chunk: its type, where its data begins, and how long the data is."""

    kind: bytes
    at: int
    length: int

    def read(self, file: BinaryIO) -> bytes:
        """Read the data."""
        file.seek(self.at)
        return file.read(self.length)


def read_chunks(file: BinaryIO) -> Iterator[Chunk]:
    """Yield the chunks; the last is IEND, unless the file ends before it."""
    at = len(SIGNATURE)
    while True:
        file.seek(at)
        head = file.read(8)
        if len(head) < 8:
            return
        chunk = Chunk(head[4:], at + 8, struct.unpack(">I", head[:4])[0])
        yield chunk
        if chunk.kind == b"IEND":
            return
        at += 12 + chunk.length
