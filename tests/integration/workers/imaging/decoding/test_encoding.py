"""Results are encoded in the same way as their originals."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from tests import photo_files, photographs
from tests.integration.workers.imaging.sample_renders import DENSITY, PHOTO, open_picture, render_file


def test_a_tiff_keeps_compression_tiles_and_size_class(tmp_path: Path) -> None:
    wanted = {
        "tiled.tif": (1, True, False),
        "tiled deflate 16.tif": (8, True, False),
        "bigtiff.tif": (1, False, True),
        "bigtiff 16 tiled.tif": (1, True, True),
        "lzw.tif": (5, False, False),
        "packbits.tif": (32773, False, False),
        "jpeg inside.tif": (7, False, False),
    }
    for name, (compression, is_tiled, is_big) in wanted.items():
        bits, write = photo_files.FORMATS[name]
        gray = photographs.to_gray(PHOTO)
        write(tmp_path / name, photographs.to_16_bits(gray) if bits == 16 else gray)
        with tifffile.TiffFile(render_file(tmp_path / name).files["result"]) as tiff:
            page = tiff.pages.first
            assert (int(page.compression), page.is_tiled, tiff.is_bigtiff) == (compression, is_tiled, is_big), name
            assert page.bitspersample == bits
            assert len(tiff.pages) == 1
            if name == "tiled.tif":
                assert (page.tilelength, page.tilewidth) == (64, 128)


def test_a_pyramid_stays_a_pyramid(tmp_path: Path) -> None:
    large = np.asarray(Image.fromarray(photographs.to_gray(PHOTO)).resize((1000, 750)))
    photo_files.FORMATS["pyramid.tif"][1](tmp_path / "pyramid.tif", large)
    with tifffile.TiffFile(tmp_path / "pyramid.tif") as before:
        shapes = [page.shape for page in before.pages]
    with tifffile.TiffFile(render_file(tmp_path / "pyramid.tif").files["result"]) as after:
        assert [page.shape[:2] for page in after.pages] == shapes
        assert len(shapes) > 1


@pytest.mark.parametrize("quality", [30, 60, 75, 90, 95, 100])
def test_a_jpeg_keeps_its_quality(quality: int, tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    Image.fromarray(PHOTO).save(path, quality=quality)
    result = render_file(path, None, DENSITY).files["result"]
    before, after = (open_picture(file).quantization for file in (path, result))  # type: ignore[attr-defined]
    assert before == after


def test_a_gray_jpeg_gets_color_without_subsampling_and_a_subsampled_one_keeps_it(tmp_path: Path) -> None:
    gray, color = tmp_path / "gray.jpg", tmp_path / "color.jpg"
    Image.fromarray(photographs.to_gray(PHOTO)).save(gray, quality=80)
    Image.fromarray(PHOTO).save(color, quality=80, subsampling=2)
    sampling = [open_picture(render_file(path).files["result"]).layer[0][1:3] for path in (gray, color)]  # type: ignore[attr-defined]
    assert sampling == [(1, 1), (2, 2)]
