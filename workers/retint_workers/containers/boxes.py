"""The blocks of metadata in files made of boxes: JPEG 2000, HEIC and AVIF.

Sources: ITU-T T.800 (2019), annex I; ISO/IEC 14496-12 (2022), 8.11; ISO/IEC 23008-12 (2022), annex A; XMP specification
part 3 (Adobe, 2020), 1.1.4; GeoJP2 1.0.3 (Mapping Science, 2004).
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO

from retint_workers.containers import exif

MAX_BOXES = 1000
MAX_BYTES = 64 << 20
"""A larger block is not read."""
UUIDS: Mapping[bytes, str] = {
    b"JpgTiffExif->JP2": "exif",
    bytes.fromhex("be7acfcb97a942e89c71999491e3afac"): "xmp",
    bytes.fromhex("33c7a4d2b81d4723a0baf1a3e097ad38"): "iptc",
    bytes.fromhex("2c4c0100850440b9a03e562148d6dfeb"): "photoshop",
    bytes.fromhex("b14bf8bd083d4b43a5ae8cd7d5a6ce03"): "geotiff",
}
"""Identifiers of the boxes `uuid` that hold metadata."""
Block = tuple[str, bytes]
"""What it is (`exif`, `xmp`, `iptc`, `photoshop`, `geotiff`, or the type of a box that is not known), and its bytes."""
CODING = {b"jP  ", b"ftyp", b"jp2h", b"jp2c", b"free", b"skip", b"mdat", b"meta", b"moov"}


@dataclass(frozen=True)
class Box:
    """A box: its type, where its content begins, and where it ends."""

    kind: bytes
    at: int
    end: int


def read_boxes(file: BinaryIO, at: int, end: int) -> Iterator[Box]:
    """Yield the boxes between two offsets; a damaged one ends them."""
    for _ in range(MAX_BOXES):
        if at + 8 > end:
            return
        file.seek(at)
        head = file.read(16)
        length, kind = struct.unpack(">I4s", head[:8])
        content = at + 8
        if length == 1 and len(head) == 16:
            (length,) = struct.unpack(">Q", head[8:])
            content = at + 16
        following = min(at + length, end) if length else end
        if following < content:
            return
        yield Box(kind, content, following)
        at = following


def read_blocks(file: BinaryIO) -> list[Block]:
    """Return the blocks of metadata of a JPEG 2000, HEIC or AVIF."""
    found: list[Block] = []
    for box in read_boxes(file, 0, file.seek(0, 2)):
        if box.kind == b"meta":
            found.extend(_read_items(file, box))
        elif box.kind == b"uuid":
            name = UUIDS.get(_read(file, box.at, box.at + 16), "uuid")
            found.append((name, _read(file, box.at + 16, box.end)))
        elif box.kind not in CODING:
            found.append((box.kind.decode("latin-1").strip(), _read(file, box.at, box.end)))
    return [(name, data.removeprefix(exif.SIGNATURE)) for name, data in found]


def _read(file: BinaryIO, at: int, end: int) -> bytes:
    if at > file.seek(0, 2):
        return b""
    file.seek(at)
    return file.read(max(0, min(end - at, MAX_BYTES)))


def _read_items(file: BinaryIO, meta: Box) -> Iterator[Block]:
    """Yield the items of EXIF and XMP."""
    boxes = {box.kind: box for box in read_boxes(file, meta.at + 4, meta.end)}
    if b"iinf" not in boxes or b"iloc" not in boxes:
        return
    places = _read_places(_read(file, boxes[b"iloc"].at, boxes[b"iloc"].end), boxes.get(b"idat"))
    version = _read(file, boxes[b"iinf"].at, boxes[b"iinf"].at + 1)
    entries_at = boxes[b"iinf"].at + (6 if version == b"\0" else 8)
    for entry in read_boxes(file, entries_at, boxes[b"iinf"].end):
        item, kind, rest = _read_entry(_read(file, entry.at, entry.end))
        parts = places.get(item, [])
        if sum(size for _, size in parts) > MAX_BYTES:
            continue
        data = b"".join(_read(file, at, at + size) for at, size in parts)
        if kind == b"Exif" and len(data) > 4:
            yield "exif", data[4 + struct.unpack(">I", data[:4])[0] :]
        elif kind == b"mime" and b"application/rdf+xml" in rest:
            yield "xmp", data


def _read_entry(data: bytes) -> tuple[int, bytes, bytes]:
    """Return an item's number, its type, and the rest of its entry (`infe`, versions 2 and 3)."""
    if data[:1] == b"\2" and len(data) >= 12:
        return int.from_bytes(data[4:6], "big"), data[8:12], data[12:]
    if data[:1] == b"\3" and len(data) >= 14:
        return int.from_bytes(data[4:8], "big"), data[10:14], data[14:]
    return -1, b"", b""


def _read_places(data: bytes, idat: Box | None) -> dict[int, list[tuple[int, int]]]:
    """Read offset and size of each item's parts (`iloc`); none where it is damaged."""
    version = data[0] if data else 0
    offset_size, length_size = data[4] >> 4, data[4] & 15
    base_size, index_size = data[5] >> 4, data[5] & 15 if version else 0
    at = 6

    def take(size: int) -> int:
        nonlocal at
        at += size
        return int.from_bytes(data[at - size : at], "big")

    places: dict[int, list[tuple[int, int]]] = {}
    for _ in range(take(2 if version < 2 else 4)):
        if at >= len(data):
            break
        item = take(2 if version < 2 else 4)
        in_idat = bool(take(2) & 15) if version else False
        take(2)
        base = take(base_size) + (idat.at if in_idat and idat else 0)
        for _ in range(min(take(2), MAX_BOXES)):
            take(index_size)
            places.setdefault(item, []).append((base + take(offset_size), take(length_size)))
    return places
