"""Files that do not stream: they are converted, their colors stay, and the note says what became of them."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tests import odd_photos
from tests.integration.workers.imaging.sample_renders import DENSITY, RECIPE, SETTINGS, decode, render_file

from retint_models.layers.color import linear_to_srgb
from retint_workers.imaging.decoding import conversion
from retint_workers.imaging.ingest import ingest
from retint_workers.imaging.streams import read_strips


def decode_in_srgb(path: Path, folder: Path) -> NDArray[np.float64]:
    """The pixels that are restored, as sRGB in codes of 255."""
    header = conversion.open_photo(path, 1000, folder)
    pixels = np.concatenate([strip for _, strip in read_strips(header)])
    pixels = pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)
    codes = pixels.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max)
    if header.space.encoding is None:
        return np.asarray(codes * 255, np.float64)
    return np.asarray(linear_to_srgb(header.space.encoding.decode(codes)) * 255, np.float64)


@pytest.mark.parametrize("name", odd_photos.CONVERTED)
def test_what_does_not_stream_is_converted_and_looks_the_same(name: str, tmp_path: Path) -> None:
    result_format, bits, bands, tolerance, make = odd_photos.CONVERTED[name]
    path = tmp_path / name
    path.write_bytes(make())
    header = conversion.open_photo(path, 1000, tmp_path)
    assert (header.result_format, header.bits, header.bands) == (result_format, bits, bands)
    assert conversion.find_result_format(path) == result_format
    assert any(note.startswith("Converted from ") for note in header.notes)
    shown = decode_in_srgb(path, tmp_path)
    is_gray = bands == 1 or "gray" in name
    wanted = odd_photos.HEIC_PHOTO if path.suffix == ".heic" else odd_photos.GRAY if is_gray else odd_photos.PHOTO
    wanted = wanted if wanted.ndim == 3 else np.repeat(wanted[..., None], 3, axis=2)
    assert np.abs(shown - wanted).mean() <= tolerance + 0.15  # sRGB's curve and rounding


@pytest.mark.parametrize("name", odd_photos.CONVERTED)
def test_a_converted_photo_is_restored(name: str, tmp_path: Path) -> None:
    result_format, bits, bands, _, make = odd_photos.CONVERTED[name]
    path = tmp_path / name
    path.write_bytes(make())
    facts = ingest(path, RECIPE, SETTINGS).facts
    rendered = render_file(path, None, DENSITY)
    result = rendered.files["result"]
    assert rendered.facts["format"] == result_format
    pixels = decode(result)
    assert pixels.dtype.itemsize * 8 == bits
    assert (pixels.shape[2] if pixels.ndim == 3 else 1) == bands
    assert pixels.shape[:2] == (facts["height"], facts["width"])


def test_converting_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("print.jpg", "16.jp2", "cie lab.tif", "10.avif"):
        path = tmp_path / name
        path.write_bytes(odd_photos.CONVERTED[name][4]())
        working = []
        for run in ("first", "second"):
            (tmp_path / name[:-4] / run).mkdir(parents=True)
            working.append(conversion.open_photo(path, 1000, tmp_path / name[:-4] / run).pixels.read_bytes())
        assert working[0] == working[1]
