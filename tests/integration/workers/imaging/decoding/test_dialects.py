"""Files that other readers take: whatever has all its pixels is restored, whatever has not is refused."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
import tifffile
from tests import photographs
from tests.photo_files import encode_photo, encode_tiff

from retint.errors import InvalidPhoto
from retint.recipes import Recipe
from retint_workers.imaging.decoding.conversion import open_photo
from retint_workers.imaging.ingest import examine
from retint_workers.imaging.streams import read_strips

PHOTO = photographs.color_photo(0, 160)[:120]
GRAY = photographs.to_gray(PHOTO)


def read_pixels(data: bytes, folder: Path) -> np.ndarray[Any, Any]:
    """The pixels that are restored, of a file that is taken."""
    path = folder / "photo"
    path.write_bytes(data)
    examine(path, Recipe(proxy_side=256), 1000)
    return np.concatenate([strip for _, strip in read_strips(open_photo(path, 1000, folder))])


def refuse(data: bytes, folder: Path) -> InvalidPhoto:
    path = folder / "photo"
    path.write_bytes(data)
    with pytest.raises(InvalidPhoto) as refusal:
        examine(path, Recipe(proxy_side=256), 1000)
    return refusal.value


def set_tiff_field(data: bytes, tag: int, values: list[int] | None) -> bytes:
    """A little-endian TIFF with other values of a field of LONGs, or with the field renamed out of sight."""
    changed = bytearray(data)
    at = struct.unpack_from("<I", data, 4)[0]
    for entry in range(at + 2, at + 2 + 12 * struct.unpack_from("<H", data, at)[0], 12):
        if struct.unpack_from("<H", data, entry)[0] == tag:
            if values is None:
                struct.pack_into("<H", changed, entry, 65_001)
                struct.pack_into("<HII", changed, entry + 2, 4, 1, 0)
            else:
                struct.pack_into("<HII", changed, entry + 2, 4, len(values), len(data) + len(data) % 2)
                if len(values) == 1:
                    struct.pack_into("<I", changed, entry + 8, values[0])
                else:
                    changed += bytes(len(data) % 2) + struct.pack(f"<{len(values)}I", *values)
    return bytes(changed)


STRIP_BYTES = 279
COMPRESSIONS = [{}, {"compression": "lzw"}, {"compression": "zlib"}, {"compression": "packbits"}]


@pytest.mark.parametrize("options", COMPRESSIONS)
@pytest.mark.parametrize("rows", [16, 120])
@pytest.mark.parametrize("said", ["zero", "missing", "too large"])
def test_byte_counts_are_worked_out_where_a_tiff_says_them_wrong(
    options: dict[str, Any], rows: int, said: str, tmp_path: Path
) -> None:
    whole = encode_tiff(GRAY, photometric="minisblack", rowsperstrip=rows, **options)
    with tifffile.TiffFile(io.BytesIO(whole)) as opened:
        counts = list(opened.pages.first.tags[STRIP_BYTES].value)
    wrong = {"zero": [0] * len(counts), "missing": None, "too large": [*counts[:-1], counts[-1] + 5000]}[said]
    np.testing.assert_array_equal(read_pixels(set_tiff_field(whole, STRIP_BYTES, wrong), tmp_path), GRAY)


@pytest.mark.parametrize("options", [*COMPRESSIONS, {"compression": "jpeg"}, {"tile": (64, 64), "compression": "lzw"}])
def test_a_tiff_that_ends_inside_its_pixels_is_refused(options: dict[str, Any], tmp_path: Path) -> None:
    whole = encode_tiff(photographs.color_photo(1, 256), photometric="rgb", **{"rowsperstrip": 256, **options})
    for cut in (200, 5000):
        assert refuse(whole[:-cut], tmp_path).code in ("truncated", "damaged")


def test_a_tiff_with_a_hole_in_its_jpeg_strip_is_refused(tmp_path: Path) -> None:
    image = pyvips.Image.new_from_array(photographs.color_photo(1, 512))
    data = bytearray(image.tiffsave_buffer(compression="jpeg", Q=80))
    data[len(data) // 3 : len(data) // 3 + 4000] = bytes(4000)
    assert refuse(bytes(data), tmp_path).code in ("truncated", "damaged")


def test_fields_that_a_library_warns_of_are_no_damage(tmp_path: Path) -> None:
    tags = [
        (305, 2, 9, b"Scan\0\0me\0", True),
        (36864, 7, 4, b"0230", True),
        (33550, 12, 3, (1.0, 1.0, 0.0), True),
        (339, 3, 1, (1,), True),
        (532, 3, 1, (7,), True),
        (280, 2, 3, b"ab\0", True),
    ]
    whole = encode_tiff(GRAY, photometric="minisblack", extratags=tags)
    np.testing.assert_array_equal(read_pixels(whole, tmp_path), GRAY)


def test_a_strip_of_more_than_50_megabytes_is_read(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4100, 5000, 3), np.uint8)
    whole = encode_tiff(pixels, photometric="rgb", compression="zlib", compressionargs={"level": 0}, rowsperstrip=4100)
    assert read_pixels(whole, tmp_path).shape == pixels.shape


# --- JPEG -------------------------------------------------------------------------------------------------------------

JPEG = encode_photo("JPEG", PHOTO, quality=90)
PROGRESSIVE = encode_photo("JPEG", PHOTO, quality=90, progressive=True)


def set_jfif_version(data: bytes, version: bytes) -> bytes:
    at = data.index(b"JFIF\0") + 5
    return data[:at] + version + data[at + 2 :]


def add_fill_bytes(data: bytes) -> bytes:
    at = data.index(b"\xff\xdb")
    return data[:at] + b"\xff" * 7 + data[at:]


def swap_tables(data: bytes) -> bytes:
    """The tables for chroma before those for luma."""
    first = data.index(b"\xff\xdb")
    second = data.index(b"\xff\xdb", first + 2)
    end = second + 2 + struct.unpack_from(">H", data, second + 2)[0]
    return data[:first] + data[second:end] + data[first:second] + data[end:]


DIALECTS: dict[str, Callable[[], bytes]] = {
    "JFIF 2.01": lambda: set_jfif_version(JPEG, b"\2\1"),
    "JFIF 0.00": lambda: set_jfif_version(JPEG, b"\0\0"),
    "no end": lambda: JPEG[:-2],
    "no end, progressive": lambda: PROGRESSIVE[:-2],
    "JFIF 2.01 without an end": lambda: set_jfif_version(JPEG, b"\2\1")[:-2],
    "fill bytes": lambda: add_fill_bytes(JPEG),
    "tables swapped": lambda: swap_tables(JPEG),
    "zeros before the end": lambda: JPEG[:-2] + bytes(50) + JPEG[-2:],
    "bytes behind": lambda: JPEG + b"SEFT" * 100,
    "restarts": lambda: encode_photo("JPEG", PHOTO, quality=90, restart_marker_blocks=4),
}


@pytest.mark.parametrize("name", DIALECTS)
def test_dialects_of_jpeg_are_taken(name: str, tmp_path: Path) -> None:
    pixels = read_pixels(DIALECTS[name](), tmp_path)
    np.testing.assert_allclose(pixels, read_pixels(PROGRESSIVE if "progressive" in name else JPEG, tmp_path))


def test_a_progressive_jpeg_that_lacks_its_last_scans_is_refused(tmp_path: Path) -> None:
    last = PROGRESSIVE.rindex(b"\xff\xda")
    assert refuse(PROGRESSIVE[:last], tmp_path).code == "truncated"
    assert refuse(PROGRESSIVE[:-400], tmp_path).code == "truncated"


@pytest.mark.parametrize("cut", [3, 10, 100, 2000])
def test_a_jpeg_that_ends_inside_its_pixels_is_refused(cut: int, tmp_path: Path) -> None:
    assert refuse(JPEG[:-cut], tmp_path).code == "truncated"
    assert refuse(JPEG[:-cut] + b"\xff\xd9", tmp_path).code == "truncated"


# --- PNG and WebP -----------------------------------------------------------------------------------------------------


def test_dialects_of_png_are_taken(tmp_path: Path) -> None:
    whole = encode_photo("PNG", PHOTO)
    text = b"tEXtComment\0hello"
    chunk = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text) ^ 1)
    for data in (whole[:33] + chunk + whole[33:], whole + b"behind" * 99, whole[:-12]):
        np.testing.assert_array_equal(read_pixels(data, tmp_path), PHOTO)
    assert refuse(whole[:-60], tmp_path).code == "truncated"


def test_a_webp_with_a_wrong_size_in_its_head_is_taken(tmp_path: Path) -> None:
    whole = encode_photo("WEBP", PHOTO, lossless=True)
    for size in (len(whole) - 7, 0, len(whole) + 100, 40):
        data = whole[:4] + struct.pack("<I", size) + whole[8:]
        np.testing.assert_array_equal(read_pixels(data, tmp_path), PHOTO)
    assert refuse(whole[:-50], tmp_path).code == "truncated"


# --- which picture of a TIFF is the photograph ------------------------------------------------------------------------


def test_a_photograph_behind_its_thumbnail_is_found(tmp_path: Path) -> None:
    thumbnail = PHOTO[::4, ::4]
    path = tmp_path / "made.tif"
    with tifffile.TiffWriter(path) as writer:
        writer.write(thumbnail, photometric="rgb", subfiletype=1, subifds=1, metadata=None)
        writer.write(PHOTO, photometric="rgb", subfiletype=0, metadata=None)
    np.testing.assert_array_equal(read_pixels(path.read_bytes(), tmp_path), PHOTO)
    with tifffile.TiffWriter(path) as writer:
        writer.write(thumbnail, photometric="rgb", subfiletype=1, metadata=None)
        writer.write(PHOTO, photometric="rgb", subfiletype=0, metadata=None)
    np.testing.assert_array_equal(read_pixels(path.read_bytes(), tmp_path), PHOTO)


@pytest.mark.parametrize("subfile", [0, 1])
@pytest.mark.parametrize("photometric", ["cfa", "linear_raw"])
def test_raw_data_behind_a_preview_are_named(subfile: int, photometric: str, tmp_path: Path) -> None:
    path = tmp_path / "made.tif"
    with tifffile.TiffWriter(path) as writer:
        writer.write(PHOTO[::4, ::4], photometric="rgb", subfiletype=subfile, subifds=1, metadata=None)
        writer.write(PHOTO if photometric == "linear_raw" else GRAY, photometric=photometric, metadata=None)
    assert "raw data" in refuse(path.read_bytes(), tmp_path).message


RAW_HEADS = [b"IIRO\x08\0\0\0", b"IIRS", b"MMOR", b"IIU\0\x18", b"FUJIFILMCCD-RAW 0201", b"FOVb\0\0\2\0", b"\0MRM\0"]
RAW_HEADS += [b"II*\0\x10\0\0\0CR\2\0", b"II*\0\x08\0\0\0IIII", b"\0\0\0\x18ftypcrx \0\0\0\1", b"II\x1a\0\0\0HEAPCCDR"]


@pytest.mark.parametrize("head", RAW_HEADS)
def test_raw_data_are_named_by_their_makers_signatures(head: bytes, tmp_path: Path) -> None:
    assert "raw data" in refuse(head.ljust(500, b"\0"), tmp_path).message


def test_a_thumbnail_before_the_photograph_is_left_out_and_told(tmp_path: Path) -> None:
    for subfiles in ((1, 0), (1, 0, 4)):
        path = tmp_path / f"{len(subfiles)}.tif"
        with tifffile.TiffWriter(path) as writer:
            for subfile in subfiles:
                tags = [(254, 4, 1, subfile, True)]
                pixels = GRAY[::3, ::3] if subfile else GRAY
                writer.write(pixels, photometric="minisblack", extratags=tags, metadata=None)
        facts = examine(path, Recipe(proxy_side=256), 1000).facts
        assert (facts["width"], facts["height"]) == GRAY.shape[::-1]
        assert "smaller copy" in " ".join(facts["notes"])


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (encode_photo("PPM", GRAY), "a PNM picture"),
        (encode_photo("PPM"), "a PNM picture"),
        (encode_photo("PCX"), "a PCX"),
        (encode_photo("SGI"), "an SGI picture"),
        (encode_photo("ICO"), "an icon"),
        (bytes(128) + b"DICM\2\0", "a DICOM picture"),
        (b"<!DOCTYPE HTML>\n<p>404", "a web page"),
    ],
)
def test_what_is_not_restored_is_named(data: bytes, name: str, tmp_path: Path) -> None:
    assert refuse(data, tmp_path).message == f"The file is {name}: save it as TIFF, JPEG or PNG."
