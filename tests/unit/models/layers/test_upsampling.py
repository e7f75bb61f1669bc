"""Joint upsampling: slopes of planes along luma."""

import numpy as np
import pytest

from retint_models.layers.upsampling import DETAIL_EPS, box_mean, detail_slopes


def test_a_plane_that_follows_luma_has_its_slope_and_one_that_does_not_has_none() -> None:
    luma = np.random.default_rng(0).random((12, 16))
    slopes = detail_slopes(luma, np.stack([0.4 * luma - 0.2, np.full_like(luma, 0.3)]))
    variance = box_mean(luma * luma) - box_mean(luma) ** 2
    assert slopes[0] == pytest.approx(0.4 * variance / (variance + DETAIL_EPS))
    assert slopes[1] == pytest.approx(0)


def test_a_box_mean_repeats_edges() -> None:
    assert box_mean(np.array([[0.0, 9.0]])) == pytest.approx(np.array([[3.0, 6.0]]))
