"""Photographs with metadata of all kinds, for tests: pieces of each format, put in by hand."""

import struct
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from tests import photo_files, photographs

GRAY = photographs.to_gray(photographs.color_photo(1, 160)[:120])
Segments = Iterable[tuple[int, bytes]]


def jpeg_with(
    *segments: tuple[int, bytes], between_scans: Segments = (), trailer: bytes = b"", jfif: bool = True
) -> bytes:
    """A gray JPEG with these segments before its tables, others between its scans, and bytes behind its end."""
    data = photo_files.encode_photo("JPEG", GRAY, progressive=True)
    head = data[:20] if jfif else data[:2]
    body = data[20:]
    if between_scans:
        at = body.index(b"\xff\xda", body.index(b"\xff\xda") + 2)
        body = body[:at] + _segments(between_scans) + body[at:]
    return head + _segments(segments) + body + trailer


def _segments(segments: Segments) -> bytes:
    return b"".join(struct.pack(">BBH", 255, marker, len(data) + 2) + data for marker, data in segments)


def png_with(*before: tuple[bytes, bytes], after: Sequence[tuple[bytes, bytes]] = (), pixels: object = GRAY) -> bytes:
    """A PNG with these chunks before and behind its pixels."""
    data = photo_files.encode_photo("PNG", np.asarray(pixels))
    return data[:33] + _chunks(before) + data[33:-12] + _chunks(after) + data[-12:]


def _chunks(chunks: Iterable[tuple[bytes, bytes]]) -> bytes:
    return b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def webp_with(*chunks: tuple[bytes, bytes]) -> bytes:
    """A lossless WebP with these chunks behind its pixels."""
    data = photo_files.encode_photo("WEBP", GRAY, lossless=True)
    body = data[12:] + b"".join(
        kind + struct.pack("<I", len(piece)) + piece + b"\0" * (len(piece) % 2) for kind, piece in chunks
    )
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def make_tiff_block(
    order: str, fields: Sequence[tuple[int, int, int, bytes]], at: int = 8, following: int = 0
) -> bytes:
    """A directory (tag, type, count, data of each field) and its data, for offset `at` of a classic TIFF."""
    table, data = b"", b""
    start = at + 2 + 12 * len(fields) + 4
    for tag, kind, count, value in sorted(fields):
        if len(value) > 4:
            table += struct.pack(order + "HHII", tag, kind, count, start + len(data))
            data += value + b"\0" * (len(value) % 2)
        else:
            table += struct.pack(order + "HHI", tag, kind, count) + value.ljust(4, b"\0")
    return struct.pack(order + "H", len(fields)) + table + struct.pack(order + "I", following) + data


def make_exif(order: str, fields: Sequence[tuple[int, int, int, bytes]], thumbnail: bytes = b"") -> bytes:
    """An EXIF block with these fields in its first directory, and a thumbnail in its second."""
    first = make_tiff_block(order, fields)
    if thumbnail:
        second_at = 8 + len(first)
        second = [(259, 3, 1, struct.pack(order + "H", 6)), (513, 4, 1, bytes(4)), (514, 4, 1, bytes(4))]
        size = len(make_tiff_block(order, second))
        second[1] = (513, 4, 1, struct.pack(order + "I", second_at + size))
        second[2] = (514, 4, 1, struct.pack(order + "I", len(thumbnail)))
        first = make_tiff_block(order, fields, following=second_at) + make_tiff_block(order, second) + thumbnail
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    return head + first


def append_directory(path: Path, tag: int, fields: Sequence[tuple[int, int, int, bytes]]) -> None:
    """Append a directory to a classic TIFF of one page, and point a new field of its first directory to it."""
    data = path.read_bytes()
    order = "<" if data[:2] == b"II" else ">"
    (first,) = struct.unpack_from(order + "I", data, 4)
    (count,) = struct.unpack_from(order + "H", data, first)
    table = [data[first + 2 + 12 * i : first + 14 + 12 * i] for i in range(count)]
    data += b"\0" * (len(data) % 2)
    table.append(struct.pack(order + "HHII", tag, 4, 1, len(data)))
    data += make_tiff_block(order, fields, at=len(data))
    table.sort(key=lambda entry: struct.unpack(order + "H", entry[:2]))
    at = len(data) + len(data) % 2
    data = data.ljust(at, b"\0") + struct.pack(order + "H", len(table)) + b"".join(table) + bytes(4)
    path.write_bytes(data[:4] + struct.pack(order + "I", at) + data[8:])


def make_canon_note(order: str, at: int) -> bytes:
    """A maker's note as Canon writes it, for an offset of its file: texts with absolute offsets, and the footer."""
    texts = [
        (6, 2, 15, b"Canon EOS 300D\0"),
        (7, 2, 24, b"Firmware Version 1.1.1\0\0"),
        (9, 2, 16, b"A. Photographer\0"),
    ]
    footer = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", at)
    return make_tiff_block(order, texts, at=at) + footer


def make_resource(number: int, data: bytes, name: bytes = b"") -> bytes:
    """One of Photoshop's resources."""
    label = bytes([len(name)]) + name
    label += b"\0" * (len(label) % 2)
    return b"8BIM" + struct.pack(">H", number) + label + struct.pack(">I", len(data)) + data + b"\0" * (len(data) % 2)


def make_iptc(*texts: tuple[int, bytes]) -> bytes:
    """IPTC records: numbers and texts of the application record."""
    return b"".join(b"\x1c\x02" + bytes([number]) + struct.pack(">H", len(text)) + text for number, text in texts)
