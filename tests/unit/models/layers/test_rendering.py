"""The kernel: what it promises about luma, strips, depth and repeatability, on real photographs."""

from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from tests import photographs, sample_layers

from retint_models.layers import encodings, rendering
from retint_models.layers.color import LUMA
from retint_models.layers.rendering import Rendering, apply, colorize_proxy, luma_drift
from retint_models.layers.types import ColorLayer, DensityLayer
from retint_models.networks import compact_defade

DEV = Path("../shared/data/dev")


@cache
def real_photographs() -> list[NDArray[np.uint8]]:
    """Color photographs, uint8 (h, w, 3): the development set where it is at hand, else those of scikit-image."""
    files = sorted(DEV.glob("*.jpg"))[::8]
    return [np.asarray(Image.open(file).convert("RGB")) for file in files] or [
        photographs.color_photo(n) for n in range(8)
    ]


def exact_luma(pixels: NDArray[Any]) -> NDArray[np.float64]:
    """Luma in code values, computed in another way than the renderer does."""
    if pixels.ndim == 2:
        return pixels.astype(np.float64)
    red, green, blue = pixels.astype(np.float64).transpose(2, 0, 1)
    return np.asarray(LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue)


def smaller(photo: NDArray[Any], side: int = 64) -> NDArray[np.uint8]:
    image = Image.fromarray(photo)
    image.thumbnail((side, side))
    return np.asarray(image)


def plain_layer(shift: float) -> DensityLayer:
    """A layer that adds the same density everywhere."""
    curves = np.stack([np.linspace(0, 2.6, 9, dtype=np.float32)] * 3)
    grid = np.zeros((6, 8, 4, 4), np.float32)
    return DensityLayer(np.eye(3, dtype=np.float32), np.full(3, shift, np.float32), curves, grid, 1.0)


@pytest.mark.parametrize("gain", [1.0, 2.5])
@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("toned", [False, True])
def test_color_alone_never_moves_luma_by_more_than_a_code_value(gain: float, wide: bool, toned: bool) -> None:
    for photo in real_photographs():
        layer = sample_layers.color_layer(smaller(photo))
        vivid = ColorLayer((layer.chroma * gain).astype(np.float16), layer.luma, layer.confidence)
        original = photographs.to_sepia(photographs.to_gray(photo)) if toned else photographs.to_gray(photo)
        original = photographs.to_16_bits(original) if wide else original
        result = apply(original, 0, original.shape[:2], vivid, None)
        drift = np.abs(exact_luma(result) - exact_luma(original)).max() / np.iinfo(original.dtype).max
        assert drift <= 1 / 255
        assert luma_drift(original, result) == pytest.approx(drift, abs=1e-9)


def test_true_chroma_brings_the_photograph_back() -> None:
    for photo in real_photographs()[:6]:
        result = colorize_proxy(
            np.repeat(photographs.to_gray(photo)[..., None], 3, axis=2), sample_layers.color_layer(photo)
        )
        error = np.abs(result.astype(int) - photo)  # larger only where rounded luma leaves a saturated color no room
        assert np.percentile(error, 99.5) <= 1
        assert error.max() <= 8


def test_luma_detail_beats_plain_interpolation() -> None:
    errors = []
    for photo in real_photographs():
        layer, gray = sample_layers.color_layer(smaller(photo)), photographs.to_gray(photo)
        flat = ColorLayer(layer.chroma, np.full_like(layer.luma, 0.5), layer.confidence)
        shown = [apply(gray, 0, gray.shape, each, None).astype(int) for each in (layer, flat)]
        errors.append([np.abs(each - photo).mean() for each in shown])
    detailed, plain = np.mean(errors, axis=0)
    assert detailed < plain * 0.99


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("kind", ["gray", "rgb"])
@pytest.mark.parametrize("layers", ["color", "density", "both"])
def test_the_height_of_strips_changes_no_byte(bits: int, kind: str, layers: str) -> None:
    photo = photographs.color_photo(3, 150)[:101]
    original = photographs.to_gray(photo) if kind == "gray" else photo
    original = photographs.to_16_bits(original) if bits == 16 else original
    color = sample_layers.color_layer(smaller(photo, 40)) if layers != "density" else None
    density = sample_layers.density_layer() if layers != "color" else None
    whole = apply(original, 0, (101, 150), color, density)
    rendering = Rendering(color, density)
    for height in (1, 2, 7, 64, 100):
        tops = [*range(0, 101, height), 101]
        strips = [rendering.apply(original[top:end], top, (101, 150)) for top, end in pairwise(tops)]
        assert np.concatenate(strips).tobytes() == whole.tobytes()
    assert (whole != (original[..., None] if whole.ndim > original.ndim else original)).any()


def reference(rgb: NDArray[Any], layer: DensityLayer) -> NDArray[np.float64]:
    """The defader's own formula, as it trains with it: sRGB (h, w, 3) in [0, 1]."""
    height, width = rgb.shape[:2]
    matrix, shift, curves, grid = (
        torch.from_numpy(part)[None].double() for part in (layer.matrix, layer.shift, layer.curves, layer.grid)
    )
    gate = torch.tensor([layer.gate * layer.strength], dtype=torch.float64)
    decision = compact_defade.DefadeDecision(matrix, shift, curves, grid, gate, gate_logit=gate)
    pixels = torch.from_numpy(rgb.reshape(-1, 3).T.copy())[None]
    repaired = compact_defade.repair(decision, pixels, compact_defade.pixel_positions(height, width).double())
    return repaired[0].T.reshape(height, width, 3).numpy()


@pytest.mark.parametrize("bits", [8, 16])
def test_density_is_applied_as_the_defader_means_it(bits: int) -> None:
    layer, full = sample_layers.density_layer(change=0.3, gate=0.8), (1 << bits) - 1
    for number in range(4):
        photo = photographs.color_photo(number, 120)
        original = photographs.to_16_bits(photo) if bits == 16 else photo
        result = apply(original, 0, original.shape[:2], None, layer) / full
        wanted = reference(original / full, layer)
        assert np.abs(wanted - original / full).mean() > 0.03
        bright = (original > full * 0.02).all(axis=2)  # below that the defader knows only one black
        assert np.abs(result - wanted)[bright].max() < 0.5 / full + 1e-4


def test_density_is_what_the_defader_means_all_over_a_wide_photo() -> None:
    """Columns are worked on in blocks, which end in the middle of it and at each sample of the grid."""
    photo = np.random.default_rng(1).integers(3000, 65_536, (3, 2311, 3), np.uint16)
    for cells in (1, 3, 16):
        layer = sample_layers.density_layer(change=0.3)
        grid = np.random.default_rng(2).normal(0, 0.1, (6, 8, cells, cells)).astype(np.float32)
        layer = DensityLayer(layer.matrix, layer.shift, layer.curves, grid, 1.0)
        result = apply(photo, 0, (3, 2311), None, layer) / 65_535
        assert np.abs(result - np.clip(reference(photo / 65_535, layer), 0, 1)).max() < 2e-5


def test_color_is_what_the_maps_say_all_over_a_wide_photo() -> None:
    width = 2311
    ramp = np.linspace(-0.1, 0.1, 77) * np.ones((5, 1))
    layer = ColorLayer(
        np.stack([ramp, -ramp]).astype(np.float16), np.full((5, 77), 0.5, np.float16), np.zeros((5, 77), np.uint8)
    )
    gray = np.full((9, width), 32_768, np.uint16)
    result = apply(gray, 0, gray.shape, layer, None) / 65_535
    at = np.clip((np.arange(width) + 0.5) * 77 / width - 0.5, 0, 76)
    wanted = np.interp(at, np.arange(77), layer.chroma[1, 0].astype(float)) * 1.5748 + 32_768 / 65_535
    assert np.abs(result[..., 0] - wanted).max() < 2e-5


@pytest.mark.parametrize("threads", [2, 3, 7, 1000])
@pytest.mark.parametrize("encoding", [None, encodings.CurvesAndMatrix(np.linspace(0, 1, 4097)[None], np.eye(3))])
def test_the_number_of_threads_changes_no_byte(
    threads: int, encoding: encodings.Encoding | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rendering, "LEAST_PIXELS", 1)
    photo = photographs.color_photo(3, 150)[:101]
    layers = sample_layers.color_layer(smaller(photo, 40)), sample_layers.density_layer()
    alone, many = (Rendering(*layers, encoding=encoding, threads=number) for number in (1, threads))
    for top, end in ((0, 101), (40, 41), (50, 60)):
        strip = photo[top:end]
        assert many.apply(strip, top, (101, 150)).tobytes() == alone.apply(strip, top, (101, 150)).tobytes()


def test_strips_that_are_rendered_at_the_same_time_are_the_same() -> None:
    photo = photographs.to_16_bits(photographs.color_photo(3, 600)[:400])
    rendering = Rendering(
        sample_layers.color_layer(smaller(photographs.color_photo(3, 150))), sample_layers.density_layer()
    )
    size, tops = photo.shape[:2], range(0, 400, 20)
    with ThreadPoolExecutor(4) as threads:
        strips = list(threads.map(lambda top: rendering.apply(photo[top : top + 20], top, size), tops))
    assert np.concatenate(strips).tobytes() == rendering.apply(photo, 0, size).tobytes()


def test_a_closed_gate_and_a_layer_that_says_nothing_change_nothing() -> None:
    ramp = np.arange(65_536, dtype=np.uint16).reshape(256, 256)
    nothing = plain_layer(shift=0.0)
    for layer in (sample_layers.density_layer(gate=0.0), nothing):
        assert (apply(ramp, 0, ramp.shape, None, layer) == ramp).all()


def test_a_neutral_photo_stays_gray_where_only_tone_is_repaired() -> None:
    gray = photographs.to_gray(photographs.color_photo(0))
    result = apply(gray, 0, gray.shape, None, sample_layers.density_layer())
    assert result.shape == gray.shape


@pytest.mark.parametrize("orientation", range(1, 9))
def test_layers_are_turned_the_way_the_photo_is_stored(orientation: int) -> None:
    upright = photographs.color_photo(1, 90)[:60]
    image = Image.fromarray(upright)
    exif = Image.Exif()
    exif[274] = orientation
    stored = next(  # the pixels which EXIF turns into the upright picture
        candidate
        for candidate in [image, *(image.transpose(method) for method in Image.Transpose)]
        if turned(candidate, orientation) == image
    )
    color, density = sample_layers.color_layer(smaller(upright, 30)), sample_layers.density_layer()
    gray = photographs.to_gray(np.asarray(stored))
    result = Rendering(color, density, orientation=orientation).apply(gray, 0, gray.shape)
    wanted = apply(photographs.to_gray(upright), 0, upright.shape[:2], color, density)
    assert np.abs(np.asarray(turned(Image.fromarray(result), orientation)).astype(int) - wanted).max() <= 1


def turned(image: Image.Image, orientation: int) -> Image.Image:
    image = image.copy()
    image.getexif()[274] = orientation
    return ImageOps.exif_transpose(image)


def test_no_photo_is_too_small_or_odd_for_its_layers() -> None:
    luma = np.full((1, 1), 0.5, np.float16)
    record = {"order": "tone-first"}
    tiny = ColorLayer(np.full((2, 1, 1), 0.1, np.float16), luma, np.zeros((1, 1), np.uint8), record)
    for shape in ((1, 1), (1, 50), (50, 1)):
        assert apply(np.full(shape, 128, np.uint8), 0, shape, tiny, sample_layers.density_layer()).shape == (*shape, 3)


def test_tone_is_repaired_in_light_whatever_the_curve() -> None:
    gray = np.arange(65_536, dtype=np.uint16).reshape(256, 256)
    darker = plain_layer(shift=0.2)
    coding = encodings.CurvesAndMatrix(np.linspace(0, 1, 4097)[None] ** 1.8, np.eye(3))
    result = Rendering(None, darker, encoding=coding).apply(gray, 0, gray.shape) / 65_535
    wanted = ((gray / 65_535) ** 1.8 * 10**-0.2) ** (1 / 1.8)
    assert np.abs(result - wanted)[gray > 2000].max() < 1e-3


def test_what_is_no_strip_of_the_photo_is_refused() -> None:
    rows = np.zeros((10, 20), np.uint8)
    for bad, top in ((rows.astype(np.float32), 0), (rows[:, :19], 0), (rows, 95), (np.zeros((10, 20, 4), np.uint8), 0)):
        with pytest.raises(ValueError, match=r"expected|do not lie"):
            apply(bad, top, (100, 20), None, None)


def test_the_change_of_luma_is_measured_on_rows_with_padding_beside_them_too() -> None:
    before, after = (np.random.default_rng(seed).integers(0, 256, (6, 20, 3), np.uint8) for seed in (1, 2))
    cut = luma_drift(before[:, :13], after[:, :13])
    assert cut == luma_drift(before[:, :13].copy(), after[:, :13].copy()) > 0
