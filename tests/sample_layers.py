"""Layers for tests, made without a network."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from retint_models.layers.color import CB_SCALE, CR_SCALE, LUMA
from retint_models.layers.types import ColorLayer, DensityLayer

Pixels = NDArray[Any]


def make_record(network: str, digit: str) -> dict[str, Any]:
    return {
        "network": network,
        "weights": digit * 64,
        "settings": {},
        "order": "tone-first",
        "decided_at": "2026-01-02T03:04:05+00:00",
    }


def color_layer(rgb: Pixels) -> ColorLayer:
    """Return the layer with the true colors of an sRGB proxy, uint8 (h, w, 3)."""
    values = rgb / 255
    luma = values @ np.array(LUMA)
    chroma = np.stack([(values[..., 2] - luma) / CB_SCALE, (values[..., 0] - luma) / CR_SCALE])
    record = make_record("truth", "0")
    confidence = np.full(luma.shape, 255, np.uint8)
    return ColorLayer(chroma.astype(np.float16), luma.astype(np.float16), confidence, record)


def unsure_layer(confidence: NDArray[np.uint8]) -> ColorLayer:
    """Return a layer without color that is as sure as it is told, (h, w)."""
    chroma, luma = np.zeros((2, *confidence.shape), np.float16), np.zeros(confidence.shape, np.float16)
    return ColorLayer(chroma, luma, confidence, make_record("doubt", "2"))


def density_layer(*, change: float = 0.15, gate: float = 1.0, seed: int = 0) -> DensityLayer:
    """Return a layer that changes every pixel, differently in every channel and corner."""
    rng = np.random.default_rng(seed)
    knots = np.linspace(0, 2.6, 9)
    curves = np.maximum.accumulate(knots * (1 + change) + rng.normal(0, change / 10, (3, 9)), axis=1)
    return DensityLayer(
        matrix=(np.eye(3) + rng.normal(0, change / 5, (3, 3))).astype(np.float32),
        shift=rng.normal(0, change / 5, 3).astype(np.float32),
        curves=curves.astype(np.float32),
        grid=rng.normal(0, change / 2, (6, 8, 16, 16)).astype(np.float32),
        gate=gate,
        strength=1.0,
        record=make_record("repair", "1"),
    )
