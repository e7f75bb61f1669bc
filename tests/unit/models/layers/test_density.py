"""Density of sRGB and back, in float32: near the formulas, and the same bytes however many values are worked on."""

from typing import Any

import numpy as np
import pytest
from numba import njit
from numpy.typing import NDArray

from retint_models.layers import color, density

CODES = np.arange(65_536) / 65_535


@njit
def _map(function: Any, values: NDArray[np.float32], mapped: NDArray[np.float32]) -> None:
    for x in range(values.size):
        mapped[x] = function(values[x])


def apply(function: Any, values: Any) -> NDArray[np.float32]:
    values = np.asarray(values, np.float32)
    mapped: NDArray[np.float32] = np.empty_like(values)
    _map(function, values, mapped)
    return mapped


def test_powers_and_logarithms_are_those_of_two() -> None:
    exponents = np.linspace(-30, 30, 50_001, dtype=np.float32)
    assert np.abs(apply(density.exp2, exponents) / np.exp2(exponents.astype(float)) - 1).max() < 2e-7
    values = np.exp2(exponents)
    assert np.abs(apply(density.find_log2, values) - np.log2(values.astype(float))).max() < 2e-6
    assert apply(density.exp2, [0, 1, -3]).tolist() == [1, 2, 0.125]
    assert apply(density.find_log2, [1, 2, 0.125]).tolist() == [0, 1, -3]


def test_densities_are_those_of_the_formulas() -> None:
    assert np.abs(apply(density.srgb_to_density, CODES) - color.srgb_to_density(CODES)).max() < 1e-6
    densities = np.linspace(0, 8, 50_001)
    assert np.abs(apply(density.density_to_srgb, densities) - color.density_to_srgb(densities)).max() < 1e-6


def test_there_and_back_no_code_value_changes() -> None:
    dark = CODES > density.BLACKEST_SRGB
    back = apply(density.density_to_srgb, apply(density.srgb_to_density, CODES))
    assert np.abs(back - CODES)[dark].max() * 65_535 < 0.1


def test_what_lies_outside_is_its_end() -> None:
    ends = apply(density.srgb_to_density, [-1, 0, 1, 2]).tolist()
    assert ends == pytest.approx([density.BLACKEST, density.BLACKEST, 0, 0], abs=1e-7)
    white, black = apply(density.density_to_srgb, [-1, 100]).tolist()
    assert white == pytest.approx(1, abs=1e-7)
    assert 0 <= black < 1e-6


@pytest.mark.parametrize("function", [density.srgb_to_density, density.density_to_srgb])
def test_one_value_alone_gives_the_same_bytes_as_among_many(function: Any) -> None:
    values = np.random.default_rng(1).uniform(0, 1, 61).astype(np.float32)
    alone = [apply(function, values[n : n + 1])[0] for n in range(len(values))]
    assert apply(function, values).tobytes() == np.array(alone).tobytes()
