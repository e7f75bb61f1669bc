"""The decisions of a network about a photo: the color layer and the density layer.

A layer is small, independent of the photo's size, and can be applied again to the untouched original without a network
(see `rendering`). It is stored as one safetensors file whose header records what made it.
"""

import json
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

DENSITY_RANGE = 2.6
"""Optical densities that a density layer covers: 0 (white) to 2.6 (1/400 of white)."""

CONFIDENCE_SCALE = 15.0
"""A color layer's confidence is exp(-e / 15), where e is the CIEDE2000 error that is expected."""

HEADER = "layer"
"""Entry of a file's header that holds kind and record."""
FORMER_HEADER = "retint_layer"
"""The entry's name while all layers were made color first. A program of that time refuses newer layers, instead of
applying them in the wrong order."""


class Order(StrEnum):
    """Which of a photo's two layers is applied first; the second one was decided on a proxy that shows the first."""

    COLOR_FIRST = "color-first"
    TONE_FIRST = "tone-first"


@dataclass(frozen=True, eq=False)
class ColorLayer:
    """The chroma that a colorizer decided, at any size with the photo's aspect ratio.

    Attributes:
        chroma: float16 (2, h, w): Cb = (B' - Y') / 1.8556 and Cr = (R' - Y') / 1.5748 of gamma-coded sRGB in
            [0, 1], hence both in [-.5, .5].
        luma: float16 (h, w): Y' in [0, 1], at the same size, of the proxy that the colorizer looked at: the guide for
            upsampling.
        confidence: uint8 (h, w): 0 (a guess) to 255 (sure), see `CONFIDENCE_SCALE`.
        record: What made it: colorizer, weights' SHA-256, settings, precision, `order`, `decided_at`. JSON values only.
    """

    chroma: NDArray[np.float16]
    luma: NDArray[np.float16]
    confidence: NDArray[np.uint8]
    record: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        size = self.luma.shape
        expect_array("chroma", self.chroma, (2, *size), np.float16)
        expect_array("luma", self.luma, size, np.float16)
        expect_array("confidence", self.confidence, size, np.uint8)

    @property
    def order(self) -> Order:
        """The order that it was decided for."""
        return read_order(self.record)

    def to_bytes(self) -> bytes:
        """Serialize as safetensors, the record in its header."""
        tensors: dict[str, NDArray[Any]] = {"chroma": self.chroma, "luma": self.luma, "confidence": self.confidence}
        return pack("color", tensors, self.record)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read what `to_bytes` wrote.

        Raises:
            ValueError: not a color layer.
        """
        tensors, record = unpack("color", data)
        return cls(tensors["chroma"], tensors["luma"], tensors["confidence"], record)


@dataclass(frozen=True, eq=False)
class DensityLayer:
    """The tone repair that a defader decided, in optical density D = -log10(linear reflectance).

    A pixel's three densities D go to

        d = matrix @ D + shift                                 (crosstalk of the dyes, stain)
        d = curve_c(d), linear between 9 knots over [0, 2.6]   (what each dye has lost)
        d = d * exp(gain_c) + offset_c, sliced from the grid   (unevenness)
        D' = D + gate * strength * (d - D)

    Attributes:
        matrix: float32 (3, 3).
        shift: float32 (3,).
        curves: float32 (3, K): values at K knots spaced evenly over [0, 2.6]; not falling; beyond the ends the
            last segment goes on.
        grid: float32 (6, 8, 16, 16), any sizes: three log gains and three offsets by luma Y', row and column; a
            sample lies in the middle of its cell, edges repeat (`align_corners=False`, border padding).
        gate: 0 (a clean photo: leave it) to 1 (faded).
        strength: 0 to 1, how much of the repair a person wants.
        record: What made it, as in `ColorLayer`.
    """

    matrix: NDArray[np.float32]
    shift: NDArray[np.float32]
    curves: NDArray[np.float32]
    grid: NDArray[np.float32]
    gate: float
    strength: float = 1.0
    record: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        expect_array("matrix", self.matrix, (3, 3), np.float32)
        expect_array("shift", self.shift, (3,), np.float32)
        expect_array("curves", self.curves, (3, self.curves.shape[-1]), np.float32)
        expect_array("grid", self.grid, (6, *self.grid.shape[1:4]), np.float32)

    @property
    def order(self) -> Order:
        """The order that it was decided for."""
        return read_order(self.record)

    def to_bytes(self) -> bytes:
        """Serialize as safetensors, the record in its header."""
        tensors = {
            "matrix": self.matrix,
            "shift": self.shift,
            "curves": self.curves,
            "grid": self.grid,
            "gate": np.array([self.gate, self.strength], np.float32),
        }
        return pack("density", tensors, self.record)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read what `to_bytes` wrote.

        Raises:
            ValueError: not a density layer.
        """
        t, record = unpack("density", data)
        gate, strength = (float(value) for value in t["gate"])
        return cls(t["matrix"], t["shift"], t["curves"], t["grid"], gate, strength, record)


Layer = TypeVar("Layer", ColorLayer, DensityLayer)
Layers = tuple[ColorLayer | None, DensityLayer | None]
"""The colorizer's decision about a picture and the defader's, as far as there are any."""


def read_order(record: dict[str, Any]) -> Order:
    """Return the order that a layer was decided for; the first layers did not say it.

    Raises:
        ValueError: the order is one that this version does not know.
    """
    return Order(record.get("order", Order.COLOR_FIRST))


def set_order(layer: Layer, order: Order) -> Layer:
    """Return a layer whose record says that it was decided for another order."""
    return replace(layer, record=layer.record | {"order": order})


def expect_array(name: str, array: NDArray[Any], shape: tuple[int, ...], dtype: type[np.generic]) -> None:
    """Check the shape and the type of an array, and that it is finite.

    Raises:
        ValueError: says what was expected and what came.
    """
    if array.shape != shape or array.dtype != dtype:
        raise ValueError(f"{name}: expected {np.dtype(dtype)} {shape}, got {array.dtype} {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: holds NaN or infinity")


def pack(kind: str, tensors: dict[str, NDArray[Any]], record: dict[str, Any]) -> bytes:
    """Write one layer as safetensors, kind and record in its header. The same layer gives the same bytes."""
    contiguous = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    # One entry: safetensors writes several in an order of its own that changes.
    return save(contiguous, {HEADER: json.dumps({"kind": kind, "record": record}, sort_keys=True)})


def unpack(kind: str, data: bytes) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Read one layer of a kind: its tensors and its record.

    Raises:
        ValueError: not safetensors, or a layer of another kind.
    """
    try:
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
        facts = json.loads(header[HEADER if HEADER in header else FORMER_HEADER])
        found, record = facts["kind"], facts["record"]
        tensors = load(data)
    except Exception as error:  # safetensors raises its own untyped error for damaged files
        raise ValueError("not a layer of Retint") from error
    if found != kind:
        raise ValueError(f"expected a {kind} layer, got a {found} layer")
    read_order(record)
    return tensors, record
