"""The chunks of WebP files.

Source: RFC 9649, section 2.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

HEAD_BYTES = 12
"""`RIFF`, the size of what follows it, `WEBP`."""


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


def ends_early(file: BinaryIO) -> bool:
    """Whether the file is shorter than it says."""
    file.seek(4)
    size = file.read(4)
    return len(size) < 4 or 8 + struct.unpack("<I", size)[0] > file.seek(0, 2)


def read_chunks(file: BinaryIO) -> Iterator[Chunk]:
    """Yield the chunks up to the end of the file."""
    at = HEAD_BYTES
    while True:
        file.seek(at)
        head = file.read(8)
        if len(head) < 8:
            return
        chunk = Chunk(head[:4], at + 8, struct.unpack("<I", head[4:])[0])
        yield chunk
        at += 8 + chunk.length + chunk.length % 2
