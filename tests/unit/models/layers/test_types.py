"""Layers as files."""

import numpy as np
import pytest

from retint_models.layers.types import ColorLayer, DensityLayer, pack


def layer() -> ColorLayer:
    record = {"colorizer": "compact", "weights": "ab" * 32, "settings": {"gain": 2.2}, "decided_at": "2026-01-01"}
    return ColorLayer(
        np.full((2, 3, 4), 0.25, np.float16), np.ones((3, 4), np.float16), np.full((3, 4), 7, np.uint8), record
    )


def test_the_same_layer_gives_the_same_bytes() -> None:
    assert len({layer().to_bytes() for _ in range(20)}) == 1


def test_a_layer_is_read_as_it_was_written() -> None:
    read = ColorLayer.from_bytes(layer().to_bytes())
    assert read.record == layer().record
    for name in ("chroma", "luma", "confidence"):
        assert np.array_equal(getattr(read, name), getattr(layer(), name))


@pytest.mark.parametrize(
    ("data", "sentence"),
    [(layer().to_bytes(), "expected a density layer"), (layer().to_bytes()[:-1], "not a layer"), (b"", "not a layer")],
)
def test_what_is_no_density_layer_is_refused(data: bytes, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        DensityLayer.from_bytes(data)


def test_a_layer_without_a_record_is_refused() -> None:
    with pytest.raises(ValueError, match="not a layer"):
        ColorLayer.from_bytes(pack("color", {}, {})[:20])
