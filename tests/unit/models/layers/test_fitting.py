"""A density layer fitted to a repaired picture: it comes near, never falls, and keeps gray gray."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.photographs import color_photo

from retint_models.datasets import fading
from retint_models.layers.color import rec709_luma, srgb_to_density
from retint_models.layers.fitting import fit_layer
from retint_models.layers.rendering import apply
from retint_models.layers.types import DensityLayer

Floats = NDArray[np.float32]


def truth(number: int) -> Floats:
    return rec709_luma(fading.as_floats(color_photo(number, 288)))[..., 0]


def silver(number: int) -> Floats:
    """A brown and uneven print, as gray as the network sees it."""
    rng = np.random.default_rng(number)
    gray = np.repeat(truth(number)[..., None], 3, -1)
    faded = fading.fade_silver_print(srgb_to_density(gray), rng, rng.uniform(0.15, 1.1))
    return rec709_luma(fading.scan_at_random(faded, rng))[..., 0]


def relit(number: int) -> Floats:
    """What DeOldify's defader learned to undo: brightness and contrast about the mean, cut off at black and white."""
    brightness, contrast = np.random.default_rng(number).uniform((-0.15, -0.5), (0.15, 0.5))
    factor = contrast + 1 if contrast >= 0 else 1 / (1 - contrast)
    clean = truth(number)
    made: Floats = np.clip((clean - clean.mean()) * factor + clean.mean() + brightness, 0, 1).astype(np.float32)
    return made


def shown(values: Floats, layer: DensityLayer) -> NDArray[np.uint8]:
    pixels = fading.as_bytes(np.repeat(values[..., None], 3, -1))
    return apply(pixels, 0, pixels.shape[:2], None, layer)


@pytest.mark.parametrize("age", [silver, relit])
def test_a_fitted_layer_comes_near_the_repaired_picture(age: Callable[[int], Floats]) -> None:
    before, after = [], []
    for number in range(8):
        made = shown(age(number), fit_layer(age(number), truth(number), {}))
        assert np.array_equal(made[..., 0], made[..., 1])
        before.append(np.abs(age(number) - truth(number)).mean() * 255)
        after.append(np.abs(made[..., 0] - truth(number) * 255).mean())
    print(f"\n{age.__name__}: off by {np.mean(before):.1f} code values, fitted by {np.mean(after):.2f}: {after}")
    assert np.mean(after) < np.mean(before) / 8
    assert np.mean(after) < 2.5


def test_the_grid_takes_what_no_curve_can() -> None:
    clean = truth(0)
    shade = np.linspace(0.6, 1, clean.shape[1], dtype=np.float32)
    layer = fit_layer(clean * shade, clean, {})
    flat = DensityLayer(layer.matrix, layer.shift, layer.curves, np.zeros_like(layer.grid), 1.0)
    off = [np.abs(shown(clean * shade, part)[..., 0] - clean * 255).mean() for part in (layer, flat)]
    assert off[0] < off[1] / 4


def test_no_curve_falls_even_where_the_repaired_picture_is_a_negative() -> None:
    layer = fit_layer(truth(1), 1 - truth(1), {"defader": "negative"})
    assert (np.diff(layer.curves) >= 0).all()
    assert layer.record == {"defader": "negative"}


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_a_picture_of_one_tone_can_be_fitted_to(value: float) -> None:
    flat = np.full((30, 50), value, np.float32)
    assert np.abs(shown(flat, fit_layer(flat, flat, {})).astype(int) - round(value * 255)).max() <= 1


def test_the_same_pictures_give_the_same_layer() -> None:
    one, other = (fit_layer(silver(2), truth(2), {}) for _ in range(2))
    assert np.array_equal(one.curves, other.curves)
    assert np.array_equal(one.grid, other.grid)
