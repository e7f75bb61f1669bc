"""Layers act in the order that they were decided for: tone first, or color first as the first layers were made."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests import photographs, sample_layers

from retint_models.layers.encodings import CurvesAndMatrix
from retint_models.layers.rendering import Rendering, apply, luma_drift, repair_proxy
from retint_models.layers.types import ColorLayer, DensityLayer, Order, set_order

GRAY = photographs.to_16_bits(photographs.to_gray(photographs.color_photo(2, 96)))
SEPIA = photographs.to_16_bits(photographs.to_sepia(photographs.to_gray(photographs.color_photo(2, 96))))
SIZE = GRAY.shape
COLOR = sample_layers.color_layer(photographs.color_photo(2, 48))
DENSITY = sample_layers.density_layer(change=0.2)
ENCODINGS = {
    "sRGB": None,
    "wide": CurvesAndMatrix(np.linspace(0, 1, 4097)[None] ** 1.8, np.array([[1.4, -0.4, 0], [0, 1, 0], [0, 0, 1]])),
}


@pytest.mark.parametrize("strength", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("picture", [GRAY, SEPIA], ids=["gray", "sepia"])
@pytest.mark.parametrize("name", ENCODINGS)
def test_tone_first_color_keeps_the_luma_of_the_repaired_tone(
    name: str, picture: NDArray[Any], strength: float
) -> None:
    density, encoding = replace(DENSITY, strength=strength), ENCODINGS[name]
    both = Rendering(COLOR, density, encoding=encoding)
    toned = Rendering(None, density, encoding=encoding).apply(picture, 0, SIZE)
    result = both.apply(picture, 0, SIZE)
    assert luma_drift(toned, result) < 2 / 65535
    assert both.measure_color_drift(picture, 0, SIZE) < 2 / 65535
    assert (luma_drift(picture, result) > 0.05) == (strength > 0)
    assert np.ptp(result.astype(int), axis=2).mean() > 3000, "there is color"


def test_rounding_to_eight_bits_is_no_drift() -> None:
    shallow = (GRAY >> 8).astype(np.uint8)
    assert Rendering(COLOR, DENSITY).measure_color_drift(shallow, 0, SIZE) < 2 / 65535


def test_color_that_moves_luma_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    both, moved = Rendering(COLOR, DENSITY), sample_layers.density_layer(change=0.3)
    apply_both = both.apply
    monkeypatch.setattr(both, "apply", lambda *strip: apply(apply_both(*strip), 0, SIZE, None, moved))
    assert both.measure_color_drift(GRAY, 0, SIZE) > 0.02


@pytest.mark.parametrize("name", ENCODINGS)
def test_chroma_follows_what_the_colorizer_saw_at_any_strength(name: str) -> None:
    """Where the photo is exactly what the colorizer saw, chroma is the layer's, without any detail added."""
    flat = np.full((40, 60, 3), 24_000, np.uint16)
    luma = (repair_proxy(flat, DENSITY) @ np.array([0.2126, 0.7152, 0.0722])) / 65535
    ramp = np.linspace(-0.05, 0.05, 60) * np.ones((40, 1))
    chroma = np.stack([ramp, -ramp]).astype(np.float16)
    color = ColorLayer(chroma, luma.astype(np.float16), np.zeros((40, 60), np.uint8), COLOR.record)
    shown = {}
    for strength in (0.2, 1.0):
        result = Rendering(color, replace(DENSITY, strength=strength)).apply(flat, 0, (40, 60)) / 65535
        shown[strength] = (result[..., 0] - result @ np.array([0.2126, 0.7152, 0.0722])) / 1.5748
    assert np.abs(shown[1.0] + ramp).max() < 2e-3
    assert np.abs(shown[0.2] - shown[1.0]).max() < 1e-3


@pytest.mark.parametrize("picture", [GRAY, SEPIA], ids=["gray", "sepia"])
def test_color_first_the_tone_of_the_colored_picture_is_repaired(picture: NDArray[Any]) -> None:
    color, density = set_order(COLOR, Order.COLOR_FIRST), set_order(DENSITY, Order.COLOR_FIRST)
    wanted = apply(apply(picture, 0, SIZE, color, None), 0, SIZE, None, density).astype(int)
    assert np.abs(apply(picture, 0, SIZE, color, density) - wanted).max() < 30, "but for rounding between"
    assert np.abs(apply(picture, 0, SIZE, COLOR, DENSITY) - wanted).mean() > 300
    assert Rendering(color, density).measure_color_drift(picture, 0, SIZE) < 2 / 65535


def test_layers_of_different_orders_are_not_applied_together() -> None:
    with pytest.raises(ValueError, match="color layer is tone-first, and the density layer color-first"):
        Rendering(COLOR, set_order(DENSITY, Order.COLOR_FIRST))


# --- files ------------------------------------------------------------------------------------------------------------


def as_former(data: bytes) -> bytes:
    """Spell the header of a layer's file as the first version did."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header["__metadata__"] = {"retint_layer": header["__metadata__"]["layer"]}
    spelled = json.dumps(header).encode()
    return len(spelled).to_bytes(8, "little") + spelled + data[8 + length :]


def read_as_formerly(data: bytes) -> dict[str, Any]:
    """Read a layer's header as a worker of the first version does."""
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return dict(json.loads(header["__metadata__"]["retint_layer"]))


@pytest.mark.parametrize("layer", [COLOR, DENSITY], ids=["color", "density"])
def test_the_first_layers_are_color_first(layer: ColorLayer | DensityLayer) -> None:
    before = {name: value for name, value in layer.record.items() if name != "order"}
    former = as_former(replace(layer, record=before).to_bytes())
    assert read_as_formerly(former)["record"] == before
    assert type(layer).from_bytes(former).order is Order.COLOR_FIRST
    assert type(layer).from_bytes(layer.to_bytes()).order is Order.TONE_FIRST


@pytest.mark.parametrize("layer", [COLOR, DENSITY], ids=["color", "density"])
def test_a_worker_of_the_first_version_refuses_newer_layers(layer: ColorLayer | DensityLayer) -> None:
    with pytest.raises(KeyError):
        read_as_formerly(layer.to_bytes())


def test_an_order_that_is_not_known_is_refused() -> None:
    with pytest.raises(ValueError, match="sideways"):
        ColorLayer.from_bytes(replace(COLOR, record=COLOR.record | {"order": "sideways"}).to_bytes())
