"""The chunks of PNG files.

Source: Portable Network Graphics, third edition (W3C, 2025), section 5.
"""

import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from retint_workers.containers.chunks import Chunk

SIGNATURE = b"\x89PNG\r\n\x1a\n"
CODING = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
"""Chunks that hold the pixels."""
CHUNK = 1 << 20
XMP_KEYWORD = b"XML:com.adobe.xmp"
GRAY, RGB, PALETTE, GRAY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6
"""Color types."""


class PngChunk(Chunk):
    """A chunk whose type says what may be done with it (section 5.4)."""

    @property
    def is_ancillary(self) -> bool:
        """Whether a reader may pass it over."""
        return bool(self.kind[0] & 32)

    @property
    def is_safe_to_copy(self) -> bool:
        """Whether it stays true when the pixels change."""
        return bool(self.kind[3] & 32)


@dataclass(frozen=True)
class ImageHeader:
    """The first chunk: width and height, bits a sample, color type."""

    width: int
    height: int
    bits: int
    color_type: int

    @property
    def channels(self) -> int:
        """How many samples a pixel shows: those of its palette for a color type that has one."""
        return {GRAY: 1, RGB: 3, PALETTE: 3, GRAY_ALPHA: 2, RGB_ALPHA: 4}.get(self.color_type, 0)


def read_chunks(file: BinaryIO) -> Iterator[PngChunk]:
    """Yield the chunks; the last is IEND, unless the file ends before it."""
    at = len(SIGNATURE)
    while True:
        file.seek(at)
        head = file.read(8)
        if len(head) < 8:
            return
        chunk = PngChunk(head[4:], at + 8, struct.unpack(">I", head[:4])[0])
        yield chunk
        if chunk.kind == b"IEND":
            return
        at += 12 + chunk.length


def read_image_header(file: BinaryIO) -> ImageHeader:
    """Read the first chunk.

    Raises:
        ValueError: it is no image header.
    """
    first = next(read_chunks(file), None)
    data = first.read(file) if first and first.kind == b"IHDR" else b""
    if len(data) != 13:
        raise ValueError("a PNG without an image header")
    return ImageHeader(*struct.unpack(">IIBB", data[:10]))


def states_resolution(file: BinaryIO) -> bool:
    """Tell whether a file says how large its pixels are, in meters (section 11.3.4.3)."""
    sizes = (chunk.read(file) for chunk in read_chunks(file) if chunk.kind == b"pHYs")
    return any(len(size) == 9 and size[8] == 1 for size in sizes)


def write_chunk(file: BinaryIO, kind: bytes, data: bytes) -> None:
    """Write a chunk with its checksum."""
    file.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind))))


def replace_metadata(
    source: BinaryIO, target: BinaryIO, before: Iterable[tuple[bytes, bytes]], after: Iterable[tuple[bytes, bytes]]
) -> None:
    """Copy a PNG, with other metadata.

    Args:
        source: the PNG.
        target: receives the copy.
        before: type and data of each chunk that stands before the pixels. All that may stand there may do so directly
            after the header where there is no palette.
        after: likewise, of those behind the pixels.
    """
    target.write(SIGNATURE)
    for chunk in read_chunks(source):
        if chunk.kind not in CODING:
            continue
        if chunk.kind == b"IEND":
            for kind, data in after:
                write_chunk(target, kind, data)
        _copy_chunk(source, target, chunk)
        if chunk.kind == b"IHDR":
            for kind, data in before:
                write_chunk(target, kind, data)


def _copy_chunk(source: BinaryIO, target: BinaryIO, chunk: Chunk) -> None:
    source.seek(chunk.at - 8)
    left = chunk.length + 12
    while left and (data := source.read(min(CHUNK, left))):
        target.write(data)
        left -= len(data)


# --- text and profiles ------------------------------------------------------------------------------------------------


def unpack_xmp(data: bytes, limit: int) -> bytes | None:
    """Return the XMP of an iTXt chunk; None where it holds another text, or more than so many bytes.

    Raises:
        ValueError: it is compressed and damaged.
    """
    keyword, _, rest = data.partition(b"\0")
    if keyword != XMP_KEYWORD or len(rest) < 2:
        return None
    text = rest[2:].split(b"\0", 2)[-1]
    if not rest[0]:
        return text if len(text) <= limit else None
    inflate = zlib.decompressobj()
    try:
        packet = inflate.decompress(text, limit + 1)
    except zlib.error as error:
        raise ValueError("a damaged text") from error
    return packet if len(packet) <= limit else None


def pack_xmp(packet: bytes) -> bytes:
    """Return the data of an iTXt chunk with XMP (XMP specification part 3, 1.1.5)."""
    return XMP_KEYWORD + b"\0\0\0\0\0" + packet


def pack_profile(profile: bytes, name: bytes = b"ICC profile") -> bytes:
    """Return the data of an iCCP chunk."""
    return name + b"\0\0" + zlib.compress(profile)
