"""Photos that are not coded as sRGB: their codes survive, and layers act on them as they act on sRGB."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests import photographs, sample_layers

from retint_models.layers.color import LUMA, linear_to_srgb, srgb_to_linear
from retint_models.layers.encodings import CurvesAndMatrix, to_unit_range
from retint_models.layers.rendering import Rendering
from retint_models.layers.types import ColorLayer, DensityLayer

CODES = np.linspace(0, 1, 4097)
WIDE = np.array([[1.66, -0.588, -0.072], [-0.125, 1.133, -0.008], [-0.018, -0.101, 1.119]])
"""Rec. 2020 to Rec. 709."""
CODINGS = {
    "linear": CurvesAndMatrix(CODES[None], np.eye(3)),
    "wide": CurvesAndMatrix(CODES[None] ** 1.8, WIDE),
    "three curves": CurvesAndMatrix(np.stack([CODES**2.4, CODES**2, CODES**1.6]), np.eye(3)),
    "flat ends": CurvesAndMatrix(np.clip(CODES[None] * 1.2 - 0.1, 0, 1) ** 2.2, WIDE),
}


def codes_of(coding: CurvesAndMatrix, srgb: NDArray[Any]) -> NDArray[np.uint16]:
    """Code values, uint16, of sRGB in [0, 1]."""
    encoded = np.clip(coding.encode(srgb_to_linear(srgb).astype(np.float32)), 0, 1)
    return np.asarray(encoded * 65535 + 0.5, np.uint16)


def srgb_of(coding: CurvesAndMatrix, codes: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(linear_to_srgb(coding.decode(to_unit_range(codes))), np.float64)


def silent_layer() -> DensityLayer:
    """An open layer that changes nothing."""
    curves = np.stack([np.linspace(0, 2.6, 9, dtype=np.float32)] * 3)
    return DensityLayer(
        np.eye(3, dtype=np.float32), np.zeros(3, np.float32), curves, np.zeros((6, 8, 4, 4), np.float32), 1.0
    )


@pytest.mark.parametrize("name", CODINGS)
def test_code_values_come_back(name: str) -> None:
    coding = CODINGS[name]
    codes = np.random.default_rng(1).uniform(0.1 if name == "flat ends" else 0, 0.9, (50, 50, 3)).astype(np.float32)
    assert np.abs(coding.encode(coding.decode(codes)) - codes).max() < 1e-4


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("name", CODINGS)
def test_a_layer_that_says_nothing_changes_no_code_value_not_even_outside_of_srgb(name: str, bits: int) -> None:
    steps = np.linspace(0, (1 << bits) - 1, 17).astype(np.uint16 if bits == 16 else np.uint8)
    codes = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(17, -1, 3)
    assert (name == "linear") != bool((CODINGS[name].decode(to_unit_range(codes)) < 0).any()) or name == "three curves"
    for pixels in (codes, codes[..., 0]):
        result = Rendering(None, silent_layer(), encoding=CODINGS[name]).apply(pixels, 0, pixels.shape[:2])
        assert (result == pixels).all()


def test_colors_outside_of_srgb_stay_outside_and_move_along_with_the_tone() -> None:
    green = np.full((1, 1, 3), (2000, 30000, 3000), np.uint16)
    before = CODINGS["wide"].decode(to_unit_range(green))[0, 0]
    assert before.min() < 0
    layer = DensityLayer(**{**vars(silent_layer()), "shift": np.full(3, -0.2, np.float32)})
    after = CODINGS["wide"].decode(
        to_unit_range(Rendering(None, layer, encoding=CODINGS["wide"]).apply(green, 0, (1, 1)))
    )
    assert after[0, 0] == pytest.approx(before * 10**0.2, rel=0.02)


def three_bands(pixels: NDArray[Any]) -> NDArray[Any]:
    return np.repeat(pixels[..., None], 3, axis=2) if pixels.ndim == 2 else pixels


@pytest.mark.parametrize("kind", ["gray", "color"])
@pytest.mark.parametrize("name", ["linear", "wide"])
def test_tone_looks_as_its_rendering_in_srgb_does(name: str, kind: str) -> None:
    photo = photographs.color_photo(2, 120)
    plain = photographs.to_16_bits(photographs.to_gray(photo) if kind == "gray" else photo)
    density = sample_layers.density_layer(change=0.15)
    wanted = three_bands(Rendering(None, density).apply(plain, 0, plain.shape[:2])) / 65535
    codes = codes_of(CODINGS[name], three_bands(plain) / 65535)
    codes = codes[..., 1] if kind == "gray" else codes
    found = srgb_of(
        CODINGS[name], three_bands(Rendering(None, density, encoding=CODINGS[name]).apply(codes, 0, codes.shape[:2]))
    )
    assert np.abs(wanted - three_bands(plain) / 65535).mean() * 255 > 3
    assert np.abs(found - wanted).mean() * 255 < 0.1


@pytest.mark.parametrize("name", ["linear", "wide"])
def test_color_is_as_strong_and_of_the_same_hue_as_in_srgb(name: str) -> None:
    photo = photographs.color_photo(1, 120)
    plain = photographs.to_16_bits(photographs.to_gray(photo))
    layer = sample_layers.color_layer(photo[::2, ::2])
    layer = ColorLayer((layer.chroma * 0.5).astype(np.float16), layer.luma, layer.confidence)
    wanted = srgb_to_linear(Rendering(layer, None).apply(plain, 0, plain.shape) / 65535)
    codes = codes_of(CODINGS[name], three_bands(plain) / 65535)[..., 1]
    found = CODINGS[name].decode(
        to_unit_range(Rendering(layer, None, encoding=CODINGS[name]).apply(codes, 0, codes.shape))
    )
    chroma = [each / each.mean(axis=2, keepdims=True) - 1 for each in (wanted, found)]
    assert np.abs(chroma[0]).mean() > 0.1
    assert np.abs(chroma[1] - chroma[0]).mean() < 0.06 * np.abs(chroma[0]).mean()


@pytest.mark.parametrize("name", CODINGS)
def test_color_alone_keeps_the_luma_of_code_values(name: str) -> None:
    for number in range(4):
        photo = photographs.color_photo(number, 120)
        layer = sample_layers.color_layer(photo[::2, ::2])
        vivid = ColorLayer((layer.chroma * 2).astype(np.float16), layer.luma, layer.confidence)
        gray = photographs.to_16_bits(photographs.to_gray(photo))
        result = Rendering(vivid, None, encoding=CODINGS[name]).apply(gray, 0, gray.shape)
        assert np.abs(result @ np.array(LUMA) - gray).max() <= 1
        assert np.ptp(result, axis=2).mean() > 1000


@pytest.mark.parametrize("name", CODINGS)
def test_the_height_of_strips_changes_no_byte_in_any_coding(name: str) -> None:
    photo = photographs.color_photo(3, 150)[:101]
    rendering = Rendering(
        sample_layers.color_layer(photo[::2, ::2]), sample_layers.density_layer(), encoding=CODINGS[name]
    )
    whole = rendering.apply(photo, 0, (101, 150))
    for height in (1, 7, 64, 100):
        tops = [*range(0, 101, height), 101]
        strips = [rendering.apply(photo[top:end], top, (101, 150)) for top, end in pairwise(tops)]
        assert np.concatenate(strips).tobytes() == whole.tobytes()
