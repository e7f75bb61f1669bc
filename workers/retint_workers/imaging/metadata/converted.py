"""Carries metadata into a TIFF from a file of another format, whose pixels were converted."""

import io
import struct
from collections.abc import Callable, Mapping
from pathlib import Path

from retint_workers.containers import boxes, exif, jp2, jpeg, photoshop, tiff, xmp
from retint_workers.imaging.metadata import jpeg as jpeg_carrier
from retint_workers.imaging.metadata import tiff as tiff_carrier
from retint_workers.imaging.metadata.blocks import Change
from retint_workers.imaging.metadata.policy import MAX_BYTES, THUMBNAILS

BYTE, ASCII, RATIONAL = 1, 2, 5
DESCRIPTION, ORIENTATION, EXTRA_SAMPLES, X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT = 270, 274, 338, 282, 283, 296
NO_UNIT, CENTIMETRES = 1, 3
RESOLUTION = {X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT}
GEOTIFF = {33550, 33922, 34264, 34735, 34736, 34737}
Fields = dict[int, tiff.Field]


def carry_into_tiff(original: Path, working: Path, result: Path, change: Change) -> None:
    """Put metadata of a file of any format into a TIFF; see `metadata.carry`.

    Args:
        original: the file as deposited.
        working: the TIFF that its pixels were converted to, which says how they lie and what extra channels are.
        result: as for `metadata.carry`.
        change: likewise.
    """
    read = READERS.get(change.format)
    with original.open("rb") as file:
        described = read(file, change) if read else tiff.Node({})
    with working.open("rb") as file:
        pixels = next(tiff.Reader(file).directories(), {})
        taken = {EXTRA_SAMPLES}
        if ORIENTATION in described.fields or tiff.first_number(pixels, ORIENTATION, 1) != 1:
            taken |= {ORIENTATION}  # decoders turn some formats upright themselves
        if X_RESOLUTION not in described.fields and tiff.first_number(pixels, RESOLUTION_UNIT, NO_UNIT) != NO_UNIT:
            taken |= RESOLUTION
        fields = {**described.fields, **{tag: each for tag, each in pixels.items() if tag in taken}}
        tiff_carrier.carry_directory(tiff.Node(fields, described.below), result, change)


def _read_exif(block: bytes, change: Change) -> tiff.Node:
    """Read the first directory of an EXIF block, and those below it; nothing where it is damaged."""
    try:
        reader = tiff.Reader(io.BytesIO(block))
        chain = reader.directories()
        node = tiff.read_node(reader, next(chain, {}))
        if next(chain, None) is not None:
            change.note(THUMBNAILS)
        return node
    except ValueError:
        change.note("The EXIF metadata is damaged and is left out.")
        return tiff.Node({})


def _read_jpeg(file: io.BufferedReader, change: Change) -> tiff.Node:
    segments = [segment for segment in jpeg.read_segments(file) if segment.is_metadata]
    parts = {
        signature: [each.data for each in segments if each.marker == marker and each.data.startswith(signature)]
        for marker, signature in ((jpeg.APP1, exif.SIGNATURE), (jpeg.APP13, photoshop.SIGNATURE))
    }
    node = tiff.Node({})
    if parts[exif.SIGNATURE]:
        node = _read_exif(jpeg.join(parts[exif.SIGNATURE], exif.SIGNATURE), change)
    fields: Fields = dict(node.fields)
    if X_RESOLUTION not in fields:
        fields |= _read_density(segments)
    resources = jpeg.join(parts[photoshop.SIGNATURE], photoshop.SIGNATURE)
    if resources:
        fields[tiff.PHOTOSHOP] = tiff.Field.of(BYTE, resources)
    packet = jpeg_carrier.join_xmp(segments, change)
    if packet is not None:
        fields[tiff.XMP] = tiff.Field.of(BYTE, packet)
    _add_comments(fields, [each.data for each in segments if each.marker == jpeg.COMMENT], change)
    others = {each.marker for each in segments if not _has_place(each)}
    if others:
        names = ", ".join(f"APP{marker - jpeg.APP0}" for marker in sorted(others))
        change.note(f"Segments of the JPEG that have no place in a TIFF are left out: {names}.")
    return tiff.Node(fields, node.below)


def _has_place(segment: jpeg.Segment) -> bool:
    known = (b"JFIF\0", exif.SIGNATURE, photoshop.SIGNATURE, xmp.JPEG_SIGNATURE, xmp.JPEG_EXTENSION, jpeg.ICC, b"Adobe")
    return segment.marker == jpeg.COMMENT or segment.data.startswith(known)


def _read_density(segments: list[jpeg.Segment]) -> Fields:
    """Return JFIF's density as TIFF's resolution."""
    for segment in segments:
        if segment.marker == jpeg.APP0 and segment.data.startswith(b"JFIF\0") and len(segment.data) >= 12:
            unit, across, down = struct.unpack_from(">BHH", segment.data, 7)
            if unit in (1, 2) or (across, down) != (1, 1):
                return _make_resolution((across, 1), (down, 1), unit + 1 if unit < 3 else NO_UNIT)
    return {}


def _make_resolution(across: tuple[int, int], down: tuple[int, int], unit: int) -> Fields:
    return {
        X_RESOLUTION: tiff.Field.of(RATIONAL, struct.pack("<II", *across)),
        Y_RESOLUTION: tiff.Field.of(RATIONAL, struct.pack("<II", *down)),
        RESOLUTION_UNIT: tiff.Field.of(tiff.SHORT, struct.pack("<H", unit)),
    }


def _add_comments(fields: Fields, comments: list[bytes], change: Change) -> None:
    """Make a comment the description where there is none; note that others are left out."""
    if comments and DESCRIPTION not in fields:
        fields[DESCRIPTION] = tiff.Field.of(ASCII, comments.pop(0).rstrip(b"\0") + b"\0")
    for comment in comments:
        text = comment[:200].decode("utf-8", "replace").strip("\0 \r\n")
        change.note(f"A comment has no place in a TIFF and is left out: “{text}”.")


def _read_boxes(file: io.BufferedReader, change: Change) -> tiff.Node:
    node = tiff.Node({})
    added: Fields = {}
    if file.read(len(jp2.CODESTREAM)) == jp2.CODESTREAM:  # JPEG 2000 without boxes
        return node
    for name, data in boxes.read_blocks(file):
        if name == "exif":
            node = _read_exif(data, change)
        elif name == "geotiff":
            described = _read_exif(data, change)
            added |= {tag: each for tag, each in described.fields.items() if tag in GEOTIFF}
        elif name in BOXED:
            added.setdefault(BOXED[name], tiff.Field.of(BYTE, data))
        else:
            change.note(f"A box of the type “{name}” has no place in a TIFF and is left out.")
    return tiff.Node({**node.fields, **added}, node.below)


BOXED = {"xmp": tiff.XMP, "iptc": tiff.IPTC, "photoshop": tiff.PHOTOSHOP}


def _read_gif(file: io.BufferedReader, change: Change) -> tiff.Node:
    """Read the comments and the XMP of a GIF (GIF 89a, 24 and 26; XMP specification part 3, 1.1.2)."""
    data = file.read(MAX_BYTES)
    fields: Fields = {}
    comments: list[bytes] = []
    begin = data.find(b"\x21\xff\x0bXMP DataXMP")
    if begin >= 0:
        packet = data[begin + 14 : data.find(b"\x01\xff\xfe", begin)]
        fields[tiff.XMP] = tiff.Field.of(BYTE, packet)
    at = data.find(b"\x21\xfe")
    if at >= 0:
        text, at = b"", at + 2
        while at < len(data) and data[at]:
            text, at = text + data[at + 1 : at + 1 + data[at]], at + 1 + data[at]
        comments.append(text)
    _add_comments(fields, comments, change)
    return tiff.Node(fields)


def _read_bmp(file: io.BufferedReader, _change: Change) -> tiff.Node:
    """Read the resolution of a Windows bitmap, in pixels per meter (BITMAPINFOHEADER)."""
    head = file.read(46)
    if len(head) < 46 or struct.unpack_from("<I", head, 14)[0] < 40:
        return tiff.Node({})
    across, down = struct.unpack_from("<ii", head, 38)
    known = across > 0 and down > 0
    return tiff.Node(_make_resolution((across, 100), (down, 100), CENTIMETRES) if known else {})


READERS: Mapping[str, Callable[[io.BufferedReader, Change], tiff.Node]] = {
    "jpeg": _read_jpeg,
    "jp2": _read_boxes,
    "heic": _read_boxes,
    "avif": _read_boxes,
    "gif": _read_gif,
    "bmp": _read_bmp,
}
