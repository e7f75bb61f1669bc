"""The chunks of WebP files.

Source: RFC 9649, section 2.
"""

import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO

from retint_workers.containers.chunks import Chunk

HEAD_BYTES = 12
"""`RIFF`, the size of what follows it, `WEBP`."""
CODING = (b"ALPH", b"VP8 ", b"VP8L")
"""Chunks that hold the pixels, in their order."""
HAS_PROFILE, HAS_ALPHA, HAS_EXIF, HAS_XMP = 0x20, 0x10, 0x08, 0x04
"""Flags of the chunk `VP8X`."""
CHUNK = 1 << 20


def read_chunks(file: BinaryIO) -> Iterator[Chunk]:
    """Yield the chunks up to the end of the file."""
    at = HEAD_BYTES
    while True:
        file.seek(at)
        head = file.read(8)
        if len(head) < 8:
            return
        chunk = Chunk(head[:4], at + 8, struct.unpack("<I", head[4:])[0])
        yield chunk
        at += 8 + chunk.length + chunk.length % 2


def read_size(file: BinaryIO) -> tuple[int, int]:
    """Return width and height as the first chunk says them (sections 2.5 to 2.7); zeros where it does not."""
    for chunk in read_chunks(file):
        data = Chunk(chunk.kind, chunk.at, min(chunk.length, 10)).read(file).ljust(10, b"\0")
        if chunk.kind == b"VP8X":
            return 1 + int.from_bytes(data[4:7], "little"), 1 + int.from_bytes(data[7:10], "little")
        if chunk.kind == b"VP8L":
            packed = int.from_bytes(data[1:5], "little")
            return 1 + (packed & 0x3FFF), 1 + (packed >> 14 & 0x3FFF)
        if chunk.kind == b"VP8 ":
            return int.from_bytes(data[6:8], "little") & 0x3FFF, int.from_bytes(data[8:10], "little") & 0x3FFF
    return 0, 0


def replace_metadata(
    source: BinaryIO,
    target: BinaryIO,
    size: tuple[int, int],
    profile: bytes | None,
    metadata: Sequence[tuple[bytes, bytes]],
) -> None:
    """Copy a WebP of one picture in the extended form, with other metadata.

    Args:
        source: the WebP.
        target: receives the copy; it must be a file that can be read back to its start.
        size: width and height.
        profile: the color profile.
        metadata: type and data of each other chunk.
    """
    pixels = sorted((chunk for chunk in read_chunks(source) if chunk.kind in CODING), key=_coding_order)
    kinds = [kind for kind, _ in metadata]
    flags = HAS_ALPHA if any(_has_alpha(source, chunk) for chunk in pixels) else 0
    flags |= (HAS_PROFILE if profile else 0) | (HAS_EXIF if b"EXIF" in kinds else 0)
    flags |= HAS_XMP if b"XMP " in kinds else 0
    target.write(b"RIFF\0\0\0\0WEBP")
    canvas = b"".join(struct.pack("<I", side - 1)[:3] for side in size)
    _write_chunks(target, [(b"VP8X", struct.pack("<I", flags) + canvas)])
    _write_chunks(target, [(b"ICCP", profile)] if profile else [])
    for chunk in pixels:
        _copy_chunk(source, target, chunk)
    _write_chunks(target, metadata)
    length = target.tell()
    target.seek(4)
    target.write(struct.pack("<I", length - 8))


def _coding_order(chunk: Chunk) -> int:
    return CODING.index(chunk.kind)


def _has_alpha(file: BinaryIO, chunk: Chunk) -> bool:
    """Whether the pixels have transparency (RFC 9649, 2.7.1.2, and 3.4 for lossless coding)."""
    if chunk.kind != b"VP8L":
        return chunk.kind == b"ALPH"
    file.seek(chunk.at)
    head = file.read(5)
    return len(head) == 5 and bool(head[4] & 0x10)


def _write_chunks(file: BinaryIO, chunks: Iterable[tuple[bytes, bytes]]) -> None:
    for kind, data in chunks:
        file.write(kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2))


def _copy_chunk(source: BinaryIO, target: BinaryIO, chunk: Chunk) -> None:
    target.write(chunk.kind + struct.pack("<I", chunk.length))
    source.seek(chunk.at)
    left = chunk.length
    while left and (data := source.read(min(CHUNK, left))):
        target.write(data)
        left -= len(data)
    target.write(b"\0" * (chunk.length % 2))
