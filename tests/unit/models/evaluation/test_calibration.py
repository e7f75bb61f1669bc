"""The table of expected and true errors, on errors that are known."""

import math

import numpy as np
import pytest
from tests import photographs

from retint_models.evaluation import calibration
from retint_models.evaluation.pictures import to_pixels, to_tensor
from retint_models.evaluation.samples import ColorSample
from retint_models.layers.color import rec709_chroma
from retint_models.layers.types import CONFIDENCE_SCALE, ColorLayer
from retint_models.networks.color import rec709_luma


def make_sample(number: int, side: int = 64) -> ColorSample:
    true = photographs.color_photo(number, side)
    gray = to_pixels(rec709_luma(to_tensor(true)).expand(3, -1, -1))
    return ColorSample(f"{number}.jpg", "city", "CC0", true, gray)


def decide(sample: ColorSample, wrong: np.ndarray, expected: np.ndarray) -> ColorLayer:
    """Return a layer with the true chroma, but none where it is wrong, that expects an error."""
    chroma = np.moveaxis(rec709_chroma(sample.true.astype(np.float32) / 255), -1, 0) * ~wrong
    confidence = np.rint(255 * np.exp(-expected / CONFIDENCE_SCALE)).astype(np.uint8)
    luma = sample.gray[..., 0].astype(np.float16) / 255
    return ColorLayer(chroma.astype(np.float16), luma.astype(np.float16), confidence)


def test_a_layer_that_knows_where_it_is_wrong_is_told_from_one_that_has_it_the_other_way_round() -> None:
    samples = [make_sample(number) for number in range(3)]
    left = np.broadcast_to(np.arange(64) < 32, (64, 64))
    knows, does_not = (
        calibration.measure_calibration(
            samples, [decide(sample, left, np.where(says, 20.0, 1.0)) for sample in samples]
        )
        for says in (left, ~left)
    )
    assert [round(part["expected"]) for part in knows["parts"]] == [1, 20]
    assert [round(part["share"], 1) for part in knows["parts"]] == [0.5, 0.5]
    assert knows["parts"][0]["true"] < 1 < 5 < knows["parts"][1]["true"]
    assert knows["rank_correlation"] > 0.7 > -0.7 > does_not["rank_correlation"]
    assert knows["gap"] < does_not["gap"]
    assert knows["photos"] == 3


def test_errors_that_come_as_expected_leave_no_gap() -> None:
    rng = np.random.default_rng(1)
    expected = rng.uniform(2, 20, (40, 500))
    true = expected * rng.exponential(1, expected.shape)
    table = calibration.tabulate(expected, true)
    assert [part["share"] for part in table["parts"]] == pytest.approx([0.2] * 5, abs=1e-3)
    assert all(part["interval"][0] < part["expected"] < part["interval"][1] for part in table["parts"])
    assert table["gap"] < 0.2
    half = calibration.tabulate(expected, true / 2)
    assert half["gap"] == pytest.approx(11 / 2, abs=0.3)
    assert half["rank_correlation"] == pytest.approx(table["rank_correlation"]), "ranks know no scale"


def test_the_interval_is_one_over_photographs() -> None:
    """Places of one photograph are alike: a thousand of them tell no more than the photograph."""
    errors = np.repeat([[4.0], [8.0], [12.0]], 1000, axis=1)
    low, high = calibration.tabulate(np.ones((3, 1000)), errors)["parts"][0]["interval"]
    assert low < 6 < 10 < high


def test_a_network_that_always_says_the_same_has_one_part() -> None:
    true = np.random.default_rng(0).uniform(0, 20, (5, 100))
    table = calibration.tabulate(np.full((5, 100), 10.0), true)
    assert [part["share"] for part in table["parts"]] == [1.0]
    assert math.isnan(table["rank_correlation"])


def test_equal_values_share_their_rank() -> None:
    assert calibration.mean_ranks(np.array([3.0, 1.0, 3.0, 7.0])).tolist() == [2.5, 1.0, 2.5, 4.0]


def test_no_confidence_at_all_is_an_error_that_has_a_number() -> None:
    sure, guess = calibration.expected_error(np.array([255, 0], np.uint8))
    assert sure == 0
    assert 90 < guess < 100


def test_the_table_has_a_line_for_each_part_and_one_for_all() -> None:
    rng = np.random.default_rng(2)
    expected = rng.uniform(1, 10, (4, 50))
    lines = calibration.table_lines(calibration.tabulate(expected, expected))
    assert len(lines) == 7
    assert lines[-1] == "gap 0.00, rank correlation 1.00"
