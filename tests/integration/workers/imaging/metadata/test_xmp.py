"""XMP of results: what speaks of the file is brought up to date, and nothing vanishes untold."""

from pathlib import Path

import pytest
from PIL import Image
from tests import described_photos, metadata_differences, photo_files, photographs
from tests.integration.workers.imaging.sample_renders import PHOTO, render_file

from retint_workers.containers import xmp

HEAD = b"http://ns.adobe.com/xap/1.0/\0"
SPEAKS_OF_THE_FILE = (
    "-XMP-photoshop:ColorMode#=1", "-XMP-photoshop:ICCProfileName=Dot Gain 20%", "-XMP-tiff:SamplesPerPixel=1",
    "-XMP-tiff:PhotometricInterpretation#=1", "-XMP-tiff:BitsPerSample=8", "-XMP-xmpMM:DocumentID=xmp.did:1",
    "-XMP-xmpMM:InstanceID=xmp.iid:2", "-XMP-xmpMM:OriginalDocumentID=xmp.did:0", "-XMP-tiff:Orientation#=1",
    "-XMP-xmpMM:DerivedFromDocumentID=adobe:docid:former", "-XMP-photoshop:Instructions=none",
)  # fmt: skip


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
def test_what_speaks_of_the_file_is_brought_up_to_date(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    Image.fromarray(photographs.to_gray(PHOTO)).save(path)
    metadata_differences.write_tags(path, *SPEAKS_OF_THE_FILE)
    first, second = (render_file(path).files["result"] for _ in range(2))
    tags = metadata_differences.read_tags(first)
    wanted = {
        "photoshop:ColorMode": 3, "tiff:SamplesPerPixel": 3, "tiff:PhotometricInterpretation": 2,
        "xmpMM:DocumentID": "xmp.did:1", "xmpMM:DerivedFromDocumentID": "xmp.did:1", "tiff:Orientation": 1,
        "xmpMM:DerivedFromInstanceID": "xmp.iid:2", "xmpMM:DerivedFromOriginalDocumentID": "xmp.did:0",
        "photoshop:Instructions": "none", "tiff:BitsPerSample": [8, 8, 8],
    }  # fmt: skip
    assert {name: tags.get(f"XMP-{name}") for name in wanted} == wanted
    assert tags["XMP-xmpMM:InstanceID"].startswith("xmp.iid:")
    assert tags["XMP-xmpMM:InstanceID"] != "xmp.iid:2"
    assert first.read_bytes() == second.read_bytes()


def render_xmp(path: Path, packet: bytes) -> tuple[dict[str, object], str]:
    """Restore a JPEG with this XMP; return the result's tags and the notes."""
    path.write_bytes(described_photos.jpeg_with((0xE1, HEAD + packet)))
    rendered = render_file(path)
    return metadata_differences.read_tags(rendered.files["result"]), " ".join(rendered.facts["notes"])


BROKEN = {
    "a bare ampersand": (photo_files.XMP.replace(b"Harbor", b"Blohm & Voss"), "Blohm & Voss, 1911"),
    "Latin-1": (photo_files.XMP.replace(b"Harbor", "Hafen Größe".encode("latin-1")), "Hafen Größe, 1911"),
    "a control character": (photo_files.XMP.replace(b"Harbor", b"Har\x01bor"), "Har\ufffdbor, 1911"),
    "a reference to one": (photo_files.XMP.replace(b"Harbor", b"Har&#x1f;bor"), "Har\ufffdbor, 1911"),
    "an entity of HTML": (photo_files.XMP.replace(b"Harbor", b"M&uuml;ller"), "M&uuml;ller, 1911"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_xmp_is_mended_without_loss_and_noted(name: str, tmp_path: Path) -> None:
    packet, title = BROKEN[name]
    tags, notes = render_xmp(tmp_path / "a.jpg", packet)
    assert tags["XMP-dc:Title"] == title
    assert "mended" in notes


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-16-le", "utf-8-sig"])
def test_every_encoding_of_xmp_is_read(encoding: str, tmp_path: Path) -> None:
    packet = photo_files.XMP.decode().replace("Harbor", "Größe").encode(encoding)
    tags, notes = render_xmp(tmp_path / "a.jpg", packet)
    assert tags["XMP-dc:Title"] == "Größe, 1911"
    assert notes == ""


@pytest.mark.parametrize(
    "packet",
    [b"<broken", b"<html/>", photo_files.XMP[:200], b'<!DOCTYPE x [<!ENTITY a "b">]><x/>', b"plain text"],
)
def test_xmp_that_cannot_be_read_is_left_out_with_a_note(packet: bytes, tmp_path: Path) -> None:
    tags, notes = render_xmp(tmp_path / "a.jpg", packet)
    assert "The XMP cannot be read" in notes
    assert "XMP-iptcExt:DigitalSourceType" in tags


def test_previews_of_the_original_in_xmp_are_left_out_with_a_note(tmp_path: Path) -> None:
    thumbnail = b"""<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="3">
      <xmp:Thumbnails><rdf:Alt><rdf:li/></rdf:Alt></xmp:Thumbnails></rdf:Description></rdf:RDF>"""
    tags, notes = render_xmp(tmp_path / "a.jpg", photo_files.XMP.replace(b"</rdf:RDF>", thumbnail))
    assert tags["XMP-xmp:Rating"] == 3
    assert "thumbnails" in notes
    assert not [tag for tag in tags if "Thumbnail" in tag]


def test_a_text_in_an_unlucky_encoding_is_decoded_in_linear_time() -> None:
    text = photo_files.XMP.replace(b"Harbor", b"\xe9" * 3_000_000)
    root, is_mended = xmp.parse(text)
    assert is_mended
    assert xmp.find_rdf(root) is not None
