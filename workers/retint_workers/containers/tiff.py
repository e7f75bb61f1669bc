"""Reads and writes the directories of TIFF files and of EXIF blocks, which have the same form.

Source: TIFF 6.0 (Adobe, 1992), section 2; BigTIFF as libtiff documents it; EXIF 3.0 (CIPA DC-008-2023), section 4.6.
"""

import io
import struct
from array import array
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO

TYPE_SIZES = {
    1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8, 129: 1
}  # fmt: skip
"""Bytes of one value of each field type."""
WORD_SIZES = {3: 2, 4: 4, 5: 4, 8: 2, 9: 4, 10: 4, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Bytes of one number of each field type, which are swapped where the byte order differs."""
SHORT, LONG, UNDEFINED, IFD, LONG8, IFD8 = 3, 4, 7, 13, 16, 18
"""Field types."""
SUBFILE, WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, SAMPLES = 254, 256, 257, 258, 259, 262, 277
PREDICTOR, TILE_WIDTH, TILE_HEIGHT, SUB_DIRECTORIES = 317, 322, 323, 330
XMP, IPTC, PHOTOSHOP, ICC, PHOTOSHOP_LAYERS = 700, 33723, 34377, 34675, 37724
EXIF, GPS, INTEROPERABILITY, MAKER_NOTE = 34665, 34853, 40965, 37500
STRIPS, TILES = (273, 279), (324, 325)
"""Fields with the offsets and sizes of the pixel data."""
NESTED = {SUB_DIRECTORIES, 400, 33424, 65024, EXIF, GPS, INTEROPERABILITY}
"""Fields that point to directories of their own: among them those of TIFF-FX (400) and Kodak."""
OPAQUE = {XMP, IPTC, PHOTOSHOP, ICC, MAKER_NOTE, PHOTOSHOP_LAYERS, 34732, 37510, 37724, 50341, 50740, 52545}
"""Fields whose data is a stream of bytes, whatever type they have: Photoshop writes IPTC as LONG."""
MAX_DIRECTORIES = 1000
MAX_FIELDS = 4096
MAX_ALL_FIELDS = 1 << 17
"""Of all directories of a file together."""
MAX_DEPTH = 4


@dataclass(frozen=True)
class Field:
    """One entry of a directory, whose data is read when it is asked for.

    Attributes:
        kind: field type.
        count: of values.
        order: byte order of the data, `<` or `>`.
        at: where the data begins.
        file: what holds it.
        entry_at: where the entry begins; 0 for a new field.
    """

    kind: int
    count: int
    order: str
    at: int
    file: BinaryIO = field(repr=False)
    entry_at: int = 0

    @classmethod
    def of(cls, kind: int, data: bytes, order: str = "<") -> "Field":
        """Make a new field."""
        return cls(kind, len(data) // TYPE_SIZES[kind], order, 0, io.BytesIO(data))

    @property
    def size(self) -> int:
        """Bytes of the data; 0 where the type is unknown."""
        return TYPE_SIZES.get(self.kind, 0) * self.count

    @property
    def data(self) -> bytes:
        """The bytes as they are stored.

        Raises:
            ValueError: the file ends inside them.
        """
        return read_at(self.file, self.at, self.size)

    @property
    def numbers(self) -> tuple[int, ...]:
        """The values of a field of whole numbers; none for other types.

        Raises:
            ValueError: the file ends inside them.
        """
        letter = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q", 18: "Q"}.get(self.kind)
        return struct.unpack(f"{self.order}{self.count}{letter}", self.data) if letter else ()


Directory = Mapping[int, Field]
"""Fields by their tags."""


def first_number(directory: Directory, tag: int, default: int) -> int:
    """Return the first number of a field; the default where the field is missing or holds no whole numbers."""
    return (directory[tag].numbers or (default,))[0] if tag in directory else default


def read_at(file: BinaryIO, offset: int, size: int) -> bytes:
    """Read bytes at a place.

    Raises:
        ValueError: the file ends before or inside them.
    """
    file.seek(0, 2)
    if offset + size > file.tell():  # before memory for the bytes is asked for
        raise ValueError("the file ends inside a TIFF directory")
    file.seek(offset)
    return file.read(size)


class Reader:
    """The directories of an open TIFF, BigTIFF or EXIF block.

    Raises:
        ValueError: not a TIFF, or its directories lie outside the file.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        head = read_at(file, 0, 8)
        if head[:2] not in (b"II", b"MM"):
            raise ValueError("not a TIFF")
        self.order = "<" if head[:2] == b"II" else ">"
        self.is_big = struct.unpack(self.order + "H", head[2:4])[0] == 43
        self.offset_at = 8 if self.is_big else 4
        self._fields_left = MAX_ALL_FIELDS

    def directories(self) -> Iterator[Directory]:
        """Yield the chain of top-level directories; a chain that loops ends there.

        Raises:
            ValueError: the file ends inside one of them, or they have too many fields.
        """
        yield from self._follow(self.read_offset(self.offset_at))

    def nested(self, pointer: Field) -> list[Directory]:
        """Return the directories that a field points to; none where they are damaged: the pixels may be fine."""
        try:
            return [self.read_directory(offset)[0] for offset in pointer.numbers if offset][:MAX_DIRECTORIES]
        except ValueError:
            return []

    def _follow(self, offset: int) -> Iterator[Directory]:
        seen: set[int] = set()
        while offset and offset not in seen and len(seen) < MAX_DIRECTORIES:
            seen.add(offset)
            directory, offset = self.read_directory(offset)
            yield directory

    def read_offset(self, at: int) -> int:
        """Read the offset that is stored at a place of the file."""
        size, letter = (8, "Q") if self.is_big else (4, "I")
        return int(struct.unpack(self.order + letter, read_at(self.file, at, size))[0])

    def find_next(self, offset: int) -> int:
        """Return the place that holds the offset of the directory after this one."""
        count_size, entry = (8, 20) if self.is_big else (2, 12)
        letter = "Q" if self.is_big else "H"
        count = struct.unpack(self.order + letter, read_at(self.file, offset, count_size))[0]
        return offset + count_size + int(count) * entry

    def read_directory(self, offset: int) -> tuple[Directory, int]:
        """Read one directory, without the data of its fields.

        Returns:
            The directory, and the offset of the next one (0 after the last).

        Raises:
            ValueError: it has too many fields, or the file ends inside it.
        """
        count_size, entry, inline = (8, 20, 8) if self.is_big else (2, 12, 4)
        start, end = offset + count_size, self.find_next(offset)
        count = (end - start) // entry
        self._fields_left -= count
        if count > MAX_FIELDS or self._fields_left < 0:
            raise ValueError("a TIFF directory with too many fields")
        table = read_at(self.file, start, count * entry)
        fields: dict[int, Field] = {}
        for i in range(count):
            tag, kind = struct.unpack_from(self.order + "HH", table, i * entry)
            length = struct.unpack_from(self.order + ("Q" if self.is_big else "I"), table, i * entry + 4)[0]
            size = TYPE_SIZES.get(kind, 0) * length
            at = start + i * entry + entry - inline
            place = at if size <= inline else self.read_offset(at)
            fields.setdefault(tag, Field(kind, length, self.order, place, self.file, start + i * entry))
        return fields, self._read_next(end)

    def _read_next(self, at: int) -> int:
        """Read the offset of the next directory; blocks of EXIF that end without it have none."""
        try:
            return self.read_offset(at)
        except ValueError:
            return 0


def swap_bytes(data: bytes, word: int) -> bytes:
    """Reverse the bytes of each word of 1, 2, 4 or 8."""
    if word == 1:
        return data
    words = array({2: "H", 4: "I", 8: "Q"}[word], data)
    words.byteswap()
    return words.tobytes()


Group = Sequence["Node"]
"""Directories that one field points to."""


@dataclass(frozen=True)
class Node:
    """A directory that is to be written: its fields, and by tag the directories below them."""

    fields: Directory
    below: Mapping[int, Group] = field(default_factory=dict)


def read_node(reader: Reader, directory: Directory, depth: int = MAX_DEPTH) -> Node:
    """Read a directory with those below it; fields that point to damaged ones are left out."""
    fields, below = dict(directory), {}
    for tag, each in directory.items():
        if tag in NESTED or each.kind in (IFD, IFD8):
            found = [read_node(reader, nested, depth - 1) for nested in reader.nested(each)] if depth else []
            if found:
                below[tag] = found
            else:
                del fields[tag]
    return Node(fields, below)


Move = Callable[[int, Field, int], bytes]
"""Returns the data of a field (its tag, itself) that moves to an offset."""


def keep_data(_tag: int, moved: Field, _offset: int) -> bytes:
    """Return a field's data as it is."""
    return moved.data


class Writer:
    """Appends directories to an open TIFF, in its byte order.

    Args:
        file: the TIFF, open for reading and writing.
        order: its byte order, `<` or `>`.
        is_big: whether it is a BigTIFF.
        move: tells the data of opaque fields at their new place.
    """

    def __init__(self, file: BinaryIO, order: str, is_big: bool, move: Move = keep_data) -> None:
        self.file = file
        self.order = order
        self.is_big = is_big
        self._move = move
        self._offset_format = order + ("Q" if is_big else "I")

    def write_directory(self, node: Node, following: int = 0) -> int:
        """Append the fields' data, then the directory; return the directory's offset.

        Raises:
            ValueError: what a field points to lies outside its file.
        """
        inline = 8 if self.is_big else 4
        entries = b""
        for tag, each in sorted(node.fields.items()):
            kind, count, value = each.kind, each.count, b""
            if tag in node.below:
                offsets = [self.write_directory(nested) for nested in node.below[tag]]
                kind, count = (LONG8 if self.is_big else LONG), len(offsets)
                value = b"".join(struct.pack(self._offset_format, offset) for offset in offsets)
            else:
                value = self._convert(tag, each)
            if len(value) > inline:
                value = struct.pack(self._offset_format, self._append(value))
            entries += struct.pack(self.order + "HH", tag, kind) + struct.pack(self._offset_format, count)
            entries += value.ljust(inline, b"\0")
        count_bytes = struct.pack(self.order + ("Q" if self.is_big else "H"), len(node.fields))
        return self._append(count_bytes + entries + struct.pack(self._offset_format, following))

    def _convert(self, tag: int, each: Field) -> bytes:
        if tag in OPAQUE:
            return self._move(tag, each, self._end())
        return each.data if each.order == self.order else swap_bytes(each.data, WORD_SIZES.get(each.kind, 1))

    def _end(self) -> int:
        end = self.file.seek(0, 2)
        return end + end % 2

    def _append(self, data: bytes) -> int:
        end = self._end()
        self.file.seek(0, 2)
        self.file.write(b"\0" * (end - self.file.tell()) + data)
        return end


def replace_first_directory(file: BinaryIO, node: Node, move: Move = keep_data) -> None:
    """Append a directory to an open TIFF and make it the first one, before the others of its chain.

    Raises:
        ValueError: the file is not a TIFF, or grows beyond what its offsets can say.
    """
    reader = Reader(file)
    _, following = reader.read_directory(reader.read_offset(reader.offset_at))
    try:
        offset = Writer(file, reader.order, reader.is_big, move).write_directory(node, following)
        pointer = struct.pack(reader.order + ("Q" if reader.is_big else "I"), offset)
    except struct.error as error:
        raise ValueError("the file is too large for a TIFF that is not a BigTIFF") from error
    file.seek(reader.offset_at)
    file.write(pointer)


def has_pixels(directory: Directory) -> bool:
    """Whether a directory describes a picture."""
    return WIDTH in directory and any(tag in directory for tag in (*STRIPS, *TILES, 513))


def without(directory: Directory, tags: Collection[int]) -> dict[int, Field]:
    """Return a directory's other fields."""
    return {tag: each for tag, each in directory.items() if tag not in tags}
