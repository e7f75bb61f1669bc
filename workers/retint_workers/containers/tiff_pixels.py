"""How a TIFF's directory says that its pixels are stored; and the same said again, without what a reader warns of.

Source: TIFF 6.0 (Adobe, 1992), sections 3 to 23; TIFF Technical Note 1 (trees of directories).
"""

import io
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import ceil

from retint_workers.containers import tiff
from retint_workers.containers.mending import Mend

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 256, 257, 258, 259, 262
SAMPLES, ROWS, PLANAR, EXTRA, FORMAT = 277, 278, 284, 338, 339
STRIP_OFFSETS, STRIP_BYTES, TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_BYTES = 273, 279, 322, 323, 324, 325
UNCOMPRESSED = 1
BLACK_IS_ZERO, RGB = 1, 2
OF_PIXELS = {
    *(BITS, COMPRESSION, PHOTOMETRIC, 266, SAMPLES, PLANAR, 292, 293, 317, 320, 332, 334, 336, EXTRA, FORMAT),
    *(347, 530, 531),
}
"""Fields without which a reader shows other pixels, besides sizes and places: bits, compression and its options, fill
order, color map, inks, JPEG's tables, chroma subsampling."""
WHOLE = {274, 282, 283, 296, 700, 34675}
"""Fields that a reader needs beside the pixels: orientation, resolution, XMP, color profile."""
SHORT = (BITS, COMPRESSION, PHOTOMETRIC, 266, SAMPLES, PLANAR, 317, 320, 332, 334, 336, EXTRA, FORMAT, 530, 274, 296)
KINDS: Mapping[int, tuple[int, ...]] = {
    **dict.fromkeys(SHORT, (3,)),
    **{292: (4,), 293: (4,), 282: (5,), 283: (5,), 347: (7,), 531: (3,), 700: (1, 7), 34675: (7, 1)},
}
"""The types that these fields must have."""


@dataclass(frozen=True)
class PixelLayout:
    """Where and how the pixels of one directory are stored.

    Attributes:
        width, height: of the picture.
        bits: of each sample.
        sample_format: 1 unsigned, 2 signed, 3 floating point.
        compression, photometric, planar: the fields' numbers.
        extras: ExtraSamples, a number for each channel beside gray, RGB, CMYK or Lab; 0 where the file does not say.
        tile: width and height of tiles; None for strips.
        rows: rows of a strip.
        offsets: of strips or tiles.
        counts: bytes of each, as the file says; empty where it does not.
    """

    width: int
    height: int
    bits: tuple[int, ...]
    sample_format: int
    compression: int
    photometric: int
    planar: int
    extras: tuple[int, ...]
    tile: tuple[int, int] | None
    rows: int
    offsets: tuple[int, ...]
    counts: tuple[int, ...]

    @property
    def samples(self) -> int:
        """Samples of a pixel."""
        return len(self.bits)

    def segment_bytes(self, index: int) -> int:
        """Bytes of one decoded strip or tile."""
        samples = self.bits[:1] if self.planar == 2 else self.bits
        if self.tile:
            return (self.tile[0] * sum(samples) + 7) // 8 * self.tile[1]
        strips = ceil(self.height / self.rows)
        rows = min(self.rows, self.height - index % strips * self.rows)
        return (self.width * sum(samples) + 7) // 8 * rows

    def true_counts(self, file_bytes: int) -> tuple[int, ...]:
        """Bytes of each strip or tile: as said, where that is possible; else what lies up to the next one.

        Writers say 0, nothing, or count the last strip as a full one; libtiff corrects the same way.
        """
        ends = sorted({*self.offsets, file_bytes})
        following = dict(pairwise(ends))
        is_plain = self.compression == UNCOMPRESSED and self.photometric != 6
        counts = []
        for index, offset in enumerate(self.offsets):
            said = self.counts[index] if index < len(self.counts) else 0
            room = max(0, file_bytes - offset)
            if is_plain:
                counts.append(self.segment_bytes(index) if not 0 < said <= self.segment_bytes(index) else said)
            else:
                counts.append(min(said or following.get(offset, offset) - offset, room))
        return tuple(counts)

    def is_complete(self, file_bytes: int) -> bool:
        """Whether every strip or tile is there and lies inside the file. Zero bytes are missing pixels."""
        across = ceil(self.width / self.tile[0]) if self.tile else 1
        down = ceil(self.height / (self.tile[1] if self.tile else self.rows))
        if len(self.offsets) < across * down * (self.samples if self.planar == 2 else 1):
            return False
        counts = self.true_counts(file_bytes)
        return all(offset + count <= file_bytes and count for offset, count in zip(self.offsets, counts, strict=True))


def read_layout(directory: tiff.Directory) -> PixelLayout | None:
    """Read where and how a directory's pixels are stored; None where it has no pixels."""

    def number(tag: int, default: int) -> int:
        return tiff.first_number(directory, tag, default)

    def numbers(tag: int) -> tuple[int, ...]:
        return directory[tag].numbers if tag in directory else ()

    width, height = number(WIDTH, 0), number(HEIGHT, 0)
    is_tiled = TILE_OFFSETS in directory or (TILE_WIDTH in directory and STRIP_OFFSETS in directory)
    offsets = numbers(TILE_OFFSETS) or numbers(STRIP_OFFSETS)
    if not width or not height or not offsets:
        return None
    bits = numbers(BITS) or (1,)
    samples = number(SAMPLES, len(bits))
    if not 1 <= samples <= 64:
        return None
    photometric = number(PHOTOMETRIC, 1 if samples < 3 else 2)
    colors = {2: 3, 5: 4, 6: 3, 8: 3, 9: 3, 10: 3}.get(photometric, 1)
    return PixelLayout(
        width=width,
        height=height,
        bits=bits if len(bits) == samples else (bits[0],) * samples,
        sample_format=number(FORMAT, 1),
        compression=number(COMPRESSION, UNCOMPRESSED),
        photometric=photometric,
        planar=number(PLANAR, 1) if samples > 1 else 1,
        extras=(numbers(EXTRA) + (0,) * samples)[: max(0, samples - colors)],
        tile=(max(1, number(TILE_WIDTH, 256)), max(1, number(TILE_HEIGHT, 256))) if is_tiled else None,
        rows=max(1, min(number(ROWS, height), height)),
        offsets=offsets,
        counts=numbers(TILE_BYTES) or numbers(STRIP_BYTES),
    )


def mend(reader: tiff.Reader, directory: tiff.Directory, file_bytes: int) -> Mend:
    """Return what makes a directory the only one of its file, in fields that every reader takes without a warning.

    Args:
        reader: of the file.
        directory: one with pixels.
        file_bytes: length of the file.
    """
    layout = read_layout(directory)
    if layout is None:
        return Mend()
    short, long = (3, 16 if reader.is_big else 4)
    fields = {tag: (directory[tag].kind, directory[tag].data) for tag in _sound_fields(directory, file_bytes)}
    samples = layout.samples

    def put(tag: int, kind: int, *values: int) -> None:
        fields[tag] = kind, struct.pack(f"{reader.order}{len(values)}{ {3: 'H', 4: 'I', 16: 'Q'}[kind] }", *values)

    put(WIDTH, 4, layout.width)
    put(HEIGHT, 4, layout.height)
    put(BITS, short, *layout.bits)
    put(SAMPLES, short, samples)
    put(PHOTOMETRIC, short, layout.photometric)
    put(PLANAR, short, layout.planar)
    if layout.extras:
        put(EXTRA, short, *layout.extras)
    if layout.tile:
        put(TILE_WIDTH, 4, layout.tile[0])
        put(TILE_HEIGHT, 4, layout.tile[1])
    else:
        put(ROWS, 4, layout.rows)
    put(TILE_OFFSETS if layout.tile else STRIP_OFFSETS, long, *layout.offsets)
    put(TILE_BYTES if layout.tile else STRIP_BYTES, long, *layout.true_counts(file_bytes))
    return _append_directory(fields, reader, file_bytes)


def _sound_fields(directory: tiff.Directory, file_bytes: int) -> list[int]:
    """Tags of the fields that a reader needs, that have the type they must have, and whose data the file has."""
    return [
        tag
        for tag, field in directory.items()
        if tag in OF_PIXELS | WHOLE and field.kind in KINDS.get(tag, ()) and field.at + field.size <= file_bytes
    ]


def _append_directory(fields: Mapping[int, tuple[int, bytes]], reader: tiff.Reader, file_bytes: int) -> Mend:
    order, letter, inline = reader.order, *(("Q", 8) if reader.is_big else ("I", 4))
    tail = bytearray(bytes(file_bytes % 2))
    entries = b""
    for tag, (kind, data) in sorted(fields.items()):
        value = data.ljust(inline, b"\0")
        if len(data) > inline:
            value = struct.pack(order + letter, file_bytes + len(tail))
            tail += data + bytes(len(data) % 2)
        count = len(data) // tiff.TYPE_SIZES[kind]
        entries += struct.pack(order + "HH" + letter, tag, kind, count) + value
    start = file_bytes + len(tail)
    tail += struct.pack(order + ("Q" if reader.is_big else "H"), len(fields)) + entries + bytes(inline)
    return Mend({reader.offset_at: struct.pack(order + letter, start)}, bytes(tail))


# --- a TIFF whose pixels follow ---------------------------------------------------------------------------------------

STRIP_ROWS = 16


def make_head(shape: tuple[int, int, int], bits: int) -> bytes:
    """Return what stands before the pixels in an uncompressed TIFF: a BigTIFF, its low bytes first.

    Args:
        shape: height, width and bands (1 or 3).
        bits: 8 or 16 a sample.
    """
    height, width, bands = shape
    row_bytes = width * bands * bits // 8
    tops = range(0, height, STRIP_ROWS)
    # Twice: the first directory, without the places of the pixels, has the size of the last one.
    head = b""
    for _ in range(2):
        values = {
            WIDTH: (tiff.LONG, [width]),
            HEIGHT: (tiff.LONG, [height]),
            BITS: (tiff.SHORT, [bits] * bands),
            COMPRESSION: (tiff.SHORT, [UNCOMPRESSED]),
            PHOTOMETRIC: (tiff.SHORT, [RGB if bands == 3 else BLACK_IS_ZERO]),
            SAMPLES: (tiff.SHORT, [bands]),
            ROWS: (tiff.LONG, [STRIP_ROWS]),
            STRIP_OFFSETS: (tiff.LONG8, [len(head) + top * row_bytes for top in tops]),
            STRIP_BYTES: (tiff.LONG8, [min(STRIP_ROWS, height - top) * row_bytes for top in tops]),
        }
        head = _write_directory(values)
    return head


def _write_directory(values: Mapping[int, tuple[int, list[int]]]) -> bytes:
    """Return a BigTIFF with one directory: type and numbers of its fields by tag."""
    letters = {tiff.SHORT: "H", tiff.LONG: "I", tiff.LONG8: "Q"}
    fields = {
        tag: tiff.Field.of(kind, struct.pack(f"<{len(numbers)}{letters[kind]}", *numbers))
        for tag, (kind, numbers) in values.items()
    }
    file = io.BytesIO(struct.pack("<2sHHHQ", b"II", 43, 8, 0, 0))
    at = tiff.Writer(file, "<", is_big=True).write_directory(tiff.Node(fields))
    file.seek(8)
    file.write(struct.pack("<Q", at))
    return file.getvalue()
