"""Lossy files keep their quality, and how they are coded."""

import io
from pathlib import Path
from typing import Any

import pytest
import pyvips
import tifffile
from PIL import Image, JpegImagePlugin
from tests import photographs
from tests.integration.workers.imaging.sample_renders import COLOR, DENSITY, render_file
from tests.photo_files import encode_photo

from retint_workers.imaging.decoding import encoding, quality
from retint_workers.imaging.decoding.encoding import greatest_tiff_bytes

PHOTO = photographs.color_photo(1, 240)[:180]
GRAY = photographs.to_gray(PHOTO)


def read_options(data: bytes, file_format: str) -> dict[str, Any]:
    return encoding.read_encoding(io.BytesIO(data), file_format)


@pytest.mark.parametrize("wanted", [10, 30, 50, 75, 80, 90, 95, 98, 100])
def test_qualities_are_read_as_they_were_asked_for(wanted: int) -> None:
    image = pyvips.Image.new_from_array(PHOTO)
    assert read_options(encode_photo("JPEG", PHOTO, quality=wanted), "jpeg")["Q"] == wanted
    for data in (encode_photo("WEBP", PHOTO, quality=wanted), image.webpsave_buffer(Q=wanted)):
        assert abs(read_options(data, "webp")["Q"] - wanted) <= 1
    for options in ({}, {"rgbjpeg": True}):
        data = image.tiffsave_buffer(compression="jpeg", Q=wanted, **options)
        assert read_options(data, "tiff")["Q"] == wanted
    assert abs(read_options(image.tiffsave_buffer(compression="webp", Q=wanted), "tiff")["Q"] - wanted) <= 1


def test_a_finer_table_for_chroma_counts() -> None:
    luma, chroma = [[step] * 64 for step in (16, 2)]
    tables = [bytes([0, *luma]), bytes([1, *chroma])]
    assert quality.estimate_jpeg_quality(tables) > quality.estimate_jpeg_quality(tables[:1])
    assert quality.estimate_jpeg_quality([tables[1] + tables[0]]) == quality.estimate_jpeg_quality(tables)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "tiff"])
@pytest.mark.parametrize("wanted", [60, 98])
def test_a_result_has_its_originals_quality(kind: str, wanted: int, tmp_path: Path) -> None:
    path = tmp_path / "scan"
    if kind == "tiff":
        pyvips.Image.new_from_array(GRAY).tiffsave(str(path), compression="jpeg", Q=wanted)
    else:
        path.write_bytes(encode_photo(kind, GRAY, quality=wanted))
    result = render_file(path, COLOR, DENSITY, kind="neutral").files["result"]
    with result.open("rb") as file:
        assert abs(encoding.read_encoding(file, kind.lower())["Q"] - wanted) <= 3
    if kind == "tiff":
        with tifffile.TiffFile(result) as opened:
            assert opened.pages.first.compression == 7


def test_progressive_and_interlaced_files_stay_so(tmp_path: Path) -> None:
    for is_kept in (True, False):
        path = tmp_path / "scan.jpg"
        path.write_bytes(encode_photo("JPEG", PHOTO, progressive=is_kept))
        with Image.open(render_file(path, None, DENSITY).files["result"]) as result:
            assert bool(result.info.get("progressive")) is is_kept
        path = tmp_path / "scan.png"
        pyvips.Image.new_from_array(PHOTO).pngsave(str(path), interlace=is_kept)
        with Image.open(render_file(path, None, DENSITY).files["result"]) as result:
            assert bool(result.info.get("interlace")) is is_kept


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("mode", ["RGB", "CMYK"])
def test_chroma_is_halved_only_where_it_was(subsampling: int, mode: str, tmp_path: Path) -> None:
    path = tmp_path / "scan.jpg"
    path.write_bytes(encode_photo("JPEG", PHOTO, mode=mode, quality=85, subsampling=subsampling))
    with Image.open(render_file(path, None, DENSITY).files["result"]) as result:
        assert isinstance(result, JpegImagePlugin.JpegImageFile)
        assert result.layer[0][1:3] == ((2, 2) if subsampling == 2 and mode == "RGB" else (1, 1))


@pytest.mark.parametrize("is_nested", [True, False])
def test_a_pyramid_stays_where_it_lies(is_nested: bool, tmp_path: Path) -> None:
    path = tmp_path / "scan.tif"
    image = pyvips.Image.new_from_array(photographs.color_photo(1))
    image.tiffsave(str(path), tile=True, pyramid=True, subifd=is_nested, compression="deflate")
    with (
        tifffile.TiffFile(path) as before,
        tifffile.TiffFile(render_file(path, None, DENSITY).files["result"]) as after,
    ):
        assert len(after.pages) == len(before.pages)
        assert bool(after.pages.first.subifds) == bool(before.pages.first.subifds) == is_nested


def test_what_may_grow_beyond_four_gibibytes_is_known() -> None:
    size = (30_000, 40_000)
    assert greatest_tiff_bytes(size, 3, {"compression": "none"}) < 4 << 30
    assert greatest_tiff_bytes(size, 3, {"compression": "lzw"}) > 4 << 30
    tiles = {"compression": "none", "tile": True, "tile_width": 256, "tile_height": 256}
    assert greatest_tiff_bytes(size, 3, {**tiles, "pyramid": True}) > 4 << 30
