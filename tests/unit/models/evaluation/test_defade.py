"""Scores of repairs whose score is known."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from tests import photographs

from retint_models.datasets import fading
from retint_models.datasets.halves import half_of
from retint_models.evaluation import defade
from retint_models.evaluation.defade_baselines import leave_faded
from retint_models.evaluation.prints import PrintSample, Repair, age_photograph


@pytest.fixture(scope="module")
def sample() -> PrintSample:
    clean = photographs.color_photo(1, side=96)
    pair = age_photograph(fading.as_floats(clean), "dark", np.random.default_rng(4))
    return PrintSample("cat", "animals", "CC0", "dark", fading.as_bytes(pair.print), fading.as_bytes(pair.truth), clean)


def make_perfect_repair(sample: PrintSample) -> Repair:
    """Return a repair that knows the truth and leaves everything else unchanged."""

    def repair(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return sample.truth if np.array_equal(pixels, sample.print) else pixels

    return repair


def test_leaving_a_print_as_it_is_harms_nothing_and_helps_nothing(sample: PrintSample) -> None:
    row = defade.score_repairs("faded", leave_faded, [sample])
    assert row["delta_e2000"] > 2
    assert row["harm"] == pytest.approx(0, abs=0.01)
    assert row["second_pass"] == pytest.approx(0, abs=0.01)
    assert row["worse"] == 0
    assert row["order_kept"] == 1


def test_a_perfect_repair_scores_perfectly(sample: PrintSample) -> None:
    row = defade.score_repairs("perfect", make_perfect_repair(sample), [sample])
    assert row["delta_e2000"] == pytest.approx(0, abs=0.01)
    assert row["psnr"] == 60
    assert row["ssim"] == pytest.approx(1)
    assert row["families"] == {"dark": row["delta_e2000"]}


def test_a_negative_is_found_to_be_worse_and_out_of_order(sample: PrintSample) -> None:
    row = defade.score_repairs("negative", lambda pixels: 255 - pixels, [sample])
    assert row["worse"] == 1
    assert row["order_kept"] == 0
    assert row["harm"] > 20


def test_lighting_is_reported_apart(sample: PrintSample) -> None:
    lit = age_photograph(fading.as_floats(sample.clean), "lighting", np.random.default_rng(4))
    second = PrintSample(
        "cat", "animals", "CC0", "lighting", fading.as_bytes(lit.print), fading.as_bytes(lit.truth), sample.clean
    )
    alone, both = (defade.score_repairs("faded", leave_faded, samples) for samples in ([sample], [sample, second]))
    assert both["delta_e2000"] == alone["delta_e2000"]
    assert both["delta_e2000_all"] != alone["delta_e2000_all"]
    assert both["photos"] == 1


def test_scores_are_given_without_unclear_licenses_and_without_what_encoders_have_seen(sample: PrintSample) -> None:
    samples = [sample, replace(sample, license="not stated"), replace(sample, license="ImageNet sample")]
    samples.append(replace(sample, family="lighting"))
    row = defade.score_repairs("faded", leave_faded, samples)
    assert (row["photos"], row["clear_license"]["photos"], row["unseen"]["photos"]) == (3, 1, 2)
    assert defade.score_repairs("faded", leave_faded, samples[1:2])["clear_license"] == {}


def test_each_half_is_scored_by_itself_without_lighting(sample: PrintSample) -> None:
    samples = [sample, replace(sample, name="0"), replace(sample, name="3", family="lighting")]
    halves = defade.score_repairs("faded", leave_faded, samples)["halves"]
    assert [halves[half_of(name)]["photos"] for name in ("cat", "0")] == [1, 1]
    assert half_of("0") == half_of("3") != half_of("cat")
