"""A zip whose bytes are known before they are read: of any size, from any place, in bounded memory.

Whoever fetches a large zip must be able to go on where the connection broke. So nothing in it depends on when it is
made: entries are stored, not deflated, and their sizes and checksums are known. Format: PKWARE APPNOTE 6.3.10, with
ZIP64 (4.5.3) where a size, a place or a count needs it.
"""

import struct
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import BinaryIO, Final

CHUNK: Final = 1 << 20
"""Most bytes of a file that are read at a time."""

_LOCAL, _CENTRAL, _END64, _LOCATOR, _END = 0x04034B50, 0x02014B50, 0x06064B50, 0x07064B50, 0x06054B50
_PLAIN, _ZIP64 = 20, 45
"""Versions that are needed to extract."""
_UNIX: Final = 3 << 8
_UTF8: Final = 1 << 11
_FILE: Final = 0o100644 << 16
_MOST_16, _MOST_32 = 0xFFFF, 0xFFFFFFFF
_FIRST_YEAR: Final = 1980

Open = Callable[[int, int], AbstractContextManager[BinaryIO]]
"""Opens a file's bytes from a place up to, not including, another."""


@dataclass(frozen=True)
class Entry:
    """One file of a zip.

    Attributes:
        path: where it lies, with `/`; UTF-8, without a root and without `..`.
        size: its bytes.
        crc32: their CRC-32.
        open: gives them.
    """

    path: str
    size: int
    crc32: int
    open: Open


@dataclass(frozen=True)
class _Piece:
    """Some bytes in a row: their number, and what gives those from one place to another."""

    size: int
    read: Callable[[int, int], Iterator[bytes]]


class Zip:
    """A zip of known entries.

    Args:
        entries: gives the entries, each time the same; asked twice for each reading, so that none are kept in memory.
        at: the time that all of them have, in the zip's local time: seconds are rounded down to even ones.
    """

    def __init__(self, entries: Callable[[], Iterable[Entry]], at: datetime) -> None:
        self._entries = entries
        self._time = at.hour << 11 | at.minute << 5 | at.second // 2
        self._date = max(at.year - _FIRST_YEAR, 0) << 9 | at.month << 5 | at.day

    def measure(self) -> int:
        """Return the bytes of the whole zip. Reads no file."""
        return sum(piece.size for piece in self._list_pieces())

    def read(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """Yield the bytes from `start` up to, not including, `stop`. Opens only the files that lie in between.

        Raises:
            EOFError: a file has fewer bytes than its entry says.
        """
        at = 0
        for piece in self._list_pieces():
            if stop is not None and at >= stop:
                return
            if at + piece.size > start:
                end = piece.size if stop is None else min(piece.size, stop - at)
                yield from piece.read(max(start - at, 0), end)
            at += piece.size

    def _list_pieces(self) -> Iterator[_Piece]:
        at = 0
        for entry in self._entries():
            header = self._write_local(entry)
            yield _of_bytes(header)
            yield _Piece(entry.size, partial(_read_file, entry))
            at += len(header) + entry.size
        yield from self._list_directory(at)

    def _list_directory(self, start: int) -> Iterator[_Piece]:
        count = size = at = 0
        for entry in self._entries():
            record = self._write_central(entry, at)
            yield _of_bytes(record)
            count, size = count + 1, size + len(record)
            at += len(self._write_local(entry)) + entry.size
        yield _of_bytes(_write_end(count, size, start))

    def _write_local(self, entry: Entry) -> bytes:
        name = entry.path.encode()
        sizes, extra = _write_sizes(entry.size, None)
        version = _ZIP64 if extra else _PLAIN
        fields = (_LOCAL, version, _UTF8, 0, self._time, self._date, entry.crc32, *sizes, len(name), len(extra))
        return struct.pack("<L5H3L2H", *fields) + name + extra

    def _write_central(self, entry: Entry, place: int) -> bytes:
        name = entry.path.encode()
        sizes, extra = _write_sizes(entry.size, place)
        version = _ZIP64 if extra else _PLAIN
        made = (_UNIX | version, version, _UTF8, 0, self._time, self._date, entry.crc32, *sizes)
        rest = (len(name), len(extra), 0, 0, 0, _FILE, min(place, _MOST_32))
        return struct.pack("<L6H3L5H2L", _CENTRAL, *made, *rest) + name + extra


def _write_sizes(size: int, place: int | None) -> tuple[tuple[int, int], bytes]:
    """Return both sizes as a header has them, and the extra field of what does not fit there, in the order of 4.5.3."""
    large = [size, size] if size >= _MOST_32 else []
    large += [place] if place is not None and place >= _MOST_32 else []
    extra = struct.pack(f"<2H{len(large)}Q", 1, 8 * len(large), *large) if large else b""
    return (min(size, _MOST_32), min(size, _MOST_32)), extra


def _write_end(count: int, size: int, start: int) -> bytes:
    """Return what ends a zip: how many entries its directory has, how long it is, and where it begins."""
    end = b""
    if count >= _MOST_16 or size >= _MOST_32 or start >= _MOST_32:
        end = struct.pack("<LQ2H2L4Q", _END64, 44, _UNIX | _ZIP64, _ZIP64, 0, 0, count, count, size, start)
        end += struct.pack("<LLQL", _LOCATOR, 0, start + size, 1)
    counts = (min(count, _MOST_16), min(count, _MOST_16), min(size, _MOST_32), min(start, _MOST_32), 0)
    return end + struct.pack("<L4H2LH", _END, 0, 0, *counts)


def _of_bytes(data: bytes) -> _Piece:
    return _Piece(len(data), lambda start, stop: iter((data[start:stop],)))


def _read_file(entry: Entry, start: int, stop: int) -> Iterator[bytes]:
    left = stop - start
    if not left:
        return
    with entry.open(start, stop) as source:
        while left and (data := source.read(min(CHUNK, left))):
            left -= len(data)
            yield data
    if left:
        raise EOFError(f"{entry.path} is {left} bytes shorter than it was.")
