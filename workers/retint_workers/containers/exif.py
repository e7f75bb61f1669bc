"""Edits EXIF blocks in place, so that no offset in them moves: makers' notes have offsets that only their makers know.

Source: EXIF 3.0 (CIPA DC-008-2023), sections 4.5 and 4.6.
"""

import io
import struct
from collections.abc import Iterator, Sequence

from retint_workers.containers import tiff

SIGNATURE = b"Exif\0\0"
"""What stands before the block in JPEG, and now and then in WebP and PNG."""
THUMBNAIL = (513, 514)
"""Fields with the offset and the size of the thumbnail."""
Range = tuple[int, int]
"""First and last offset of some bytes, the last one excluded."""


def split_signature(data: bytes) -> tuple[bytes, bytes]:
    """Return the signature, or nothing, and the block."""
    return (SIGNATURE, data[len(SIGNATURE) :]) if data.startswith(SIGNATURE) else (b"", data)


def cut_thumbnail(block: bytes) -> bytes:
    """Remove the second directory and its picture; the rest stays where it is.

    The picture's bytes become zero, or are cut off where nothing follows them.

    Raises:
        ValueError: the block is damaged.
    """
    reader = tiff.Reader(io.BytesIO(block))
    place = reader.find_next(reader.read_offset(reader.offset_at))
    chain = reader.directories()
    kept = [*_ranges(reader, next(chain)), (0, 8)]
    cut = [each for directory in chain for each in _thumbnail_ranges(reader, directory)]
    second = reader.read_offset(place) if place + 4 <= len(block) else 0
    if not second:
        return block
    cut.append((second, reader.find_next(second) + 4))
    edited = bytearray(block)
    struct.pack_into(reader.order + "I", edited, place, 0)
    cut = [each for each in cut if not any(each[0] < end and start < each[1] for start, end in kept)]
    for start, end in cut:
        edited[start:end] = bytes(min(end, len(edited)) - start)
    end = len(edited)
    for start, stop in sorted(cut, reverse=True):
        if stop >= end - 1:  # one byte may pad it
            end = min(end, start)
    return bytes(edited[:end])


def _ranges(reader: tiff.Reader, directory: tiff.Directory, depth: int = tiff.MAX_DEPTH) -> Iterator[Range]:
    """Yield where a directory, its data and those below it lie."""
    for tag, field in directory.items():
        yield field.entry_at - 2, field.entry_at + 16
        if field.size > 4:
            yield field.at, field.at + field.size
        if tag in tiff.NESTED and depth:
            for nested in reader.nested(field):
                yield from _ranges(reader, nested, depth - 1)


def _thumbnail_ranges(reader: tiff.Reader, directory: tiff.Directory) -> Iterator[Range]:
    yield from ((field.at, field.at + field.size) for field in directory.values() if field.size > 4)
    for offsets, sizes in (THUMBNAIL, tiff.STRIPS):
        if offsets in directory and sizes in directory:
            pairs = zip(directory[offsets].numbers, directory[sizes].numbers, strict=False)
            yield from ((at, at + size) for at, size in pairs)


def find_number(block: bytes, tag: int) -> int | None:
    """Return the first number of a field of the first directory; None where it is missing.

    Raises:
        ValueError: the block is damaged.
    """
    field = next(tiff.Reader(io.BytesIO(block)).directories()).get(tag)
    return field.numbers[0] if field is not None and field.numbers else None


def set_numbers(block: bytes, tag: int, numbers: Sequence[int]) -> bytes:
    """Give a field of the first directory other numbers, if it is there; the block grows where they need room.

    Raises:
        ValueError: the block is damaged.
    """
    reader = tiff.Reader(io.BytesIO(block))
    field = next(reader.directories()).get(tag)
    if field is None or field.kind not in (tiff.SHORT, tiff.LONG):
        return block
    data = struct.pack(f"{field.order}{len(numbers)}{'H' if field.kind == tiff.SHORT else 'I'}", *numbers)
    edited = bytearray(block)
    struct.pack_into(field.order + "I", edited, field.entry_at + 4, len(numbers))
    if len(data) <= max(4, field.size):
        at = field.at if len(data) > 4 else field.entry_at + 8
    else:
        edited += bytes(len(edited) % 2)
        at = len(edited)
    if len(data) > 4:
        struct.pack_into(field.order + "I", edited, field.entry_at + 8, at)
        edited[at : at + len(data)] = data
    else:
        edited[at : at + 4] = data.ljust(4, b"\0")
    return bytes(edited)
