"""What is wrong around the pixels of a file whose pixels are all there, and how to put it right in a copy.

Scanners, cameras and editors write what no standard allows and every reader takes. Decoders warn of it in the same way
as of missing pixels, so the working copy says nothing that they warn of; what they still warn of is damage.
"""

import mmap
import re
import struct
from collections.abc import Callable, Mapping
from pathlib import Path

from retint.errors import InvalidPhoto
from retint_workers.containers import jpeg, png, tiff, tiff_pixels, webp
from retint_workers.containers.mending import Mend
from retint_workers.imaging.decoding.tiff_pages import choose_photograph
from retint_workers.imaging.vips import collect_warnings, incomplete_file, open_image

JFIF_VERSION = b"\1\2"
END_OF_IMAGE = b"\xff\xd9"
COEFFICIENTS = 64


def find_mend(path: Path, file_format: str) -> Mend:
    """Find out what has to be put right before a decoder's warnings mean damage; an empty one where nothing has.

    Raises:
        InvalidPhoto: the file ends before its pixels do.
    """
    return FINDERS[file_format](path)


def _mend_jpeg(path: Path) -> Mend:
    """Correct JFIF's version, and add an end where none is. Sources: JFIF 1.02, T.81 annex B."""
    with path.open("rb") as file:
        patches = {}
        scans_at = 0
        for segment in jpeg.read_segments(file):
            scans_at = segment.at + len(segment.data)
            if segment.marker == 0xE0 and segment.data[:5] == b"JFIF\0" and segment.data[5:6] != JFIF_VERSION[:1]:
                patches[segment.at + 5] = JFIF_VERSION
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            if data.rfind(END_OF_IMAGE, scans_at) >= 0 or data.find(b"\xff\xda", scans_at) < 0:
                return Mend(patches)
            if not has_all_scans(data, scans_at):
                raise incomplete_file()
    return Mend(patches, END_OF_IMAGE)


def has_all_scans(data: mmap.mmap | bytes, start: int) -> bool:
    """Whether the scans of a JPEG bring every coefficient in full precision (T.81, B.2.3 and G.1.1.1).

    Args:
        data: the file.
        start: where the scans begin.
    """
    missing: dict[int, set[int]] = {}
    for match in re.finditer(rb"\xff\xda", data):
        at = match.start()
        if at < start:
            continue
        parts = data[at + 4] if at + 4 < len(data) else 0
        rest = data[at + 5 + 2 * parts : at + 8 + 2 * parts]
        if len(rest) < 3:
            return False
        for index in range(parts):
            left = missing.setdefault(data[at + 5 + 2 * index], set(range(COEFFICIENTS)))
            if rest[2] & 15 == 0:
                left -= set(range(rest[0], rest[1] + 1))
    return not any(missing.values())


def _mend_png(path: Path) -> Mend:
    """Add an end where the file ends between two chunks; nothing else troubles the decoder."""
    with path.open("rb") as file:
        chunks = list(png.read_chunks(file))
        size = file.seek(0, 2)
    last = chunks[-1] if chunks else None
    if last is None or last.kind == b"IEND":
        return Mend()
    if last.at + last.length + 4 > size:
        raise incomplete_file()
    return Mend(tail=bytes(4) + b"IEND\xae\x42\x60\x82")


def _mend_webp(path: Path) -> Mend:
    """Correct the size in the file's head (RFC 9649, section 2.4)."""
    with path.open("rb") as file:
        end = max(
            (chunk.at + chunk.length for chunk in webp.read_chunks(file) if chunk.kind in webp.CODING),
            default=0,
        )
        size = file.seek(0, 2)
        file.seek(4)
        (said,) = struct.unpack("<I", file.read(4).ljust(4, b"\0"))
    if end > size:
        raise incomplete_file()
    if end <= 8 + said <= size:
        return Mend()
    return Mend({4: struct.pack("<I", size + size % 2 - 8)}, bytes(size % 2))


def _mend_tiff(path: Path) -> Mend:
    """Say again where the pixels lie: where they are not the first, or libtiff stumbles over the fields."""
    with path.open("rb") as file:
        reader = tiff.Reader(file)
        choice = choose_photograph(reader)
        file_bytes = file.seek(0, 2)
        layout = choice.page.layout
        if choice.is_first and layout.counts == layout.true_counts(file_bytes) and not _troubles_libtiff(path):
            return Mend()
        return tiff_pixels.mend(reader, choice.directory, file_bytes)


def _troubles_libtiff(path: Path) -> bool:
    """Whether libtiff warns of the first directory, or does not take it."""
    with collect_warnings() as warnings:
        try:
            open_image(path, "tiff")
        except InvalidPhoto:
            return True
    return bool(warnings)


FINDERS: Mapping[str, Callable[[Path], Mend]] = {
    "jpeg": _mend_jpeg,
    "png": _mend_png,
    "webp": _mend_webp,
    "tiff": _mend_tiff,
}
