"""Reads and mends the directories of TIFF files: what libvips neither tells nor keeps.

Source: TIFF 6.0 (Adobe, 1992), section 2; BigTIFF as libtiff documents it.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Bytes of one value of each field type."""
WORDS = {3: 2, 4: 4, 5: 4, 8: 2, 9: 4, 10: 4, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Bytes that are swapped together where the byte order differs."""
SUBFILE, WIDTH, COMPRESSION, PHOTOMETRIC, PREDICTOR, TILE_WIDTH, TILE_HEIGHT = 254, 256, 259, 262, 317, 322, 323
EXIF, GPS, INTEROPERABILITY = 34665, 34853, 40965
NESTED = {EXIF, GPS, INTEROPERABILITY}
KEPT = (269, 270, 271, 272, 285, 305, 306, 315, 316, 33432, 33723, 34377, EXIF, GPS)
"""Descriptive fields that libvips drops or (IPTC, in 8.18) writes wrongly: document and page name, description, make,
model, software, date, artist, host, copyright, IPTC, Photoshop's resources, EXIF and GPS."""
DIRECTORIES = 1000
FIELDS = 4096
FIELD_BYTES = 16 << 20


@dataclass(frozen=True)
class Field:
    """One entry of a directory; its data always little-endian, nested directories already read."""

    kind: int
    count: int
    data: bytes
    nested: "Mapping[int, Field] | None" = None

    @property
    def numbers(self) -> tuple[int, ...]:
        """The values of a field of whole numbers."""
        letter = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}.get(self.kind)
        return struct.unpack(f"<{self.count}{letter}", self.data) if letter else ()


Directory = Mapping[int, Field]


class Reader:
    """The directories of an open TIFF or BigTIFF.

    Raises:
        ValueError: not a TIFF, or one whose directories lead nowhere.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        head = self._at(0, 8)
        if head[:2] not in (b"II", b"MM"):
            raise ValueError("not a TIFF")
        self.order = "<" if head[:2] == b"II" else ">"
        self.is_big = struct.unpack(self.order + "H", head[2:4])[0] == 43
        self.offset_at = 8 if self.is_big else 4

    def directories(self) -> Iterator[Directory]:
        """The chain of top-level directories; one that bites its tail ends there."""
        seen: set[int] = set()
        offset = self._word(self.offset_at)
        while offset and offset not in seen and len(seen) < DIRECTORIES:
            seen.add(offset)
            directory, offset = self._directory(offset, nesting=2)
            yield directory

    def ends_within(self, directory: Directory, offsets: int, sizes: int) -> bool:
        """Whether the file ends before the data that these two fields point to."""
        if offsets not in directory or sizes not in directory:
            return False
        ends = map(sum, zip(directory[offsets].numbers, directory[sizes].numbers, strict=False))
        return max(ends, default=0) > self.file.seek(0, 2)

    def _word(self, at: int) -> int:
        size, letter = (8, "Q") if self.is_big else (4, "I")
        return int(struct.unpack(self.order + letter, self._at(at, size))[0])

    def _at(self, offset: int, size: int) -> bytes:
        self.file.seek(offset)
        data = self.file.read(size)
        if len(data) != size:
            raise ValueError("the file ends inside a TIFF directory")
        return data

    def _directory(self, offset: int, nesting: int) -> tuple[Directory, int]:
        counted, entry, inline = (8, 20, 8) if self.is_big else (2, 12, 4)
        count = struct.unpack(self.order + ("Q" if self.is_big else "H"), self._at(offset, counted))[0]
        if count > FIELDS:
            raise ValueError("a TIFF directory with too many fields")
        table = self._at(offset + counted, count * entry)
        fields = {}
        for i in range(count):
            tag, kind = struct.unpack_from(self.order + "HH", table, i * entry)
            length = struct.unpack_from(self.order + ("Q" if self.is_big else "I"), table, i * entry + 4)[0]
            size = SIZES.get(kind, 0) * length
            place = offset + counted + i * entry + entry - inline
            if size and size <= FIELD_BYTES:
                fields[tag] = self._field(tag, kind, length, place if size <= inline else self._word(place), nesting)
        return fields, self._word(offset + counted + count * entry)

    def _field(self, tag: int, kind: int, count: int, offset: int, nesting: int) -> Field:
        data = self._at(offset, SIZES[kind] * count)
        if self.order == ">":
            data = swapped(data, WORDS.get(kind, 1))
        field = Field(kind, count, data)
        if tag in NESTED and nesting and field.numbers:
            return Field(kind, count, data, self._nested(field.numbers[0], nesting - 1))
        return field

    def _nested(self, offset: int, nesting: int) -> Directory:
        """A directory that describes, not one that holds pixels: where it is broken, the photo is not."""
        try:
            return self._directory(offset, nesting)[0]
        except ValueError:
            return {}


def swapped(data: bytes, word: int) -> bytes:
    """Reverse the bytes of each word."""
    return b"".join(data[i : i + word][::-1] for i in range(0, len(data), word)) if word > 1 else data


def keep_fields(original: Path, result: Path) -> None:
    """Write what the original's first directory tells about the photo into that of the result.

    The new directory goes to the end of the result; fields that the result has already stay as they are.

    Raises:
        ValueError: one of them is not a TIFF.
    """
    with original.open("rb") as file:
        kept = {
            tag: field for tag, field in next(Reader(file).directories()).items() if tag in KEPT and field.nested != {}
        }
    if not kept:
        return
    with result.open("r+b") as file:
        reader = Reader(file)
        if reader.order != "<":
            raise ValueError("expected a little-endian result")
        first = reader._word(reader.offset_at)
        directory, following = reader._directory(first, nesting=0)
        writer = Writer(file, reader.is_big)
        offset = writer.directory({**kept, **directory}, following)
        file.seek(reader.offset_at)
        file.write(struct.pack("<Q" if reader.is_big else "<I", offset))


class Writer:
    """Appends directories to an open little-endian TIFF."""

    def __init__(self, file: BinaryIO, is_big: bool) -> None:
        self.file = file
        self.is_big = is_big
        self.word = "<Q" if is_big else "<I"

    def directory(self, fields: Directory, following: int = 0) -> int:
        """Append a directory, its data before it; return where it lies."""
        inline = 8 if self.is_big else 4
        entries = b""
        for tag, each in sorted(fields.items()):
            field = each
            if each.nested is not None:
                field = Field(16 if self.is_big else 4, 1, struct.pack(self.word, self.directory(each.nested)))
            value = field.data.ljust(inline, b"\0")
            if len(value) > inline:
                value = struct.pack(self.word, self._append(field.data))
            entries += struct.pack("<HH", tag, field.kind) + struct.pack(self.word, field.count) + value
        count = struct.pack("<Q" if self.is_big else "<H", len(fields))
        return self._append(count + entries + struct.pack(self.word, following))

    def _append(self, data: bytes) -> int:
        end = self.file.seek(0, 2)
        self.file.write(b"\0" * (end % 2) + data)
        return end + end % 2
