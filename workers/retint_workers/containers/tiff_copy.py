"""Copies pages of a TIFF, directory and pixel data, to the end of another one.

Nothing is decoded, except compressed samples of several bytes where the byte orders differ.
Source: TIFF 6.0 (Adobe, 1992), sections 2, 9, 13 and 14; Technical Note 3, predictors.
"""

import struct
from collections.abc import Callable, Iterator, Mapping
from math import ceil
from pathlib import Path
from typing import BinaryIO

import imagecodecs

from retint_workers.containers import maker_notes, tiff
from retint_workers.containers.tiff_pixels import PixelLayout, read_layout

CHUNK_BYTES = 1 << 20
MAX_RECODED_BYTES = 256 << 20
"""A larger compressed strip or tile is not decoded for its byte order."""
MAX_NESTED = 16
"""Pictures below one page."""
SPARE_BYTES = 1 << 16
"""By how much a compressed strip or tile may be larger than twice its pixels: tables, and very small ones."""
FLOAT_PREDICTOR = 3
"""Stores the bytes of each sample apart, the most significant first, whatever the file's order."""
FILL_ORDER = 266
CODECS: Mapping[int, tuple[Callable[..., bytes | bytearray], Callable[..., bytes | bytearray]]] = {
    5: (imagecodecs.lzw_decode, imagecodecs.lzw_encode),
    8: (imagecodecs.zlib_decode, imagecodecs.zlib_encode),
    32946: (imagecodecs.zlib_decode, imagecodecs.zlib_encode),
}
"""How words are decoded and encoded, by compression."""
STALE = {288, 289, *range(513, 522)}
"""Fields that point to unused bytes, and to the parts of a JPEG in the form that TIFF 6 had: they do not move."""
BYTE_STREAMS = {2, 3, 4, 7, 34712, 50001, 50002}
"""CCITT, JPEG, JPEG 2000, WebP and JPEG XL: streams that know no byte order of the file."""


class Uncopyable(Exception):
    """A page cannot be copied; the message says why, in a few words."""


def create(path: Path, order: str, *, is_big: bool) -> None:
    """Write a TIFF without any page.

    Args:
        path: the file.
        order: its byte order, `<` or `>`.
        is_big: whether it is a BigTIFF.
    """
    mark = b"II" if order == "<" else b"MM"
    tail = struct.pack(order + "HHHQ", 43, 8, 0, 0) if is_big else struct.pack(order + "HI", 42, 0)
    path.write_bytes(mark + tail)


def append_page(path: Path, source: tiff.Reader, directory: tiff.Directory) -> list[str]:
    """Append a page of another TIFF, with the directories below it, as the last of a file's chain.

    Args:
        path: a TIFF, see `create`.
        source: the other TIFF.
        directory: the page's, some of whose fields may be new ones.

    Returns:
        A sentence for each field that cannot be read and is left out.

    Raises:
        Uncopyable: it is not complete, or of a form that cannot be copied.
        ValueError: a field lies outside the file, or the result grows beyond what its offsets can say.
        OSError: the file cannot be written.
    """
    with path.open("r+b") as target:
        reader = tiff.Reader(target)
        pointer = reader.offset_at
        while offset := reader.read_offset(pointer):
            pointer = reader.find_next(offset)
        writer = tiff.Writer(target, reader.order, reader.is_big, _move)
        readable, left_out = _choose_readable(directory, source.file)
        node = _copy_pixels(tiff.read_node(source, readable), source.file, reader, limit=None)
        try:
            written = struct.pack(reader.order + ("Q" if reader.is_big else "I"), writer.write_directory(node))
        except struct.error as error:
            raise ValueError("the file is too large for a TIFF that is not a BigTIFF") from error
        target.seek(pointer)
        target.write(written)
    return left_out


def _choose_readable(directory: tiff.Directory, file: BinaryIO) -> tuple[tiff.Directory, list[str]]:
    """Return the fields whose data is there and of a known type, and a sentence for each other one."""
    size = file.seek(0, 2)
    fields, left_out = {}, []
    for tag, each in directory.items():
        if each.kind not in tiff.TYPE_SIZES:
            left_out.append(f"The TIFF's field {tag} is left out: its type {each.kind} is not known.")
        elif each.file is file and each.at + each.size > size:
            left_out.append(f"The TIFF's field {tag} is left out: the file ends before its data.")
        elif each.count and tag not in STALE:
            fields[tag] = each
    return fields, left_out


def _move(tag: int, each: tiff.Field, to: int) -> bytes:
    """Return a field's data for its new place: makers' notes of a known form have their offsets moved."""
    moved = maker_notes.move(each.data, each.at, to) if tag == tiff.MAKER_NOTE else None
    return each.data if moved is None else moved


def _copy_pixels(node: tiff.Node, source: BinaryIO, target: tiff.Reader, limit: int | None) -> tiff.Node:
    """Append the pixel data of a directory, and of those below it, to a file; return the directory with new offsets.

    Args:
        node: the directory.
        source: the file that holds it.
        target: of the file.
        limit: the most pixels of the picture; None for any number.

    Raises:
        Uncopyable: see `append_page`.
    """
    layout = read_layout(node.fields)
    if layout is None and limit is None:
        raise Uncopyable("it has no pixels")
    fields = dict(node.fields)
    size = layout.width * layout.height if layout else limit
    below = {}
    for tag, group in node.below.items():
        copied = [_copy_pixels(each, source, target, size) for each in group if _is_smaller(each, size)]
        below[tag] = copied[: MAX_NESTED if tag == tiff.SUB_DIRECTORIES else None]
        if not below[tag]:
            del below[tag], fields[tag]
    if layout is None:
        return tiff.Node(fields, below)
    offsets, counts = _copy_segments(layout, fields, source, target)
    kind, letter = (tiff.LONG8, "Q") if target.is_big else (tiff.LONG, "I")
    places = tiff.TILES if layout.tile else tiff.STRIPS
    kept = tiff.without(fields, {*tiff.STRIPS, *tiff.TILES})
    for tag, numbers in zip(places, (offsets, counts), strict=True):
        try:
            kept[tag] = tiff.Field.of(kind, struct.pack(f"<{len(numbers)}{letter}", *numbers))
        except struct.error as error:
            raise ValueError("the file is too large for a TIFF that is not a BigTIFF") from error
    return tiff.Node(kept, below)


def _is_smaller(node: tiff.Node, size: int | None) -> bool:
    """Whether a directory below a page has no picture, or one no larger than the page's."""
    layout = read_layout(node.fields)
    if layout is None:
        return not tiff.has_pixels(node.fields)
    return size is not None and layout.width * layout.height <= size


# --- strips and tiles -------------------------------------------------------------------------------------------------


def _copy_segments(
    layout: PixelLayout, fields: tiff.Directory, source: BinaryIO, target: tiff.Reader
) -> tuple[list[int], list[int]]:
    """Append the strips or tiles of a picture; return where they are, and how many bytes each has."""
    file_bytes = source.seek(0, 2)
    if not layout.is_complete(file_bytes):
        raise Uncopyable("it is incomplete")
    across, down = (ceil(layout.width / layout.tile[0]), layout.tile[1]) if layout.tile else (1, layout.rows)
    number = across * ceil(layout.height / down) * (layout.samples if layout.planar == 2 else 1)
    order = fields[tiff.WIDTH].order
    convert = _find_conversion(layout, fields) if order != target.order else None
    offsets, counts = [], []
    for index, count in enumerate(layout.true_counts(file_bytes)[:number]):
        room = layout.segment_bytes(index)
        if count > 2 * room + SPARE_BYTES:
            raise Uncopyable("a strip has more bytes than its pixels need")
        end = target.file.seek(0, 2)
        target.file.write(b"\0" * (end % 2))
        offsets.append(end + end % 2)
        source.seek(layout.offsets[index])
        pieces = convert(source, count, room) if convert else _read_pieces(source, count)
        counts.append(sum(map(target.file.write, pieces)))
    return offsets, counts


def _read_pieces(source: BinaryIO, count: int) -> Iterator[bytes]:
    """Read bytes in pieces of whole words."""
    while count:
        piece = source.read(min(count, CHUNK_BYTES))
        if not piece:
            raise Uncopyable("it is incomplete")
        count -= len(piece)
        yield piece


Convert = Callable[[BinaryIO, int, int], Iterator[bytes]]
"""Reads a strip or tile (file, bytes, bytes of its pixels) and yields it in the other byte order."""


def _find_conversion(layout: PixelLayout, fields: tiff.Directory) -> Convert | None:
    """Return what swaps the bytes of a picture's samples; None where they look the same in both orders.

    Raises:
        Uncopyable: its compression is not known.
    """
    word = layout.bits[0] // 8
    is_float_predicted = tiff.first_number(fields, tiff.PREDICTOR, 1) == FLOAT_PREDICTOR
    has_words = layout.bits[0] in (16, 32, 64) and not is_float_predicted
    if not has_words or layout.compression in BYTE_STREAMS:
        return None
    if len(set(layout.bits)) > 1 or tiff.first_number(fields, FILL_ORDER, 1) != 1:
        raise Uncopyable("its samples are stored in an unusual order")
    if layout.compression == 1:
        return lambda source, count, _: (_swap_whole(piece, word) for piece in _read_pieces(source, count))
    if layout.compression not in CODECS:
        raise Uncopyable(f"its compression {layout.compression} is not known")
    decode, encode = CODECS[layout.compression]

    def convert(source: BinaryIO, count: int, room: int) -> Iterator[bytes]:
        if room > MAX_RECODED_BYTES:
            raise Uncopyable("its strips are too large")
        try:
            decoded = decode(b"".join(_read_pieces(source, count)), out=room)
        except (RuntimeError, ValueError) as error:  # what imagecodecs raises
            raise Uncopyable("it is damaged") from error
        if len(decoded) < room:
            raise Uncopyable("it is damaged")
        yield bytes(encode(_swap_whole(bytes(decoded), word)))

    return convert


def _swap_whole(data: bytes, word: int) -> bytes:
    """Reverse the bytes of each word; what is left of a word at the end stays."""
    end = len(data) // word * word
    return tiff.swap_bytes(data[:end], word) + data[end:]
