"""Deep zoom tiles read from one blob: an uncompressed zip (SZI), of which only the directory and the tile are read."""

import io
import re
import zipfile
from collections.abc import Hashable
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, Final, cast

from retint.errors import NotFound
from retint.stores import BlobStore

TILE_NAME: Final = re.compile(r".*_files/(\d{1,2})/(\d{1,5})_(\d{1,5})\.jpe?g")
LOCAL_HEADER: Final = 30
"""Bytes of a zip's local file header before its file name and extra field (APPNOTE.TXT, 4.3.7)."""
DIRECTORY_CHUNK: Final = 1 << 18


@dataclass(frozen=True)
class Entry:
    """Position of one file in the zip."""

    start: int
    """Offset of its local header."""
    size: int
    """Bytes of the file."""
    header_limit: int
    """Most bytes that its local header can have: those up to the next entry, without the file."""


@dataclass(frozen=True)
class Pyramid:
    """The directory of one deep zoom zip."""

    tiles: dict[tuple[int, int, int], Entry]
    """Positions by level, column and row."""
    description: bytes
    """The .dzi file, which is XML."""


def read_tile(store: BlobStore, key: str, level: int, column: int, row: int) -> bytes:
    """Read one tile, a JPEG, in a single range request.

    Raises:
        NotFound: there is no such tile.
    """
    entry = _read_pyramid(cast(Hashable, store), key).tiles.get((level, column, row))
    if entry is None:
        raise NotFound("There is no such tile.")
    return _read(store, key, entry)


def read_description(store: BlobStore, key: str) -> bytes:
    """Read the .dzi file."""
    return _read_pyramid(cast(Hashable, store), key).description


# The directory of a 300-megapixel result has about 6,000 tiles and takes less than 2 MB.
@lru_cache(maxsize=32)
def _read_pyramid(store: BlobStore, key: str) -> Pyramid:
    with zipfile.ZipFile(io.BufferedReader(_BlobFile(store, key), DIRECTORY_CHUNK)) as directory:
        members, end = directory.infolist(), directory.start_dir
    starts = [*sorted(member.header_offset for member in members), end]
    next_starts = dict(pairwise(starts))
    tiles: dict[tuple[int, int, int], Entry] = {}
    dzi: Entry | None = None
    for member in members:
        if member.compress_type != zipfile.ZIP_STORED or member.is_dir():
            continue
        start, size = member.header_offset, member.file_size
        entry = Entry(start, size, next_starts[start] - start - size)
        if match := TILE_NAME.fullmatch(member.filename):
            tiles[int(match[1]), int(match[2]), int(match[3])] = entry
        elif member.filename.endswith(".dzi"):
            dzi = entry
    if dzi is None:
        raise NotFound("There is no deep zoom of this photo.")
    return Pyramid(tiles, _read(store, key, dzi))


def _read(store: BlobStore, key: str, entry: Entry) -> bytes:
    with store.open(key, entry.start, entry.start + entry.header_limit + entry.size) as blob:
        data = blob.read()
    # The extra field of the local header may differ in length from the one in the directory.
    name_length, extra_length = int.from_bytes(data[26:28], "little"), int.from_bytes(data[28:30], "little")
    start = LOCAL_HEADER + name_length + extra_length
    return data[start : start + entry.size]


class _BlobFile(io.RawIOBase):
    """A blob as a seekable file; each read is a range request to the store."""

    def __init__(self, store: BlobStore, key: str) -> None:
        self._store, self._key = store, key
        self._size, self._position = store.size(key), 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        return self._position

    def readinto(self, buffer: Any) -> int:
        target = memoryview(buffer)
        stop = min(self._size, self._position + len(target))
        if stop <= self._position:
            return 0
        with self._store.open(self._key, self._position, stop) as blob:
            data = blob.read(stop - self._position)
        target[: len(data)] = data
        self._position += len(data)
        return len(data)
