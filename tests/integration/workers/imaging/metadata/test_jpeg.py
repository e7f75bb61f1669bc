"""Metadata of JPEG files: every segment, by the policy."""

import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest
from tests import described_photos, metadata_differences, photo_files
from tests.described_photos import jpeg_with, make_iptc, make_resource
from tests.integration.workers.imaging.sample_renders import open_picture, render_file

from retint_workers.containers import jpeg, photoshop
from retint_workers.imaging import provenance

XMP_HEAD, EXTENSION_HEAD = b"http://ns.adobe.com/xap/1.0/\0", b"http://ns.adobe.com/xmp/extension/\0"
JUMBF = b"JP\0\1\0\0\0\1\0\0\0\x60jumb\0\0\0\x1djumd"


def render(path: Path, data: bytes) -> tuple[Path, str]:
    """Restore a file; return the result and its notes."""
    path.write_bytes(data)
    rendered = render_file(path)
    return rendered.files["result"], " ".join(rendered.facts["notes"])


def read_segments(path: Path) -> list[tuple[int, bytes]]:
    with path.open("rb") as file:
        return [(segment.marker, segment.data) for segment in jpeg.read_segments(file) if segment.is_metadata]


def test_comments_and_unknown_segments_are_kept_byte_for_byte_and_in_their_order(tmp_path: Path) -> None:
    segments = [
        (0xFE, b"Neg. 1911/45, Abzug ca. 1920"), (0xE3, b"Meta\0\0whatever"), (0xEC, b"Ducky\0\1\0\4\0\0\0\x3c\0\0"),
        (0xE2, b"FPXR\0\0whatever"), (0xE7, bytes(range(256))), (0xFE, "Größe".encode("latin-1")),
        (0xE1, b"QVCI\0whatever"), (0xEF, b"Q 92"),
    ]  # fmt: skip
    late = [(0xFE, b"between the scans"), (0xFE, b"and again")]
    result, notes = render(tmp_path / "a.jpg", jpeg_with(*segments, between_scans=late))
    assert [each for each in read_segments(result) if each in segments + late] == segments + late
    assert notes == ""
    found = [str(each) for each in metadata_differences.compare(tmp_path / "a.jpg", result)]
    assert len(found) == 1  # of the last comments, which exiftool does not look for where they were
    assert "between the scans" in found[0]


@pytest.mark.parametrize("density", [(0, 1, 1), (1, 300, 600), (2, 118, 118)])
def test_density_and_its_unit_stay(density: tuple[int, int, int], tmp_path: Path) -> None:
    data = bytearray(jpeg_with())
    struct.pack_into(">BHH", data, 13, *density)
    result, notes = render(tmp_path / "a.jpg", bytes(data))
    assert notes == ""
    assert struct.unpack_from(">BHH", read_segments(result)[0][1], 7) == density


@pytest.mark.parametrize("transform", [0, 1, 2])
def test_adobes_segment_tells_how_the_results_color_is_coded(transform: int, tmp_path: Path) -> None:
    adobe = b"Adobe\0\x64\x80\0\0\0"
    data = jpeg_with((0xEE, adobe + bytes([transform])), jfif=False)
    result, notes = render(tmp_path / "a.jpg", data)
    assert (0xEE, adobe + b"\1") in read_segments(result)
    assert notes == ""
    assert metadata_differences.compare(tmp_path / "a.jpg", result) == []
    shown = np.asarray(open_picture(result).convert("L")).astype(int)
    assert np.abs(shown - np.asarray(open_picture(tmp_path / "a.jpg"))).mean() < 6


def test_a_file_without_jfif_gets_none(tmp_path: Path) -> None:
    exif = described_photos.make_exif(">", [(271, 2, 6, b"Agfa \0")])
    result, _ = render(tmp_path / "a.jpg", jpeg_with((0xE1, b"Exif\0\0" + exif), jfif=False))
    assert not [data for _, data in read_segments(result) if data.startswith(b"JFIF")]
    assert metadata_differences.compare(tmp_path / "a.jpg", result) == []


@pytest.mark.parametrize("order", "<>")
def test_makers_notes_and_offsets_stay_where_they_were_and_the_thumbnail_goes(order: str, tmp_path: Path) -> None:
    # TIFF header, IFD0 (1 field), EXIF directory (1 field), then the note
    note_at = 8 + 2 + 2 * 12 + 4 + 6 + 2 + 12 + 4
    note = described_photos.make_canon_note(order, note_at)
    fields = [(271, 2, 6, b"Canon\0"), (34665, 4, 1, struct.pack(order + "I", 8 + 2 + 24 + 4 + 6))]
    block = described_photos.make_exif(order, fields)
    block += described_photos.make_tiff_block(order, [(37500, 7, len(note), note)], at=len(block))
    assert block.index(note) == note_at
    thumbnail = photo_files.encode_photo("JPEG")
    second = described_photos.make_tiff_block(order, [(513, 4, 1, bytes(4)), (514, 4, 1, bytes(4))])
    at = len(block) + len(second)
    numbers = [(513, 4, 1, struct.pack(order + "I", at)), (514, 4, 1, struct.pack(order + "I", len(thumbnail)))]
    whole = bytearray(block + described_photos.make_tiff_block(order, numbers) + thumbnail)
    struct.pack_into(order + "I", whole, 8 + 2 + 24, len(block))
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg_with((0xE1, b"Exif\0\0" + whole)))
    tags = metadata_differences.read_tags(path)
    assert tags["Canon:CanonFirmwareVersion"] == "Firmware Version 1.1.1"
    assert tags["IFD1:ThumbnailLength"] == len(thumbnail)
    result, notes = render(path, path.read_bytes())
    assert "thumbnails" in notes
    assert metadata_differences.compare(path, result) == []
    exif = next(data for _, data in read_segments(result) if data.startswith(b"Exif"))
    assert exif[6:] == block  # nothing moved, and nothing of the thumbnail is left
    assert not [tag for tag in metadata_differences.read_tags(result) if "Thumbnail" in tag]


def test_exif_that_speaks_of_gray_samples_is_brought_up_to_date(tmp_path: Path) -> None:
    fields = [(258, 3, 1, b"\x08\0"), (262, 3, 1, b"\x01\0"), (277, 3, 1, b"\x01\0"), (305, 2, 10, b"Photoshop\0")]
    block = described_photos.make_exif("<", fields)
    result, notes = render(tmp_path / "a.jpg", jpeg_with((0xE1, b"Exif\0\0" + block)))
    tags = metadata_differences.read_tags(result)
    assert [tags[f"IFD0:{name}"] for name in ("BitsPerSample", "PhotometricInterpretation", "SamplesPerPixel")] == [
        "8 8 8", 2, 3,
    ]  # fmt: skip
    assert metadata_differences.compare(tmp_path / "a.jpg", result) == []
    assert notes == ""


def test_photoshops_resources_of_several_segments_are_joined(tmp_path: Path) -> None:
    iptc = make_iptc((120, b"Blick auf die Speicherstadt, um 1911"), (25, b"harbour"))
    kept = [
        make_resource(0x0404, iptc), make_resource(0x0425, hashlib.md5(iptc).digest()),
        make_resource(0x03ED, struct.pack(">IHHIHH", 300 << 16, 1, 1, 300 << 16, 1, 1)),
        make_resource(0x07D0, bytes(range(208)), b"Path 1"), make_resource(0x1B58, b"x" * 90_001),
    ]  # fmt: skip
    stale = [make_resource(0x040C, bytes(28) + b"thumb"), make_resource(0x040F, photo_files.SRGB_PROFILE)]
    data = b"".join([kept[0], *stale, *kept[1:]])
    parts = [data[at : at + 60_000] for at in range(0, len(data), 60_000)]
    segments = [(0xED, b"Photoshop 3.0\0" + part) for part in parts]
    result, notes = render(tmp_path / "a.jpg", jpeg_with(*segments))
    found = [piece for marker, piece in read_segments(result) if marker == 0xED]
    assert b"".join(piece[14:] for piece in found) == b"".join(kept)
    assert all(len(piece) <= 65_533 for piece in found)
    assert "thumbnails" in notes
    tags = metadata_differences.read_tags(result)
    assert tags["Photoshop:IPTCDigest"] == tags["File:CurrentIPTCDigest"]


def test_resources_of_which_nothing_changes_stay_in_their_segments(tmp_path: Path) -> None:
    parts = [make_resource(0x0404, make_iptc((5, b"Harbor"))), make_resource(0x07D0, bytes(26))]
    segments = [(0xED, b"Photoshop 3.0\0" + part) for part in parts]
    result, notes = render(tmp_path / "a.jpg", jpeg_with(*segments))
    assert [each for each in read_segments(result) if each[0] == 0xED] == segments
    assert notes == ""


LEFT_OUT = {
    "JFXX": ([(0xE0, b"JFXX\0\x13" + bytes([1, 1, 9, 9, 9]))], b"", "thumbnails"),
    "MPF": ([(0xE2, b"MPF\0II*\0\x08\0\0\0")], b"", "Further pictures"),
    "gain map": ([(0xE2, b"urn:iso:std:iso:ts:21496:-1\0")], b"", "gain map"),
    "Content Credentials": ([(0xEB, JUMBF + b"c2pa" + bytes(80))], b"", "Content Credentials"),
    "pictures behind the end": ([], photo_files.encode_photo("JPEG"), "follow the picture"),
}


@pytest.mark.parametrize("name", LEFT_OUT)
def test_what_belongs_to_the_originals_pixels_is_left_out_with_a_note(name: str, tmp_path: Path) -> None:
    segments, trailer, word = LEFT_OUT[name]
    result, notes = render(tmp_path / "a.jpg", jpeg_with(*segments, trailer=trailer))
    assert word in notes
    assert not [each for each in read_segments(result) if each in segments]


def test_jumbf_that_is_no_content_credential_is_kept(tmp_path: Path) -> None:
    other = (0xEB, JUMBF + b"sphv" + bytes(80))
    result, notes = render(tmp_path / "a.jpg", jpeg_with(other))
    assert other in read_segments(result)
    assert notes == ""


def test_padding_behind_the_end_is_no_loss(tmp_path: Path) -> None:
    assert render(tmp_path / "a.jpg", jpeg_with(trailer=bytes(5000)))[1] == ""


def make_extended_xmp(extension: bytes, guid: bytes | None = None) -> list[tuple[int, bytes]]:
    digest = hashlib.md5(extension).hexdigest().upper().encode() if guid is None else guid
    description = (
        b'<rdf:Description rdf:about="" xmlns:xmpNote="http://ns.adobe.com/xmp/note/" xmpNote:HasExtendedXMP="'
    )
    main = photo_files.XMP.replace(b"</rdf:Description>", b"</rdf:Description>" + description + digest + b'"/>')
    parts = [extension[at : at + 40_000] for at in range(0, len(extension), 40_000)]
    head = EXTENSION_HEAD + digest + struct.pack(">I", len(extension))
    return [
        (0xE1, XMP_HEAD + main),
        *((0xE1, head + struct.pack(">I", at * 40_000) + part) for at, part in enumerate(parts)),
    ]


EXTENSION = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description rdf:about="" xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/"><photoshop:Instructions>'
    + b"Karteikarte " * 9000
    + b"</photoshop:Instructions></rdf:Description></rdf:RDF></x:xmpmeta>"
)


def test_the_second_part_of_xmp_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg_with(*make_extended_xmp(EXTENSION)))
    assert len(metadata_differences.read_tags(path)["XMP-photoshop:Instructions"]) == 9000 * 12
    result, notes = render(path, path.read_bytes())
    assert notes == ""
    assert metadata_differences.compare(path, result) == []
    main = next(data for _, data in read_segments(result) if data.startswith(XMP_HEAD))
    assert provenance.read_xmp(main[len(XMP_HEAD) :])["DigitalSourceType"] == provenance.INVENTED


@pytest.mark.parametrize("missing", [1, 2, None])
def test_a_damaged_second_part_is_left_out_and_nothing_points_at_it(missing: int | None, tmp_path: Path) -> None:
    segments = make_extended_xmp(EXTENSION, guid=b"0" * 32 if missing is None else None)
    if missing is not None:
        del segments[missing]
    result, notes = render(tmp_path / "a.jpg", jpeg_with(*segments))
    assert "second part of the XMP" in notes
    tags = metadata_differences.read_tags(result)
    assert tags["XMP-dc:Title"] == "Harbor, 1911"
    assert "XMP-xmpNote:HasExtendedXMP" not in tags


@pytest.mark.parametrize("length", [61_000, 64_900, 65_200])
def test_xmp_that_leaves_no_room_for_the_record_is_split(length: int, tmp_path: Path) -> None:
    xmp = photo_files.XMP.replace(b"Harbor, 1911", b"Harbor, 1911" + b"." * (length - len(photo_files.XMP)))
    result, notes = render(tmp_path / "a.jpg", jpeg_with((0xE1, XMP_HEAD + xmp)))
    assert notes == ""
    assert metadata_differences.compare(tmp_path / "a.jpg", result) == []
    assert open_picture(result).size == (160, 120)
    again, notes = render(tmp_path / "again.jpg", result.read_bytes())  # and a result is an original, too
    assert notes == ""
    assert metadata_differences.read_tags(again)["XMP-dc:Title"].startswith("Harbor, 1911...")


def test_nothing_of_the_resources_is_lost_when_they_are_damaged() -> None:
    data = make_resource(0x0404, b"abc") + b"8BIM\x04\x05\0\0\xff\xff\xff\xff rest"
    resources, rest = photoshop.read(data)
    assert photoshop.write(resources, rest) == data
