"""Whether a network decides the same about a picture, bit for bit, whatever pictures are passed with it."""

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retint_models.layers.types import ColorLayer, DensityLayer

Layer = ColorLayer | DensityLayer


def assert_the_same_in_any_bundle(
    decide: Callable[[list[NDArray[np.uint8]]], Sequence[Layer]],
    picture: NDArray[np.uint8],
    same_size: list[NDArray[np.uint8]],
    other_sizes: list[NDArray[np.uint8]],
) -> None:
    """Pass a picture alone, with others of its size, and with others of other sizes, at every place."""
    alone = decide([picture])[0]
    assert alone.record["precision"] in ("float32", "bfloat16"), "without it the decision cannot be made again"
    bundles = [
        [picture, *same_size],
        [*same_size, picture],
        [*other_sizes, picture],
        [same_size[0], *other_sizes, picture, *same_size[1:]],
        [picture, picture],
    ]
    for bundle in bundles:
        layers = decide(bundle)
        assert len(layers) == len(bundle)
        for passed, layer in zip(bundle, layers, strict=True):
            if passed is picture:
                assert tensors_of(layer) == tensors_of(alone)


def tensors_of(layer: Layer) -> dict[str, Any]:
    """Return all that a layer decides as bytes, and what it says of itself but when it was decided."""
    record = {name: value for name, value in layer.record.items() if name != "decided_at"}
    values = {each.name: getattr(layer, each.name) for each in fields(layer) if each.name != "record"}
    return {name: np.asarray(value).tobytes() for name, value in values.items()} | record
