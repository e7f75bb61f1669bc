"""Metadata of files whose result is of another format: it goes into a TIFF."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import pyvips
import tifffile
from tests import described_photos, metadata_differences, photo_files
from tests.described_photos import GRAY, make_iptc, make_resource
from tests.integration.workers.imaging.sample_renders import COLOR, RECIPE

from retint_workers.containers import tiff
from retint_workers.imaging.metadata import converted
from retint_workers.imaging.metadata.blocks import Change
from retint_workers.imaging.provenance import Provenance

FIELDS = [
    (271, 2, 6, b"Canon\0"), (282, 5, 1, struct.pack("<II", 600, 1)), (283, 5, 1, struct.pack("<II", 600, 1)),
    (274, 3, 1, b"\6\0"), (18246, 3, 1, b"\4\0"),
]  # fmt: skip
EXIF = described_photos.make_exif("<", FIELDS, photo_files.encode_photo("JPEG"))
IPTC = make_iptc((5, b"Hafen von Hamburg"))


def carry(path: Path, file_format: str) -> tuple[dict[int, tiff.Field], str, Path]:
    """Carry metadata into a TIFF; return its first directory, the notes, and the file."""
    result = path.with_name("result.tif")
    pyvips.Image.new_from_array(np.repeat(GRAY[..., None], 3, axis=2)).tiffsave(str(result), keep="none")
    change = Change(
        bands=1, bits=8, size=(160, 120), former_profile=None, profile=None,
        record=Provenance.from_layers("a" * 64, RECIPE, COLOR, None), format=file_format, is_converted=True,
    )  # fmt: skip
    working = path.with_name("working.tif")
    tifffile.imwrite(working, GRAY, metadata=None, software=False, extratags=[(274, 3, 1, 1, True)])
    converted.carry_into_tiff(path, working, result, change)
    first = next(tiff.Reader(io.BytesIO(result.read_bytes())).directories())
    return dict(first), " ".join(change.notes), result


def test_a_jpegs_blocks_go_into_a_tiff(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    resources = make_resource(0x0404, IPTC)
    path.write_bytes(
        described_photos.jpeg_with(
            (0xE1, b"Exif\0\0" + EXIF), (0xE1, b"http://ns.adobe.com/xap/1.0/\0" + photo_files.XMP),
            (0xED, b"Photoshop 3.0\0" + resources), (0xFE, b"Neg. 1911/45"), (0xFE, b"and more"), (0xEC, b"Ducky"),
        )
    )  # fmt: skip
    first, notes, result = carry(path, "jpeg")
    assert first[270].data == b"Neg. 1911/45\0"
    assert first[34377].data == resources
    assert (first[271].data, first[18246].numbers, first[274].numbers) == (b"Canon\0", (4,), (1,))
    assert struct.unpack("<II", first[282].data) == (600, 1)
    for word in ("thumbnails", "“and more”", "APP12"):
        assert word in notes
    tags = metadata_differences.read_tags(result)
    assert (tags["XMP-dc:Title"], tags["IPTC2:ObjectName"]) == ("Harbor, 1911", "Hafen von Hamburg")


def make_box(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data) + 8) + kind + data


def test_the_boxes_of_a_jpeg_2000_go_into_a_tiff(tmp_path: Path) -> None:
    geo = described_photos.make_exif("<", [(33550, 12, 3, struct.pack("<3d", 0.5, 0.5, 0))])
    path = tmp_path / "a.jp2"
    path.write_bytes(
        make_box(b"jP  ", b"\r\n\x87\n")
        + make_box(b"uuid", b"JpgTiffExif->JP2" + EXIF)
        + make_box(b"uuid", bytes.fromhex("be7acfcb97a942e89c71999491e3afac") + photo_files.XMP)
        + make_box(b"uuid", bytes.fromhex("33c7a4d2b81d4723a0baf1a3e097ad38") + IPTC)
        + make_box(b"uuid", bytes.fromhex("b14bf8bd083d4b43a5ae8cd7d5a6ce03") + geo)
        + make_box(b"xml ", b"<archive/>")
        + make_box(b"jp2c", b"\xff\x4f")
    )
    first, notes, result = carry(path, "jp2")
    assert first[33723].data == IPTC
    assert struct.unpack("<3d", first[33550].data) == (0.5, 0.5, 0)
    assert first[271].data == b"Canon\0"
    assert "“xml”" in notes
    assert metadata_differences.read_tags(result)["XMP-dc:Title"] == "Harbor, 1911"


def test_the_items_of_an_avif_go_into_a_tiff(tmp_path: Path) -> None:
    path = tmp_path / "a.avif"
    image = pyvips.Image.new_from_array(np.repeat(GRAY[..., None], 3, axis=2)).copy(interpretation="srgb")
    image.heifsave(str(path), compression="av1", effort=1)
    metadata_differences.write_tags(
        path, "-EXIF:Artist=A. P.", "-XMP-dc:Title=Harbor", "-EXIF:UserComment=old", "-XMP-dc:Format=image/avif"
    )
    _, notes, result = carry(path, "avif")
    tags = metadata_differences.read_tags(result)
    assert tags["XMP-dc:Format"] == "image/tiff"
    assert (tags["IFD0:Artist"], tags["ExifIFD:UserComment"], tags["XMP-dc:Title"]) == ("A. P.", "old", "Harbor")
    assert notes == ""


@pytest.mark.parametrize("file_format", ["jp2", "avif", "gif", "bmp", "jpeg"])
@pytest.mark.parametrize("data", [b"", b"\xff" * 100, bytes(200), make_box(b"meta", bytes(40) + b"\xff" * 60)])
def test_damaged_metadata_does_not_stop_a_photo(file_format: str, data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(data)
    first, _, _ = carry(path, file_format)
    assert tiff.XMP in first


def test_the_resolution_of_a_bitmap_goes_into_a_tiff(tmp_path: Path) -> None:
    path = tmp_path / "a.bmp"
    path.write_bytes(photo_files.encode_photo("BMP", GRAY, dpi=(300, 150)))
    _, _, result = carry(path, "bmp")
    tags = metadata_differences.read_tags(result)
    assert [tags[f"IFD0:{name}"] for name in ("XResolution", "YResolution", "ResolutionUnit")] == [118.11, 59.06, 3]


def test_the_comment_and_the_xmp_of_a_gif_go_into_a_tiff(tmp_path: Path) -> None:
    path = tmp_path / "a.gif"
    path.write_bytes(photo_files.encode_photo("GIF", GRAY, comment=b"Neg. 1911/45"))
    metadata_differences.write_tags(path, "-XMP-dc:Title=Harbor")
    first, notes, result = carry(path, "gif")
    assert first[270].data == b"Neg. 1911/45\0"
    assert not {274, 282, 283, 296} & first.keys()  # it says nothing of them
    assert metadata_differences.read_tags(result)["XMP-dc:Title"] == "Harbor"
    assert notes == ""
