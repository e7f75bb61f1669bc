"""Ingest on files as they come: every form that is restored, and every one that is refused, with its reason."""

import io
import json
import resource
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps
from tests import photo_files, photographs

from retint.errors import InvalidPhoto
from retint.recipes import Recipe, parse
from retint.settings import Settings
from retint_workers.imaging.ingest import Ingested, ingest

RECIPE, SETTINGS = parse({}), Settings()


def taken_in(path: Path, recipe: Recipe = RECIPE) -> Ingested:
    return ingest(path, recipe, SETTINGS)


def proxy_of(ingested: Ingested) -> NDArray[np.int64]:
    image = Image.open(io.BytesIO(ingested.proxy))
    assert image.mode == "RGB"
    return np.asarray(image).astype(np.int64)


@pytest.mark.parametrize("name", photo_files.FORMATS)
@pytest.mark.parametrize("kind", ["gray", "rgb"])
def test_every_format_is_recognized_and_its_proxy_looks_like_it(name: str, kind: str, tmp_path: Path) -> None:
    bits, write = photo_files.FORMATS[name]
    photo = photographs.color_photo(1, 200)[:150]
    pixels = photographs.to_gray(photo) if kind == "gray" else photo
    path = tmp_path / name
    write(path, photographs.to_16_bits(pixels) if bits == 16 else pixels)
    ingested = taken_in(path)
    facts = ingested.facts
    is_webp = name.endswith("webp")  # knows no gray
    assert (facts["width"], facts["height"], facts["bits"]) == (200, 150, bits)
    assert facts["bands"] == (1 if kind == "gray" and not is_webp else 3)
    assert facts["kind"] == ("neutral" if kind == "gray" else "color")
    assert facts["size"] == path.stat().st_size
    assert facts["format"] == {".jpg": "jpeg", ".png": "png", ".webp": "webp", ".tif": "tiff"}[path.suffix]
    json.dumps(facts)
    wanted = (photo if kind == "rgb" else np.repeat(pixels[..., None], 3, axis=2)).astype(int)
    assert np.abs(proxy_of(ingested) - wanted).mean() < (6 if name == "poor.jpg" else 4)


@pytest.mark.parametrize("name", photo_files.HOSTILE)
def test_what_is_no_photo_is_refused_with_a_reason(name: str, tmp_path: Path) -> None:
    code, make = photo_files.HOSTILE[name]
    path = tmp_path / name
    path.write_bytes(make())
    with pytest.raises(InvalidPhoto) as refusal:
        taken_in(path)
    assert refusal.value.code == code
    assert refusal.value.message[0].isupper()
    assert refusal.value.message.endswith(".")
    assert "vips" not in refusal.value.message


@pytest.mark.parametrize("name", photo_files.ODD)
def test_what_is_odd_but_a_photo_is_taken(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(photo_files.ODD[name]())
    assert taken_in(path).facts["width"] >= 64


def test_a_file_name_that_is_no_text_is_taken(tmp_path: Path) -> None:
    path = Path(str(tmp_path), b"\xff\xfe.jpg".decode(errors="surrogateescape"))
    path.write_bytes(photo_files.encode_photo("JPEG"))
    assert taken_in(path).facts["format"] == "jpeg"


def test_what_was_passed_over_is_noted(tmp_path: Path) -> None:
    words = {"huge exif.png": "EXIF", "broken profile.jpg": "profile", "gray profile on color.jpg": "profile"}
    for name, word in words.items():
        (tmp_path / name).write_bytes(photo_files.ODD[name]())
        facts = taken_in(tmp_path / name).facts
        assert word in " ".join(facts["notes"])
        assert facts["profile"] is None


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_the_proxy_is_upright(kind: str, orientation: int, tmp_path: Path) -> None:
    path = tmp_path / "photo"
    stored = Image.fromarray(photographs.color_photo(2, 200)[:120])
    stored.save(path, kind, exif=photo_files.make_exif(orientation), **({"lossless": True} if kind == "WEBP" else {}))
    ingested = taken_in(path)
    looked_at = np.asarray(ImageOps.exif_transpose(Image.open(path))).astype(int)
    assert ingested.facts["orientation"] == orientation
    assert (ingested.facts["height"], ingested.facts["width"]) == looked_at.shape[:2]
    assert np.abs(proxy_of(ingested) - looked_at).mean() < 1


@pytest.mark.parametrize(
    ("name", "gamma", "primaries"),
    [("Wide", 1.8, photo_files.PROPHOTO_PRIMARIES), ("Adobe", 2.2, photo_files.ADOBE_PRIMARIES)],
)
def test_the_proxy_shows_the_same_colors_as_a_wide_original(
    name: str, gamma: float, primaries: tuple[tuple[float, ...], ...], tmp_path: Path
) -> None:
    photo = photographs.color_photo(2, 128)
    srgb = Image.fromarray(photo)
    profile = photo_files.make_icc_profile(name, gamma, primaries)
    moved = photo_files.convert_to_profile(srgb, profile)
    assert np.abs(np.asarray(moved).astype(int) - photo).mean() > 5
    moved.save(tmp_path / "wide.png", icc_profile=profile)
    ingested = taken_in(tmp_path / "wide.png")
    assert ingested.facts["profile"] == name
    assert np.abs(proxy_of(ingested) - photo).mean() < 1.5


def test_the_proxy_is_as_long_as_the_recipe_says_and_never_longer_than_the_photo(tmp_path: Path) -> None:
    large, small = tmp_path / "large.jpg", tmp_path / "small.jpg"
    Image.fromarray(photographs.color_photo(0)).resize((3000, 2000)).save(large)
    Image.fromarray(photographs.color_photo(0)).resize((300, 200)).save(small)
    assert proxy_of(taken_in(large)).shape == (512, 768, 3)
    assert proxy_of(taken_in(large, parse({"proxy_side": 256}))).shape == (171, 256, 3)
    assert proxy_of(taken_in(small)).shape == (200, 300, 3)


def test_a_bomb_is_never_decoded(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(photo_files.png_claiming(50_000, 50_000, bytes(50_000_000)))
    with pytest.raises(InvalidPhoto, match="megapixels"):
        taken_in(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 4 << 20  # kB
