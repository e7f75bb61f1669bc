"""Deep zoom out of one blob: DeepZoom tiles in an uncompressed zip (SZI), found by reading its directory only."""

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

TILE: Final = re.compile(r".*_files/(\d{1,2})/(\d{1,5})_(\d{1,5})\.jpe?g")
LOCAL_HEADER: Final = 30
"""Bytes of a zip's local file header before its two strings (APPNOTE.TXT, 4.3.7)."""
DIRECTORY_CHUNK: Final = 1 << 18


@dataclass(frozen=True)
class Entry:
    """Where one file lies in the zip."""

    start: int
    """Offset of its local header."""
    size: int
    """Bytes of the file itself."""
    slack: int
    """Bytes that its local header may take at most: those to the next entry, less the file."""


@dataclass(frozen=True)
class Pyramid:
    """The directory of one SZI."""

    tiles: dict[tuple[int, int, int], Entry]
    """By level, column and row."""
    description: bytes
    """The .dzi: XML."""


def tile(store: BlobStore, key: str, level: int, column: int, row: int) -> bytes:
    """Read one tile, a JPEG, in a single ranged read.

    Raises:
        NotFound: there is no such tile.
    """
    entry = _pyramid(cast(Hashable, store), key).tiles.get((level, column, row))
    if entry is None:
        raise NotFound("There is no such tile.")
    return _read(store, key, entry)


def description(store: BlobStore, key: str) -> bytes:
    """Read the pyramid's .dzi."""
    return _pyramid(cast(Hashable, store), key).description


# A 300-megapixel result has about 6,000 tiles, under 2 MB here.
@lru_cache(maxsize=32)
def _pyramid(store: BlobStore, key: str) -> Pyramid:
    with zipfile.ZipFile(io.BufferedReader(_Ranges(store, key), DIRECTORY_CHUNK)) as directory:
        members, end = directory.infolist(), directory.start_dir
    starts = [*sorted(member.header_offset for member in members), end]
    following = dict(pairwise(starts))
    tiles: dict[tuple[int, int, int], Entry] = {}
    dzi: Entry | None = None
    for member in members:
        if member.compress_type != zipfile.ZIP_STORED or member.is_dir():
            continue
        start, size = member.header_offset, member.file_size
        entry = Entry(start, size, following[start] - start - size)
        if match := TILE.fullmatch(member.filename):
            tiles[int(match[1]), int(match[2]), int(match[3])] = entry
        elif member.filename.endswith(".dzi"):
            dzi = entry
    if dzi is None:
        raise NotFound("There is no deep zoom of this photo.")
    return Pyramid(tiles, _read(store, key, dzi))


def _read(store: BlobStore, key: str, entry: Entry) -> bytes:
    with store.open(key, entry.start, entry.start + entry.slack + entry.size) as blob:
        data = blob.read()
    # The local header's strings may differ in length from the directory's.
    name, extra = int.from_bytes(data[26:28], "little"), int.from_bytes(data[28:30], "little")
    start = LOCAL_HEADER + name + extra
    return data[start : start + entry.size]


class _Ranges(io.RawIOBase):
    """A blob as a file to seek in, each read a ranged read of the store."""

    def __init__(self, store: BlobStore, key: str) -> None:
        self._store, self._key = store, key
        self._size, self._at = store.size(key), 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        target = memoryview(buffer)
        stop = min(self._size, self._at + len(target))
        if stop <= self._at:
            return 0
        with self._store.open(self._key, self._at, stop) as blob:
            data = blob.read(stop - self._at)
        target[: len(data)] = data
        self._at += len(data)
        return len(data)
