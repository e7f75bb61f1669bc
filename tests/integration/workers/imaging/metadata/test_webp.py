"""Metadata of WebP files: every chunk, by the policy."""

from pathlib import Path

import pytest
from tests import described_photos, metadata_differences, photo_files
from tests.integration.workers.imaging.sample_renders import open_picture, render_file

from retint_workers.containers import webp

FIELDS = [(271, 2, 6, b"Agfa \0"), (18246, 3, 1, b"\4\0"), (40091, 1, 4, b"A\0\0\0")]


@pytest.mark.parametrize("signature", [b"", b"Exif\0\0"])
@pytest.mark.parametrize("order", "<>")
def test_exif_xmp_profile_and_unknown_chunks_survive(signature: bytes, order: str, tmp_path: Path) -> None:
    path = tmp_path / "a.webp"
    fields = FIELDS if order == "<" else [(271, 2, 6, b"Agfa \0")]
    block = described_photos.make_exif(order, fields, photo_files.encode_photo("JPEG"))
    chunks = [(b"EXIF", signature + block), (b"XMP ", photo_files.XMP), (b"own1", b"odd"), (b"ABCD", bytes(40))]
    path.write_bytes(described_photos.webp_with(*chunks))
    rendered = render_file(path)
    result = rendered.files["result"]
    assert "thumbnails" in " ".join(rendered.facts["notes"])
    with result.open("rb") as file:
        found = {chunk.kind: chunk.read(file) for chunk in webp.read_chunks(file)}
    assert found[b"EXIF"] == signature + described_photos.make_exif(order, fields)
    assert (found[b"own1"], found[b"ABCD"]) == (b"odd", bytes(40))
    assert found[b"VP8X"][0] == webp.HAS_EXIF | webp.HAS_XMP
    picture = open_picture(result)
    assert picture.getexif()[271] == "Agfa "
    assert picture.size == (160, 120)
    assert b"Harbor, 1911" in found[b"XMP "]


def test_what_exiftool_writes_is_what_it_reads(tmp_path: Path) -> None:
    path = tmp_path / "a.webp"
    path.write_bytes(photo_files.encode_photo("WEBP", quality=80, icc_profile=photo_files.SRGB_PROFILE))
    metadata_differences.write_tags(
        path, "-EXIF:Artist=A. Photographer", "-XMP-dc:Creator=J\u00fcrgen M\u00fcller", "-GPSLatitude=53.5"
    )
    assert metadata_differences.compare(path, render_file(path, kind="neutral").files["result"]) == []


def test_content_credentials_are_left_out_with_a_note(tmp_path: Path) -> None:
    path = tmp_path / "a.webp"
    path.write_bytes(described_photos.webp_with((b"C2PA", b"jumb")))
    rendered = render_file(path)
    assert "Content Credentials" in " ".join(rendered.facts["notes"])
    assert b"C2PA" not in rendered.files["result"].read_bytes()
