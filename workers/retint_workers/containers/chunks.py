"""What PNG and WebP have in common: data in chunks that say their type and length."""

from dataclasses import dataclass
from typing import BinaryIO


@dataclass(frozen=True)
class Chunk:
    """A chunk: its type, where its data begins, and how long the data is."""

    kind: bytes
    at: int
    length: int

    def read(self, file: BinaryIO) -> bytes:
        """Read the data, as far as the file has it: before memory is asked for."""
        end = file.seek(0, 2)
        file.seek(self.at)
        return file.read(max(0, min(self.length, end - self.at)))
