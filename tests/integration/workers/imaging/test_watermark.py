"""The watermark is drawn, lies in its place, and is verified."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
from PIL import Image
from tests import photo_files, photographs
from tests.integration.workers.imaging.sample_renders import (
    COLOR,
    DENSITY,
    LOSSY_SUFFIXES,
    PHOTO,
    RECIPE,
    WITH_WATERMARK,
    decode,
    make_request,
    open_picture,
    render_file,
    scale_chroma,
    write_gray_photo,
)

from retint.errors import InvalidPhoto
from retint_models.layers.color import LUMA
from retint_workers.imaging import provenance, render, verify, watermark
from retint_workers.imaging.decoding import formats
from retint_workers.imaging.verify import NotVerified


def split_corner(pixels: Any) -> tuple[Any, Any]:
    """Return the pixels under the watermark of an upright picture, and all others in a row."""
    height, width = pixels.shape[:2]
    high = max(16, round(0.05 * min(height, width)))
    bottom, left, wide = height - high // 2, high // 2, round(1.3 * high)
    inside = np.zeros((height, width), bool)
    inside[bottom - high : bottom, left : left + wide] = True
    return pixels[bottom - high : bottom, left : left + wide].astype(float), pixels[~inside].astype(float)


@pytest.mark.parametrize("name", ["plain.jpg", "plain.png", "16.png", "lossy.webp", "tiled deflate 16.tif"])
@pytest.mark.parametrize("layers", ["both", "tone"])
def test_the_palette_is_drawn_and_nothing_else_changes(name: str, layers: str, tmp_path: Path) -> None:
    bits, write = photo_files.FORMATS[name]
    gray = photographs.to_gray(PHOTO)
    write(tmp_path / name, photographs.to_16_bits(gray) if bits == 16 else gray)
    color, density = COLOR if layers == "both" else None, DENSITY
    bare = decode(render_file(tmp_path / name, color, density).files["result"])
    rendered = render_file(tmp_path / name, color, density, WITH_WATERMARK)
    marked = decode(rendered.files["result"])
    assert marked.shape == bare.shape
    (under, beside), (under_bare, beside_bare) = split_corner(marked), split_corner(bare)
    full = 255 if bits == 8 else 65535
    assert np.sqrt(np.square((under - under_bare) / full).mean()) > 0.1
    assert np.abs(beside - beside_bare).mean() * 255 / full < (2.5 if Path(name).suffix in LOSSY_SUFFIXES else 1e-9)
    says = provenance.read_xmp(pyvips.Image.new_from_file(str(rendered.files["result"])).get("xmp-data"))
    assert says["Watermark"] == json.loads(rendered.files["provenance"].read_text())["watermark"]
    if color is not None:
        assert rendered.facts["luma_drift"] <= 1 / 255


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_palette_lies_in_the_lower_left_corner_for_every_orientation(orientation: int, tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    Image.fromarray(np.full((150, 200), 128, np.uint8)).save(path, exif=photo_files.make_exif(orientation))
    shown = np.asarray(
        open_picture(render_file(path, None, None, WITH_WATERMARK, kind="neutral").files["preview"]).convert("L")
    )
    under, beside = split_corner(shown)
    assert np.abs(beside - 128).max() < 20  # the preview is a JPEG
    assert np.abs(under - 128).mean() > 12
    drawn = watermark.draw_palette(16)
    wood = (drawn[..., :3] @ np.array(LUMA) - 128) * (drawn[..., 3] / 255)
    likeness = [np.corrcoef(under.ravel(), turned.ravel())[0, 1] for turned in (wood, wood[::-1], wood[:, ::-1])]
    assert likeness[0] > 0.9
    assert likeness[0] == max(likeness)  # the thumb's hole lies to the right, below


@pytest.mark.parametrize("name", ["sRGB", "wide", "gray"])
def test_the_palette_has_its_colors_in_every_profile(name: str, tmp_path: Path) -> None:
    profiles = {
        "sRGB": photo_files.SRGB_PROFILE,
        "wide": photo_files.make_icc_profile("Wide", 1.8, photo_files.PROPHOTO_PRIMARIES),
        "gray": photo_files.make_icc_profile("Gray 1.8", 1.8),
    }
    gray = photographs.to_gray(PHOTO)
    pixels = gray if name == "gray" else np.repeat(gray[..., None], 3, axis=2)
    (tmp_path / "plain").mkdir()
    Image.fromarray(gray).save(tmp_path / "plain" / "photo.png")
    Image.fromarray(pixels).save(tmp_path / "photo.png", icc_profile=profiles[name])
    shown = [
        split_corner(
            np.asarray(
                open_picture(render_file(path, None, None, WITH_WATERMARK, kind="neutral").files["preview"]).convert(
                    "L"
                )
            )
        )[0]
        for path in (tmp_path / "plain" / "photo.png", tmp_path / "photo.png")
    ]
    under = [np.abs(each - each.mean()) for each in shown]
    assert np.corrcoef(shown[0].ravel(), shown[1].ravel())[0, 1] > 0.9
    assert abs(under[0].mean() - under[1].mean()) < 6


def test_a_photo_too_small_for_the_palette_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "small.png"
    Image.fromarray(photographs.to_gray(PHOTO)[:63]).save(path)
    with pytest.raises(InvalidPhoto, match="too small for a watermark") as found:
        render_file(path, recipe=WITH_WATERMARK)
    assert found.value.code == "too_small_for_watermark"
    Image.fromarray(photographs.to_gray(PHOTO)[:64]).save(path)
    assert render_file(path, recipe=WITH_WATERMARK).files


def test_a_palette_does_not_count_as_color_of_the_result(tmp_path: Path) -> None:
    assert render_file(write_gray_photo(tmp_path), scale_chroma(0), recipe=WITH_WATERMARK).facts["colorless"]


def test_a_result_with_a_palette_is_made_again_bit_for_bit(tmp_path: Path) -> None:
    path = write_gray_photo(tmp_path)
    first, second = (render_file(path, COLOR, DENSITY, WITH_WATERMARK) for _ in range(2))
    for file in first.files:
        assert first.files[file].read_bytes() == second.files[file].read_bytes(), file


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".png"])
def test_a_missing_palette_is_an_error(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"photo{suffix}"
    Image.fromarray(photographs.to_gray(PHOTO)).convert("RGB").save(path, quality=40)
    header = formats.read_header(path, 1000)
    marked, bare = make_request(tmp_path, path, recipe=WITH_WATERMARK), make_request(tmp_path, path)
    record = provenance.Provenance.from_layers(marked.facts["sha256"], WITH_WATERMARK, COLOR, None)
    result = tmp_path / f"result{suffix}"
    unmarked = provenance.Provenance.from_layers(bare.facts["sha256"], RECIPE, COLOR, None)
    with ThreadPoolExecutor(1) as aside:
        with_palette, _ = render.write(marked, header, record, result, aside)
        verify.read_back(result, with_palette, 1000)
        without_palette, _ = render.write(bare, header, unmarked, result, aside)
    assert without_palette.marked is None
    with pytest.raises(NotVerified) as found:
        verify.read_back(result, replace(without_palette, marked=with_palette.marked), 1000)
    assert found.value.code == "watermark_differs"
