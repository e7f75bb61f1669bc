"""Metrics on pictures whose value is known."""

import math

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from tests.photographs import color_photo

from retint_models.evaluation import metrics
from retint_models.networks.color import rec709_luma


def photo(number: int) -> torch.Tensor:
    return torch.from_numpy(color_photo(number, 128).copy()).permute(2, 0, 1).double() / 255


def test_psnr_and_ssim_agree_with_scikit_image() -> None:
    true = photo(0)
    made = (true + 0.05 * torch.randn(true.shape, generator=torch.Generator().manual_seed(1))).clamp(0, 1)
    one, two = true.numpy(), made.numpy()
    theirs = peak_signal_noise_ratio(one, two, data_range=1)  # type: ignore[no-untyped-call]
    assert metrics.psnr(made, true) == pytest.approx(theirs)
    theirs = structural_similarity(  # type: ignore[no-untyped-call]
        one, two, channel_axis=0, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    assert metrics.ssim(made, true) == pytest.approx(theirs, abs=2e-3)
    assert metrics.psnr(true, true) == math.inf


def test_gray_has_no_colorfulness_and_more_chroma_has_more() -> None:
    true = photo(1)
    gray = rec709_luma(true).expand(3, -1, -1)
    assert metrics.colorfulness(gray) < 1e-6
    assert metrics.colorfulness(gray + 0.5 * (true - gray)) == pytest.approx(metrics.colorfulness(true) / 2, rel=1e-6)


def test_the_distance_of_two_sets_of_colors_is_how_far_one_was_shifted() -> None:
    points = torch.randn(2, 5000, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    shifted = points + torch.tensor([[5.0], [0.0]])
    distance = metrics.sliced_wasserstein(metrics.quantiles(points), metrics.quantiles(shifted))
    assert distance == pytest.approx(5 * 2 / math.pi, rel=0.01), "mean of |cos| over all directions"


def test_chroma_error_ignores_lightness() -> None:
    true = photo(2)
    assert metrics.delta_e_chroma(true, true) < 1e-4
    darker = 0.8 * rec709_luma(true).expand(3, -1, -1)
    plain = rec709_luma(true).expand(3, -1, -1)
    assert metrics.delta_e_chroma(darker, true) == pytest.approx(metrics.delta_e_chroma(plain, true), rel=0.02)
    assert metrics.delta_e_2000(darker, true) > metrics.delta_e_2000(plain, true) + 1


def test_luma_drift_counts_in_code_values_and_leaves_clipped_places_out() -> None:
    gray = torch.full((1, 4, 4), 0.5)
    made = gray.expand(3, -1, -1).clone()
    made[:, 0, 0] += 1 / 255
    assert metrics.luma_drift(made, gray) == pytest.approx((1 / 16, 1.0), rel=1e-4)
    made[:, 1, 1] = 1
    assert metrics.luma_drift(made, gray)[1] == pytest.approx(1.0, rel=1e-4)


def test_an_interval_holds_the_mean_and_narrows_with_more_photos() -> None:
    values = np.random.default_rng(0).normal(10, 2, 400)
    few, many = metrics.bootstrap_interval(values[:25]), metrics.bootstrap_interval(values)
    assert few[0] < values[:25].mean() < few[1]
    assert many[1] - many[0] < (few[1] - few[0]) / 2
    assert metrics.bootstrap_interval(values) == many, "drawn the same way every time"


def test_a_result_is_compared_with_that_of_another_size_by_its_color_only() -> None:
    large = photo(2)
    small = torch.nn.functional.avg_pool2d(large, 2)
    assert metrics.ab_distance(large, small) == pytest.approx(0, abs=1e-9)
    assert metrics.ab_distance(small, large) == pytest.approx(0, abs=1e-9)
    assert metrics.ab_distance(large, rec709_luma(small).expand(3, -1, -1)) > 5


def test_intervals_leave_out_photographs_that_have_no_score() -> None:
    rows = [{"one": float(number), "two": math.nan} for number in range(40)] + [{"one": math.nan, "two": math.nan}]
    found = metrics.bootstrap_intervals(rows, ("one", "two"))
    assert set(found) == {"one"}
    low, high = found["one"]
    assert 14 < low < 19.5 < high < 25
