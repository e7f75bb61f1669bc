"""Reads and writes the directories of TIFF files: what libvips does not tell or does not keep.

Source: TIFF 6.0 (Adobe, 1992), section 2; BigTIFF as libtiff documents it.
"""

import struct
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

TYPE_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Bytes of one value of each field type."""
WORD_SIZES = {3: 2, 4: 4, 5: 4, 8: 2, 9: 4, 10: 4, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Bytes of one number of each field type, which are swapped where the byte order differs."""
SUBFILE, WIDTH, COMPRESSION, PHOTOMETRIC, PREDICTOR, TILE_WIDTH, TILE_HEIGHT = 254, 256, 259, 262, 317, 322, 323
EXIF, GPS, INTEROPERABILITY = 34665, 34853, 40965
STRIPS, TILES = (273, 279), (324, 325)
"""Fields with the offsets and sizes of the pixel data."""
NESTED = {EXIF, GPS, INTEROPERABILITY}
"""Fields that point to a directory of their own."""
MAX_DIRECTORIES = 1000
MAX_FIELDS = 4096
MAX_FIELD_BYTES = 16 << 20


@dataclass(frozen=True)
class Field:
    """One entry of a directory. Its data is little-endian; a nested directory is already read."""

    kind: int
    count: int
    data: bytes
    nested: "Mapping[int, Field] | None" = None

    @property
    def numbers(self) -> tuple[int, ...]:
        """The values of a field of whole numbers; none for other types."""
        letter = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}.get(self.kind)
        return struct.unpack(f"<{self.count}{letter}", self.data) if letter else ()


Directory = Mapping[int, Field]
"""Fields by their tags."""


def first_number(directory: Directory, tag: int, default: int) -> int:
    """Return the first number of a field; the default where the field is missing or holds no whole numbers."""
    return (directory[tag].numbers or (default,))[0] if tag in directory else default


class Reader:
    """The directories of an open TIFF or BigTIFF.

    Raises:
        ValueError: not a TIFF, or its directories lie outside the file.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        head = self._read_at(0, 8)
        if head[:2] not in (b"II", b"MM"):
            raise ValueError("not a TIFF")
        self.order = "<" if head[:2] == b"II" else ">"
        self.is_big = struct.unpack(self.order + "H", head[2:4])[0] == 43
        self.offset_at = 8 if self.is_big else 4

    def directories(self) -> Iterator[Directory]:
        """Yield the chain of top-level directories; a chain that loops ends there."""
        seen: set[int] = set()
        offset = self.read_offset(self.offset_at)
        while offset and offset not in seen and len(seen) < MAX_DIRECTORIES:
            seen.add(offset)
            directory, offset = self.read_directory(offset, nesting=2)
            yield directory

    def ends_before_pixels(self, directory: Directory) -> bool:
        """Whether the file ends before the pixel data that a directory points to."""
        return any(self._ends_before(directory, *fields) for fields in (STRIPS, TILES))

    def _ends_before(self, directory: Directory, offsets: int, sizes: int) -> bool:
        if offsets not in directory or sizes not in directory:
            return False
        ends = map(sum, zip(directory[offsets].numbers, directory[sizes].numbers, strict=False))
        return max(ends, default=0) > self.file.seek(0, 2)

    def read_offset(self, at: int) -> int:
        """Read the offset that is stored at a place of the file."""
        size, letter = (8, "Q") if self.is_big else (4, "I")
        return int(struct.unpack(self.order + letter, self._read_at(at, size))[0])

    def _read_at(self, offset: int, size: int) -> bytes:
        self.file.seek(offset)
        data = self.file.read(size)
        if len(data) != size:
            raise ValueError("the file ends inside a TIFF directory")
        return data

    def read_directory(self, offset: int, nesting: int) -> tuple[Directory, int]:
        """Read one directory, and nested ones so many levels deep.

        Returns:
            The directory, and the offset of the next one (0 after the last).

        Raises:
            ValueError: it has too many fields, or the file ends inside it.
        """
        count_size, entry, inline = (8, 20, 8) if self.is_big else (2, 12, 4)
        count = struct.unpack(self.order + ("Q" if self.is_big else "H"), self._read_at(offset, count_size))[0]
        if count > MAX_FIELDS:
            raise ValueError("a TIFF directory with too many fields")
        table = self._read_at(offset + count_size, count * entry)
        fields = {}
        for i in range(count):
            tag, kind = struct.unpack_from(self.order + "HH", table, i * entry)
            length = struct.unpack_from(self.order + ("Q" if self.is_big else "I"), table, i * entry + 4)[0]
            size = TYPE_SIZES.get(kind, 0) * length
            place = offset + count_size + i * entry + entry - inline
            if size and size <= MAX_FIELD_BYTES:
                data_at = place if size <= inline else self.read_offset(place)
                fields[tag] = self._read_field(tag, kind, length, data_at, nesting)
        return fields, self.read_offset(offset + count_size + count * entry)

    def _read_field(self, tag: int, kind: int, count: int, offset: int, nesting: int) -> Field:
        data = self._read_at(offset, TYPE_SIZES[kind] * count)
        if self.order == ">":
            data = swap_bytes(data, WORD_SIZES.get(kind, 1))
        field = Field(kind, count, data)
        if tag in NESTED and nesting and field.numbers:
            return Field(kind, count, data, self._read_nested(field.numbers[0], nesting - 1))
        return field

    def _read_nested(self, offset: int, nesting: int) -> Directory:
        """Read a directory of metadata; return an empty one where it is damaged, because the pixels may be fine."""
        try:
            return self.read_directory(offset, nesting)[0]
        except ValueError:
            return {}


def swap_bytes(data: bytes, word: int) -> bytes:
    """Reverse the bytes of each word."""
    return b"".join(data[i : i + word][::-1] for i in range(0, len(data), word)) if word > 1 else data


def copy_fields(original: Path, result: Path, tags: Collection[int]) -> None:
    """Copy fields of the original's first directory into that of the result.

    The new directory is appended to the result; fields that the result already has stay as they are.

    Raises:
        ValueError: one of the files is not a TIFF.
    """
    with original.open("rb") as file:
        first = next(Reader(file).directories())
        copied = {tag: field for tag, field in first.items() if tag in tags and field.nested != {}}
    if not copied:
        return
    with result.open("r+b") as file:
        reader = Reader(file)
        if reader.order != "<":
            raise ValueError("expected a little-endian result")
        directory, following = reader.read_directory(reader.read_offset(reader.offset_at), nesting=0)
        writer = Writer(file, reader.is_big)
        offset = writer.write_directory({**copied, **directory}, following)
        file.seek(reader.offset_at)
        file.write(struct.pack("<Q" if reader.is_big else "<I", offset))


class Writer:
    """Appends directories to an open little-endian TIFF."""

    def __init__(self, file: BinaryIO, is_big: bool) -> None:
        self.file = file
        self.is_big = is_big
        self._offset_format = "<Q" if is_big else "<I"

    def write_directory(self, fields: Directory, following: int = 0) -> int:
        """Append the fields' data, then the directory; return the directory's offset."""
        inline = 8 if self.is_big else 4
        entries = b""
        for tag, original in sorted(fields.items()):
            field = original
            if original.nested is not None:
                offset = struct.pack(self._offset_format, self.write_directory(original.nested))
                field = Field(16 if self.is_big else 4, 1, offset)
            value = field.data.ljust(inline, b"\0")
            if len(value) > inline:
                value = struct.pack(self._offset_format, self._append(field.data))
            entries += struct.pack("<HH", tag, field.kind) + struct.pack(self._offset_format, field.count) + value
        count = struct.pack("<Q" if self.is_big else "<H", len(fields))
        return self._append(count + entries + struct.pack(self._offset_format, following))

    def _append(self, data: bytes) -> int:
        end = self.file.seek(0, 2)
        self.file.write(b"\0" * (end % 2) + data)
        return end + end % 2
