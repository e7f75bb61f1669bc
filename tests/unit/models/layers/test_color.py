"""sRGB, density, luma and chroma in numpy."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from retint_models.layers import color
from retint_models.layers.color import density_to_srgb, join_luma_chroma, rec709_chroma, rec709_luma, srgb_to_density
from retint_models.networks import color as torch_color


@pytest.fixture
def photograph() -> NDArray[np.float32]:
    """A small color picture with soft shapes."""
    rows, columns = np.mgrid[0:48, 0:64].astype(np.float32) / 64
    return np.stack([columns, rows, 0.5 + 0.4 * np.sin(9 * columns) * np.cos(7 * rows)], axis=-1).astype(np.float32)


def test_density_and_pixels_are_inverse() -> None:
    codes = np.linspace(2 / 255, 1, 254, dtype=np.float32)[:, None].repeat(3, 1)
    assert np.abs(density_to_srgb(srgb_to_density(codes)) - codes).max() < 1e-5


def test_white_has_no_density_and_middle_gray_reflects_a_fifth() -> None:
    white, gray = srgb_to_density(np.array([1.0, 118 / 255], np.float32))
    assert white == pytest.approx(0, abs=1e-6)
    assert 10**-gray == pytest.approx(0.18, abs=0.005)


def test_joining_chroma_never_changes_luma(photograph: NDArray[np.float32]) -> None:
    gray = rec709_luma(photograph)
    vivid = join_luma_chroma(gray, 3 * rec709_chroma(photograph))
    assert np.abs(rec709_luma(vivid) - gray).max() < 1e-6
    assert join_luma_chroma(gray, rec709_chroma(photograph)) == pytest.approx(photograph, abs=2e-6)


@pytest.mark.parametrize("name", ["srgb_to_linear", "linear_to_srgb", "srgb_to_density", "density_to_srgb"])
def test_torch_gives_the_same_as_numpy(name: str) -> None:
    values = np.linspace(0, 4 if name == "density_to_srgb" else 1, 1001)
    theirs = getattr(torch_color, name)(torch.from_numpy(values)).numpy()
    assert getattr(color, name)(values) == pytest.approx(theirs, abs=1e-12)


def test_results_have_the_type_of_their_input(photograph: NDArray[np.float32]) -> None:
    for convert in (color.srgb_to_linear, color.linear_to_srgb, srgb_to_density, rec709_luma, rec709_chroma):
        assert convert(photograph).dtype == np.float32
        assert convert(photograph.astype(np.float64)).dtype == np.float64
