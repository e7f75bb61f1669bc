"""Metadata of PNG files: every chunk, by the policy."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests import described_photos, metadata_differences, photo_files, photographs
from tests.described_photos import GRAY, png_with
from tests.integration.workers.imaging.sample_renders import open_picture, render_file

from retint_workers.containers import png
from retint_workers.imaging.decoding.conversion import PALETTE_NOTE

XMP_KEYWORD = b"XML:com.adobe.xmp\0"


def render(path: Path, data: bytes) -> tuple[Path, str]:
    """Restore a file; return the result and its notes."""
    path.write_bytes(data)
    rendered = render_file(path)
    return rendered.files["result"], " ".join(rendered.facts["notes"])


def read_chunks(path: Path) -> list[tuple[bytes, bytes]]:
    with path.open("rb") as file:
        return [(chunk.kind, chunk.read(file)) for chunk in png.read_chunks(file) if chunk.kind not in png.CODING]


TEXTS = [
    (b"tEXt", b"Title\0Neg. 1911/45"),
    (b"tEXt", b"Description\0" + "Gr\u00f6\u00dfe".encode("latin-1")),
    (b"iTXt", b"Author\0\0\0de\0" + "Urheber\0J\u00fcrgen M\u00fcller".encode()),
    (b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress("\u0421\u0442\u0430\u0440\u044b\u0439".encode())),
    (b"zTXt", b"A keyword of more than forty letters that libraries cut\0\0" + zlib.compress(b"long " * 5000)),
    (b"zTXt", b"Raw profile type iptc\0\0" + zlib.compress(b"\niptc\n      12\n1c02050006486172626f72\n")),
    (b"tIME", struct.pack(">HBBBBB", 1998, 3, 12, 4, 5, 6)),
]


def test_texts_are_kept_byte_for_byte_in_their_encoding(tmp_path: Path) -> None:
    result, notes = render(tmp_path / "a.png", png_with(*TEXTS[:4], after=TEXTS[4:]))
    assert [chunk for chunk in read_chunks(result) if chunk in TEXTS] == TEXTS
    assert notes == ""
    assert metadata_differences.compare(tmp_path / "a.png", result) == []


def test_what_follows_the_picture_is_left_out_with_a_note(tmp_path: Path) -> None:
    _, notes = render(tmp_path / "a.png", png_with() + b"a film" * 50)
    assert notes == "300 bytes that follow the picture in the file are left out."
    _, notes = render(tmp_path / "b.png", png_with() + bytes(500))
    assert notes == "", "padding"


@pytest.mark.parametrize("density", [None, (11811, 11811, 1), (3, 4, 0), (2835, 5670, 1)])
def test_resolution_stays_and_none_is_invented(density: tuple[int, int, int] | None, tmp_path: Path) -> None:
    chunks = [(b"pHYs", struct.pack(">IIB", *density))] if density else []
    result, notes = render(tmp_path / "a.png", png_with(*chunks))
    assert [chunk for chunk in read_chunks(result) if chunk[0] == b"pHYs"] == chunks
    assert notes == ""


CODED = [
    (b"gAMA", struct.pack(">I", 55556)),
    (b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)),
]
KEPT = [
    (b"sPLT", b"six\0\x08" + bytes(6)), (b"oFFs", struct.pack(">iiB", 4, 5, 0)), (b"sCAL", b"\0011.5\x001.5"),
    (b"prVt", b"private, safe to copy"), (b"sTER", b"\0"),
]  # fmt: skip


def test_other_chunks_are_kept_byte_for_byte(tmp_path: Path) -> None:
    result, notes = render(tmp_path / "a.png", png_with(*CODED, *KEPT))
    assert [chunk for chunk in read_chunks(result) if chunk in CODED + KEPT] == CODED + KEPT
    assert notes == ""
    assert metadata_differences.compare(tmp_path / "a.png", result) == []


LEFT_OUT = {
    "private": (b"prVT", b"unsafe", "prVT"),
    "signature": (b"dSIG", b"signature", "signature"),
    "credentials": (b"caBX", b"jumb", "Content Credentials"),
    "calibration": (b"pCAL", b"x\0" + struct.pack(">iiBB", 0, 255, 0, 2) + b"m\0000\0001", "calibration"),
}


@pytest.mark.parametrize("name", LEFT_OUT)
def test_what_belongs_to_the_originals_pixels_is_left_out_with_a_note(name: str, tmp_path: Path) -> None:
    kind, data, word = LEFT_OUT[name]
    result, notes = render(tmp_path / "a.png", png_with((kind, data)))
    assert kind not in dict(read_chunks(result))
    assert word in notes


def encode(pixels: object, mode: str) -> bytes:
    return photo_files.encode_photo("PNG", np.asarray(pixels), mode=mode)


def test_what_is_said_of_gray_samples_is_said_of_rgb(tmp_path: Path) -> None:
    result, notes = render(tmp_path / "a.png", png_with((b"sBIT", b"\x06"), (b"bKGD", b"\0\xc8")))
    chunks = dict(read_chunks(result))
    assert (chunks[b"sBIT"], chunks[b"bKGD"]) == (b"\6\6\6", b"\0\xc8" * 3)
    assert notes == ""
    assert open_picture(result).size == (160, 120)


def test_a_background_of_the_palette_becomes_its_color(tmp_path: Path) -> None:
    palette = Image.fromarray(photographs.color_photo(0, 64)).convert("P", palette=Image.Palette.ADAPTIVE)
    data = photo_files.encode_photo("PNG", np.asarray(palette.convert("RGB")), mode="P")
    at = data.index(b"PLTE") + 4
    background = data[at + 9 : at + 12]
    end = at + struct.unpack_from(">I", data, at - 8)[0] + 4
    chunk = b"\0\0\0\1bKGD\3" + struct.pack(">I", zlib.crc32(b"bKGD\3"))
    result, notes = render(tmp_path / "a.png", data[:end] + chunk + data[end:])
    assert dict(read_chunks(result))[b"bKGD"] == b"".join(bytes([0, value]) for value in background)
    assert notes == PALETTE_NOTE


@pytest.mark.parametrize("is_compressed", [False, True])
def test_xmp_gets_the_record_and_keeps_its_text(is_compressed: bool, tmp_path: Path) -> None:
    text = zlib.compress(photo_files.XMP) if is_compressed else photo_files.XMP
    chunk = (b"iTXt", XMP_KEYWORD + bytes([is_compressed]) + b"\0\0\0" + text)
    result, notes = render(tmp_path / "a.png", png_with(chunk))
    assert metadata_differences.compare(tmp_path / "a.png", result) == []
    assert metadata_differences.read_tags(result)["XMP-dc:Title"] == "Harbor, 1911"
    assert notes == ""


def test_exif_is_kept_without_its_thumbnail(tmp_path: Path) -> None:
    fields = [(271, 2, 6, b"Agfa \0"), (18246, 3, 1, b"\0\4"), (40091, 1, 4, b"A\0\0\0")]
    block = described_photos.make_exif(">", fields, photo_files.encode_photo("JPEG"))
    result, notes = render(tmp_path / "a.png", png_with((b"eXIf", block)))
    assert metadata_differences.compare(tmp_path / "a.png", result) == []
    assert dict(read_chunks(result))[b"eXIf"] == described_photos.make_exif(">", fields)
    assert "thumbnails" in notes


def test_an_unchanged_profile_keeps_its_name(tmp_path: Path) -> None:
    chunk = (b"iCCP", b"A name of its own\0\0" + zlib.compress(photo_files.SRGB_PROFILE, 1))
    rgb = np.repeat(GRAY[..., None], 3, axis=2)
    result, _ = render(tmp_path / "a.png", png_with(chunk, pixels=rgb))
    assert chunk in read_chunks(result)


def test_a_huge_text_is_left_out_with_a_note_and_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    bomb = (b"iTXt", XMP_KEYWORD + b"\1\0\0\0" + zlib.compress(bytes(200 << 20)))
    huge = (b"tEXt", b"Huge\0" + b"x" * (65 << 20))
    result, notes = render(tmp_path / "a.png", png_with(bomb, after=[huge]))
    assert "chunk tEXt of 65 MiB is left out" in notes
    assert "XMP cannot be unpacked" in notes
    assert result.stat().st_size < 1 << 20
