"""What PNG and WebP have in common: data in chunks that say their type and length."""

from dataclasses import dataclass
from typing import BinaryIO


@dataclass(frozen=True)
class Chunk:
    """A chunk: its type, where its data begins, and how long the data is."""

    kind: bytes
    at: int
    length: int

    def read(self, file: BinaryIO, most: int | None = None) -> bytes:
        """Read the data, or at most so many bytes of it, as far as the file has it: before memory is asked for."""
        end = file.seek(0, 2)
        file.seek(self.at)
        length = self.length if most is None else min(self.length, most)
        return file.read(max(0, min(length, end - self.at)))
