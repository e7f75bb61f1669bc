"""Render: every format keeps its form, shows the layers, and gives the same bytes again."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import pyvips
import tifffile
from PIL import Image, ImageOps
from tests import photo_files, photographs, sample_layers
from tests.integration.workers.imaging.sample_renders import (
    COLOR,
    DENSITY,
    LOSSY_SUFFIXES,
    PHOTO,
    RECIPE,
    decode,
    luma,
    make_request,
    open_picture,
    render_file,
    write_gray_photo,
)

from retint_models.layers.rendering import apply
from retint_models.layers.types import ColorLayer, DensityLayer
from retint_workers.imaging import provenance, render
from retint_workers.imaging.decoding import formats


@pytest.mark.parametrize("name", photo_files.FORMATS)
@pytest.mark.parametrize("kind", ["gray", "sepia"])
@pytest.mark.parametrize("layers", ["color", "density", "both"])
def test_every_format_keeps_its_form_and_shows_the_layers(name: str, kind: str, layers: str, tmp_path: Path) -> None:
    bits, write = photo_files.FORMATS[name]
    gray = photographs.to_gray(PHOTO)
    original = gray if kind == "gray" else photographs.to_sepia(gray)
    original = photographs.to_16_bits(original) if bits == 16 else original
    path = tmp_path / name
    write(path, original)
    color = None if layers == "density" else COLOR
    density = None if layers == "color" else DENSITY
    rendered = render_file(path, color, density)
    result = rendered.files["result"]
    assert result.suffix == path.suffix
    before, after = decode(path), decode(result)
    wanted = apply(before, 0, before.shape[:2], color, density)
    assert after.dtype == before.dtype
    assert after.shape == wanted.shape
    error = np.abs(after.astype(float) - wanted) * 255 / np.iinfo(before.dtype).max
    is_lossy = (path.suffix in LOSSY_SUFFIXES and name != "lossless.webp") or name == "jpeg inside.tif"
    if is_lossy:
        assert error.mean() < (5 if name == "poor.jpg" else 3)
    else:
        assert error.max() == 0
    if layers == "color" and not is_lossy:
        assert np.abs(luma(after) - luma(before)).max() / np.iinfo(before.dtype).max <= 1 / 255
    assert rendered.facts["luma_drift"] is None or rendered.facts["luma_drift"] <= 1 / 255


@pytest.mark.parametrize("orientation", range(1, 9))
def test_stored_pixels_are_not_turned_and_previews_are_upright(orientation: int, tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(PHOTO[:100]).save(path, exif=exif)
    upright = np.asarray(ImageOps.exif_transpose(open_picture(path)))
    gray = tmp_path / "gray.png"
    Image.fromarray(photographs.to_gray(PHOTO[:100])).save(gray, exif=exif)
    rendered = render_file(gray, sample_layers.color_layer(upright))
    result = open_picture(rendered.files["result"])
    assert result.getexif()[274] == orientation
    assert np.abs(np.asarray(result).astype(int) - PHOTO[:100]).mean() < 1  # the truth is back, in the file's own order
    for name in ("preview", "thumb"):
        shown = open_picture(rendered.files[name])
        assert shown.size == (upright.shape[1], upright.shape[0])
        assert np.abs(np.asarray(shown).astype(int) - upright).mean() < 6


@pytest.mark.parametrize("name", ["plain.jpg", "16.png", "lossy.webp", "tiled deflate 16.tif", "bigtiff.tif"])
def test_the_same_layers_give_the_same_bytes_again(name: str, tmp_path: Path) -> None:
    bits, write = photo_files.FORMATS[name]
    gray = photographs.to_gray(PHOTO)
    write(tmp_path / name, photographs.to_16_bits(gray) if bits == 16 else gray)
    color, density = ColorLayer.from_bytes(COLOR.to_bytes()), DensityLayer.from_bytes(DENSITY.to_bytes())
    first, second = render_file(tmp_path / name, COLOR, DENSITY), render_file(tmp_path / name, color, density)
    assert first.facts["sha256"] == second.facts["sha256"]
    for file in first.files:
        assert first.files[file].read_bytes() == second.files[file].read_bytes(), file


@pytest.mark.parametrize("name", photo_files.ODD)
def test_odd_photos_are_restored(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(photo_files.ODD[name]())
    rendered = render_file(path, COLOR, DENSITY, kind="neutral")
    assert open_picture(rendered.files["preview"]).size == open_picture(rendered.files["before"]).size


def test_white_stays_white_in_a_tiff_where_zero_is_white(tmp_path: Path) -> None:
    gray = photographs.to_gray(PHOTO)
    path = tmp_path / "white is zero.tif"
    tifffile.imwrite(path, 255 - gray, photometric="miniswhite", metadata=None)
    result = decode(render_file(path).files["result"])
    assert np.abs(luma(result) - gray).max() <= 1


def test_a_full_disk_is_an_error_and_does_not_hang(tmp_path: Path) -> None:
    request = make_request(tmp_path, write_gray_photo(tmp_path))
    record = provenance.Provenance.from_layers(request.facts["sha256"], RECIPE, COLOR, None)
    with pytest.raises(pyvips.Error), ThreadPoolExecutor(1) as aside:
        render.write(request, formats.read_header(request.original, 1000), record, Path("/dev/full"), aside)
