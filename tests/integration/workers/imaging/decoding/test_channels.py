"""Channels beside the color, such as transparency and infrared: the result has them unchanged."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image
from tests import photographs
from tests.integration.workers.imaging.sample_renders import COLOR, DENSITY, render_file
from tests.photo_files import encode_photo

Pixels = np.ndarray[Any, Any]
PHOTO = photographs.color_photo(1, 240)[:180]
GRAY = photographs.to_gray(PHOTO)
ALPHA = np.asarray(Image.linear_gradient("L").resize((240, 180)))
INFRARED = photographs.to_gray(photographs.color_photo(2, 240)[:180])
UNSPECIFIED, ASSOCIATED, UNASSOCIATED = 0, 1, 2


def write_tiff(path: Path, pixels: Pixels, kinds: tuple[int, ...], photometric: str) -> None:
    tifffile.imwrite(path, pixels, photometric=photometric, planarconfig="contig", extrasamples=kinds, metadata=None)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("base", ["gray", "rgb"])
@pytest.mark.parametrize(
    "kinds",
    [(UNSPECIFIED,), (UNASSOCIATED,), (UNASSOCIATED, UNSPECIFIED), (UNSPECIFIED, UNSPECIFIED, UNSPECIFIED)],
)
def test_a_tiff_keeps_its_channels_and_what_it_says_of_them(
    kinds: tuple[int, ...], base: str, bits: int, tmp_path: Path
) -> None:
    path = tmp_path / "scan.tif"
    stored = np.dstack([GRAY if base == "gray" else PHOTO, *[ALPHA, INFRARED, GRAY][: len(kinds)]])
    stored = photographs.to_16_bits(stored) if bits == 16 else stored
    write_tiff(path, stored, kinds, "minisblack" if base == "gray" else "rgb")
    color = COLOR if base == "gray" else None
    rendered = render_file(path, color, DENSITY)
    with tifffile.TiffFile(rendered.files["result"]) as opened:
        page = opened.pages.first
        pixels = page.asarray()
        assert page.extrasamples == kinds
        assert page.photometric == (2 if color or base == "rgb" else 1)
        color_bands = pixels.shape[2] - len(kinds)
    np.testing.assert_array_equal(pixels[..., color_bands:], stored[..., -len(kinds) :])
    assert rendered.facts["notes"] == []


def test_transparency_that_the_colors_are_multiplied_by_is_carried(tmp_path: Path) -> None:
    path = tmp_path / "scan.tif"
    multiplied = np.round(PHOTO * (ALPHA[..., None] / 255)).astype(np.uint8)
    write_tiff(path, np.dstack([multiplied, ALPHA]), (ASSOCIATED,), "rgb")
    rendered = render_file(path, None, DENSITY)
    with tifffile.TiffFile(rendered.files["result"]) as opened:
        page = opened.pages.first
        assert page.extrasamples == (UNASSOCIATED,)
        np.testing.assert_array_equal(page.asarray()[..., 3], ALPHA)
    assert "multiplied" in " ".join(rendered.facts["notes"])


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
@pytest.mark.parametrize("mode", ["LA", "RGBA"])
@pytest.mark.parametrize("is_opaque", [True, False])
def test_png_and_webp_keep_their_transparency(kind: str, mode: str, is_opaque: bool, tmp_path: Path) -> None:
    alpha = np.full_like(ALPHA, 255) if is_opaque else ALPHA
    pixels = np.dstack([GRAY if mode == "LA" else PHOTO, alpha])
    path = tmp_path / "scan"
    options: dict[str, Any] = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    path.write_bytes(encode_photo(kind, pixels, **options))
    rendered = render_file(path, COLOR, None, kind="neutral")
    with Image.open(rendered.files["result"]) as result:
        found = np.asarray(result.convert("RGBA"))
    np.testing.assert_array_equal(found[..., 3], alpha)
    assert "transparent" not in " ".join(rendered.facts["notes"])


def test_a_lossy_webp_keeps_its_transparency(tmp_path: Path) -> None:
    path = tmp_path / "scan.webp"
    path.write_bytes(encode_photo("WEBP", np.dstack([PHOTO, ALPHA]), quality=90))
    with Image.open(render_file(path, None, DENSITY).files["result"]) as result:
        assert np.abs(np.asarray(result)[..., 3].astype(int) - ALPHA).max() <= 2
