"""Ingest on files as they come: every form that is restored, and every one that is refused, with its reason."""

import io
import json
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps
from PIL.TiffImagePlugin import IFDRational
from tests import photo_files, photographs

from retint.errors import InvalidPhoto
from retint.recipes import Recipe, parse
from retint.settings import Settings
from retint_workers.imaging.ingest import Ingested, ingest

RECIPE, SETTINGS = parse({}), Settings()


def ingest_file(path: Path, recipe: Recipe = RECIPE) -> Ingested:
    return ingest(path, recipe, SETTINGS)


def decode_proxy(ingested: Ingested) -> NDArray[np.int64]:
    image = Image.open(io.BytesIO(ingested.proxy))
    assert image.mode == "RGB"
    return np.asarray(image).astype(np.int64)


def exif_of_resolution(resolution: int, unit: int) -> Image.Exif:
    exif = Image.Exif()
    exif.update({282: IFDRational(resolution), 283: IFDRational(resolution), 296: unit})
    return exif


@pytest.mark.parametrize("name", photo_files.FORMATS)
@pytest.mark.parametrize("kind", ["gray", "rgb"])
def test_every_format_is_recognized_and_its_proxy_looks_like_it(name: str, kind: str, tmp_path: Path) -> None:
    bits, write = photo_files.FORMATS[name]
    photo = photographs.color_photo(1, 200)[:150]
    pixels = photographs.to_gray(photo) if kind == "gray" else photo
    path = tmp_path / name
    write(path, photographs.to_16_bits(pixels) if bits == 16 else pixels)
    ingested = ingest_file(path)
    facts = ingested.facts
    is_webp = name.endswith("webp")  # knows no gray
    assert (facts["width"], facts["height"], facts["bits"]) == (200, 150, bits)
    assert facts["bands"] == (1 if kind == "gray" and not is_webp else 3)
    assert facts["kind"] == ("neutral" if kind == "gray" else "color")
    assert facts["size"] == path.stat().st_size
    assert facts["format"] == {".jpg": "jpeg", ".png": "png", ".webp": "webp", ".tif": "tiff"}[path.suffix]
    json.dumps(facts)
    wanted = (photo if kind == "rgb" else np.repeat(pixels[..., None], 3, axis=2)).astype(int)
    assert np.abs(decode_proxy(ingested) - wanted).mean() < (6 if name == "poor.jpg" else 4)


@pytest.mark.parametrize(
    ("kind", "options", "dpi"),
    [
        ("JPEG", {}, None),
        ("JPEG", {"dpi": (300, 300)}, 300),
        ("JPEG", {"exif": exif_of_resolution(600, unit=3)}, 1524),
        ("JPEG", {"exif": exif_of_resolution(600, unit=1)}, None),
        ("PNG", {}, None),
        ("PNG", {"dpi": (72, 72)}, 72),
        ("PNG", {"dpi": (300, 300)}, 300),
        ("TIFF", {}, None),
        ("TIFF", {"dpi": (300, 300)}, 300),
        ("TIFF", {"tiffinfo": {282: 300.0, 283: 300.0, 296: 1}}, None),
        ("WEBP", {"exif": exif_of_resolution(600, unit=2)}, None),  # libvips reads no resolution of WebP
        ("JPEG", {"mode": "CMYK", "dpi": (300, 300)}, 300),
        ("JPEG", {"mode": "CMYK"}, None),
        ("TIFF", {"mode": "CMYK", "dpi": (300, 300)}, 300),
        ("TIFF", {"mode": "CMYK"}, None),
        ("AVIF", {}, None),
        ("GIF", {}, None),
    ],
)
def test_resolution_is_known_where_the_file_states_one(
    kind: str, options: dict[str, Any], dpi: float | None, tmp_path: Path
) -> None:
    path = tmp_path / "photo"
    path.write_bytes(photo_files.encode_photo(kind, **options))
    assert ingest_file(path).facts["dpi"] == (None if dpi is None else pytest.approx(dpi, abs=0.2))


@pytest.mark.parametrize("name", photo_files.HOSTILE)
def test_hostile_files_are_refused_with_a_reason(name: str, tmp_path: Path) -> None:
    code, make = photo_files.HOSTILE[name]
    path = tmp_path / name
    path.write_bytes(make())
    with pytest.raises(InvalidPhoto) as refusal:
        ingest_file(path)
    assert refusal.value.code == code
    assert refusal.value.message[0].isupper()
    assert refusal.value.message.endswith(".")
    assert "vips" not in refusal.value.message


@pytest.mark.parametrize("name", photo_files.ODD)
def test_odd_photos_are_accepted(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(photo_files.ODD[name]())
    assert ingest_file(path).facts["width"] >= 64


def test_a_file_name_that_is_not_unicode_is_accepted(tmp_path: Path) -> None:
    path = Path(str(tmp_path), b"\xff\xfe.jpg".decode(errors="surrogateescape"))
    path.write_bytes(photo_files.encode_photo("JPEG"))
    assert ingest_file(path).facts["format"] == "jpeg"


def test_problems_that_are_passed_over_are_noted(tmp_path: Path) -> None:
    words = {"broken profile.jpg": "profile", "gray profile on color.jpg": "profile"}
    for name, word in words.items():
        (tmp_path / name).write_bytes(photo_files.ODD[name]())
        facts = ingest_file(tmp_path / name).facts
        assert word in " ".join(facts["notes"])
        assert facts["profile"] is None


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_the_proxy_is_upright(kind: str, orientation: int, tmp_path: Path) -> None:
    path = tmp_path / "photo"
    stored = Image.fromarray(photographs.color_photo(2, 200)[:120])
    stored.save(path, kind, exif=photo_files.make_exif(orientation), **({"lossless": True} if kind == "WEBP" else {}))
    ingested = ingest_file(path)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(path))).astype(int)
    assert ingested.facts["orientation"] == orientation
    assert (ingested.facts["height"], ingested.facts["width"]) == upright.shape[:2]
    assert np.abs(decode_proxy(ingested) - upright).mean() < 1


@pytest.mark.parametrize(
    ("name", "gamma", "primaries"),
    [("Wide", 1.8, photo_files.PROPHOTO_PRIMARIES), ("Adobe", 2.2, photo_files.ADOBE_PRIMARIES)],
)
def test_the_proxy_of_a_wide_gamut_original_has_the_same_colors(
    name: str, gamma: float, primaries: tuple[tuple[float, ...], ...], tmp_path: Path
) -> None:
    photo = photographs.color_photo(2, 128)
    srgb = Image.fromarray(photo)
    profile = photo_files.make_icc_profile(name, gamma, primaries)
    moved = photo_files.convert_to_profile(srgb, profile)
    assert np.abs(np.asarray(moved).astype(int) - photo).mean() > 5
    moved.save(tmp_path / "wide.png", icc_profile=profile)
    ingested = ingest_file(tmp_path / "wide.png")
    assert ingested.facts["profile"] == name
    assert np.abs(decode_proxy(ingested) - photo).mean() < 1.5


def test_the_proxy_is_as_long_as_the_recipe_says_and_never_longer_than_the_photo(tmp_path: Path) -> None:
    large, small = tmp_path / "large.jpg", tmp_path / "small.jpg"
    Image.fromarray(photographs.color_photo(0)).resize((3000, 2000)).save(large)
    Image.fromarray(photographs.color_photo(0)).resize((300, 200)).save(small)
    assert decode_proxy(ingest_file(large)).shape == (512, 768, 3)
    assert decode_proxy(ingest_file(large, parse({"proxy_side": 256}))).shape == (171, 256, 3)
    assert decode_proxy(ingest_file(small)).shape == (200, 300, 3)
    # A square of 16 times 45 pixels is seen without interpolation, where the photo has them.
    detailed = parse({"colorizer": "artistic", "colorizer_settings": {"render_factor": 45}, "region": "whole"})
    assert decode_proxy(ingest_file(large, detailed)).shape == (720, 1080, 3)
    assert decode_proxy(ingest_file(small, detailed)).shape == (200, 300, 3)


def test_a_decompression_bomb_is_never_decoded(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(photo_files.png_claiming(50_000, 50_000, bytes(50_000_000)))
    with pytest.raises(InvalidPhoto, match="megapixels"):
        ingest_file(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 4 << 20  # kB
