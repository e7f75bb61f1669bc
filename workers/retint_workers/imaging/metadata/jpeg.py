"""Carries metadata from a JPEG into a JPEG."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import BinaryIO

from retint_workers.containers import exif, jpeg, photoshop, xmp
from retint_workers.imaging.metadata import blocks
from retint_workers.imaging.metadata.blocks import Change
from retint_workers.imaging.metadata.policy import CREDENTIALS, THUMBNAILS, find_rule

JFIF = b"JFIF\0"
JFIF_BYTES = 14
"""JFIF's segment without a thumbnail."""
JUMBF_CREDENTIALS = b"c2pa"
Pieces = list[tuple[int, bytes]]
"""Markers and data of segments."""


def carry(original: Path, result: Path, change: Change) -> None:
    """Put metadata into a result; see `metadata.carry`."""
    with original.open("rb") as file:
        extent = jpeg.find_end(file)
        segments = [*_read_metadata(file, change), *extent.between_scans]
        change.note_trailer(file, extent.end)
    beside = result.with_name(f"{result.name}.metadata")
    with result.open("rb") as source, beside.open("wb") as target:
        jpeg.replace_metadata(source, target, _choose(segments, change))
    beside.replace(result)


def _read_metadata(file: BinaryIO, change: Change) -> Iterator[jpeg.Segment]:
    for segment in jpeg.read_segments(file):
        if segment.is_metadata:
            if change.is_oversized("A segment of the JPEG", len(segment.data)):
                return
            yield segment


def _choose(segments: Sequence[jpeg.Segment], change: Change) -> Pieces:
    """Return the result's segments, in the order of the original's."""
    chosen: Pieces = []
    rest = [segment for segment in segments if not _is_left_out(segment, change)]
    for kind, group in groupby(rest, key=_tell_kind):
        chosen.extend(_update(kind, list(group), change))
    at = _find_place(chosen)
    packets = _make_xmp(segments, change)
    profile = jpeg.split_profile(change.profile) if change.profile is not None else []
    return [
        *chosen[:at],
        *((jpeg.APP1, packet) for packet in packets),
        *((jpeg.APP2, part) for part in profile),
        *chosen[at:],
    ]


def _tell_kind(segment: jpeg.Segment) -> bytes:
    """Return what tells which neighboring segments belong together."""
    for marker, signature in ((jpeg.APP1, exif.SIGNATURE), (jpeg.APP13, photoshop.SIGNATURE), (jpeg.APP0, JFIF)):
        if segment.marker == marker and segment.data.startswith(signature):
            return signature
    return b""


def _update(kind: bytes, group: Sequence[jpeg.Segment], change: Change) -> Iterator[tuple[int, bytes]]:
    if kind == JFIF:
        yield from ((each.marker, _cut_jfif_thumbnail(each.data, change)) for each in group)
    elif kind == exif.SIGNATURE:
        yield from ((jpeg.APP1, part) for part in _update_exif([each.data for each in group], change))
    elif kind == photoshop.SIGNATURE:
        data = jpeg.join((each.data for each in group), photoshop.SIGNATURE)
        updated = blocks.update_photoshop(data, change)
        parts = [each.data for each in group] if updated == data else jpeg.split(updated, photoshop.SIGNATURE)
        yield from ((jpeg.APP13, part) for part in parts if len(part) > len(photoshop.SIGNATURE))
    else:
        yield from ((each.marker, _update_color_coding(each, change)) for each in group)


def _update_color_coding(segment: jpeg.Segment, change: Change) -> bytes:
    """Return a segment's data; in Adobe's the result's transform: none for gray, or luma and chroma (T.872, 6.5.3)."""
    if not jpeg.is_color_coding(segment):
        return segment.data
    transform = jpeg.LUMA_AND_CHROMA if change.result_bands == 3 else jpeg.NO_TRANSFORM
    return segment.data[: jpeg.TRANSFORM_AT] + bytes([transform]) + segment.data[jpeg.TRANSFORM_AT + 1 :]


def _cut_jfif_thumbnail(data: bytes, change: Change) -> bytes:
    if len(data) <= JFIF_BYTES or not data[12] or not data[13]:
        return data
    change.note(THUMBNAILS)
    return data[:12] + b"\0\0"


def _update_exif(parts: Sequence[bytes], change: Change) -> list[bytes]:
    """Bring EXIF up to date; a block of several segments is cut where it was (its offsets run through)."""
    blocks_of: list[list[bytes]] = []
    for part in parts:
        starts = part[len(exif.SIGNATURE) :][:2] in (b"II", b"MM")
        if starts or not blocks_of:
            blocks_of.append([])
        blocks_of[-1].append(part)
    updated: list[bytes] = []
    for group in blocks_of:
        block = blocks.update_exif(exif.SIGNATURE + jpeg.join(group, exif.SIGNATURE), change)
        updated.extend(jpeg.split(block[len(exif.SIGNATURE) :], exif.SIGNATURE))
    return updated


def _is_left_out(segment: jpeg.Segment, change: Change) -> bool:
    rule = find_rule("jpeg", bytes([segment.marker]) + segment.data)
    if segment.marker == jpeg.APP11 and JUMBF_CREDENTIALS in segment.data[:128]:
        change.note(CREDENTIALS)
        return True
    is_xmp = segment.marker == jpeg.APP1 and segment.data.startswith((xmp.JPEG_SIGNATURE, xmp.JPEG_EXTENSION))
    return is_xmp or change.leaves_out(rule)


def _find_place(chosen: Pieces) -> int:
    """Return where XMP and the profile go: behind JFIF and EXIF, which readers expect first."""
    heads = [
        at
        for at, (marker, data) in enumerate(chosen, 1)
        if (marker, data[:5]) == (jpeg.APP0, JFIF) or (marker == jpeg.APP1 and data.startswith(exif.SIGNATURE))
    ]
    return max(heads, default=0)


def _make_xmp(segments: Sequence[jpeg.Segment], change: Change) -> list[bytes]:
    """Make the data of the result's segments of XMP. The original's second part stays as it is where it can."""
    packets = _find_packets(segments)
    resources = [
        segment.data for segment in segments
        if segment.marker == jpeg.APP13 and segment.data.startswith(photoshop.SIGNATURE)
    ]  # fmt: skip
    parts = _find_parts(segments)
    extension = _read_extension(packets, parts, change)
    packets += blocks.find_photoshop_xmp(jpeg.join(resources, photoshop.SIGNATURE))
    if extension is not None and blocks.stays_as_it_is(extension, change):
        named = xmp.name_extension(blocks.make_xmp(packets, change), extension)
        if len(named) <= xmp.JPEG_PACKET_BYTES:
            return [xmp.JPEG_SIGNATURE + named, *(each for each in parts if xmp.belongs_to(each, extension))]
    try:
        return xmp.split_for_jpeg(blocks.make_xmp(packets, change, extension), blocks.KEPT_IN_MAIN_PACKET)
    except xmp.Unreadable as error:
        change.note(f"The XMP has no room in a JPEG ({error}) and is left out.")
        return [xmp.JPEG_SIGNATURE + change.record.to_xmp()]


def join_xmp(segments: Sequence[jpeg.Segment], change: Change) -> bytes | None:
    """Return the XMP of a JPEG as one packet; None where it has none."""
    packets = _find_packets(segments)
    extension = _read_extension(packets, _find_parts(segments), change)
    if not packets or extension is None:
        return packets[0] if packets else None
    try:
        root, _ = xmp.parse(packets[0])
        xmp.merge_extension(root, xmp.parse(extension)[0])
    except xmp.Unreadable:
        change.note("The second part of the XMP cannot be read and is left out.")
        return packets[0]
    return xmp.serialize(root)


def _find_packets(segments: Sequence[jpeg.Segment]) -> list[bytes]:
    data = [segment.data for segment in segments if segment.marker == jpeg.APP1]
    return [each[len(xmp.JPEG_SIGNATURE) :] for each in data if each.startswith(xmp.JPEG_SIGNATURE)]


def _find_parts(segments: Sequence[jpeg.Segment]) -> list[bytes]:
    data = [segment.data for segment in segments if segment.marker == jpeg.APP1]
    return [each for each in data if each.startswith(xmp.JPEG_EXTENSION)]


def _read_extension(packets: Sequence[bytes], parts: Sequence[bytes], change: Change) -> bytes | None:
    guid = blocks.find_extension(packets[0]) if packets else None
    if guid is None:
        if parts:
            change.note("A second part of the XMP that the first does not name is left out.")
        return None
    extension = xmp.join_extension(parts, guid)
    if extension is None:
        change.note("The second part of the XMP is missing or damaged and is left out.")
    return extension
