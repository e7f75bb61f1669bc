"""Moves the notes that cameras' makers leave in EXIF, whose form they keep to themselves.

Most are a directory behind a signature. Its offsets count from the note's own begin, which may move, or from the begin
of the whole file: then each of them must move along.

Source: what ExifTool's authors found out (exiftool.org/makernote_types.html); TIFF 6.0, section 2.
"""

import struct

from retint_workers.containers import tiff

DIRECTORY_AT = {
    b"OLYMP\0": 8, b"EPSON\0": 8, b"MINOL\0": 8, b"SANYO\0": 8, b"AGFA": 8, b"CAMER\0": 8, b"Nikon\0\x01": 8,
    b"SONY DSC": 12, b"SONY CAM": 12, b"SONY PI\0": 12, b"Panasonic\0": 12, b"LEICA\0": 8, b"QVC\0": 6, b"AOC\0": 6,
    b"RICOH\0": 8, b"SIGMA\0": 10, b"FOVEON\0": 10, b"KC\0": 8, b"VIVITAR\0": 8,
}  # fmt: skip
"""Where the directory begins behind a signature; without one, at once."""
SELF_CONTAINED = (
    b"Nikon\0\x02", b"OLYMPUS\0", b"OM SYSTEM\0", b"FUJIFILM", b"GENERALE", b"Apple iOS\0", b"PENTAX \0", b"SAMSUNG\0",
    b"KDK", b"QVGA", b"DJI", b"LEICA CAMERA AG\0", b"HUAWEI\0", b"XIAOMI\0", b"Google\0", b"HDRP",
)  # fmt: skip
"""Signatures of notes whose offsets count from their own begin, or that have none."""
CANON_FOOTER = 8
"""Canon's notes end with a TIFF header whose offset says where the note was written."""
MAX_ENTRIES = 512


def move(note: bytes, at: int, to: int) -> bytes | None:
    """Return a maker's note as it must be at another offset of its file; None where its form is not understood.

    Args:
        note: its bytes.
        at: where it was, from the begin of the TIFF header.
        to: where it will be.
    """
    if note.startswith(SELF_CONTAINED):
        return note
    start = next((start for signature, start in DIRECTORY_AT.items() if note.startswith(signature)), 0)
    for order in "<>":
        places = _find_offsets(note, start, order)
        if places is None:
            continue
        if not places:
            return note
        offsets = [struct.unpack_from(order + "I", note, place)[0] for place, _ in places]
        counts_from = [begin for begin in (at, 0) if _lie_in(places, offsets, begin, len(note))]
        if counts_from:  # data begins behind the directory: which begin is right shows where both are possible
            begin = min(counts_from, key=lambda begin: abs(min(offsets) - begin - places[-1][0]))
            return _shift(note, places, order, to - at) if begin else note
    return None


Place = tuple[int, int]
"""Where an entry's offset stands in the note, and how many bytes lie there."""


def _find_offsets(note: bytes, start: int, order: str) -> list[Place] | None:
    """Find the offsets of a directory in a note; None where there is no directory in this byte order."""
    try:
        (count,) = struct.unpack_from(order + "H", note, start)
        places = []
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            _, kind, values = struct.unpack_from(order + "HHI", note, entry)
            if kind not in tiff.TYPE_SIZES or kind == tiff.IFD:  # directories below it have offsets, too
                return None
            if (size := tiff.TYPE_SIZES[kind] * values) > 4:
                places.append((entry + 8, size))
        return places if 0 < count <= MAX_ENTRIES and start + 2 + 12 * count <= len(note) else None
    except struct.error:
        return None


def _lie_in(places: list[Place], offsets: list[int], begin: int, length: int) -> bool:
    """Whether all data lies inside a note that begins at this offset."""
    return all(
        begin < offset and offset + size <= begin + length for offset, (_, size) in zip(offsets, places, strict=True)
    )


def _shift(note: bytes, places: list[Place], order: str, by: int) -> bytes | None:
    """Add a number to the offsets, and to that in Canon's footer."""
    moved = bytearray(note)
    written = [(order, place) for place, _ in places]
    footer = len(note) - CANON_FOOTER
    if note[footer : footer + 4] in (b"II*\0", b"MM\0*"):
        written.append(("<" if note[footer] == ord("I") else ">", footer + 4))
    try:
        for each, place in written:
            struct.pack_into(each + "I", moved, place, struct.unpack_from(each + "I", note, place)[0] + by)
    except struct.error:
        return None
    return bytes(moved)
