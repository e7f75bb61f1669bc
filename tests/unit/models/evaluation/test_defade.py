"""The judge of defaders: its prints, its classic rows and its measures."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from tests import photographs

from retint_models.datasets import fading
from retint_models.datasets.photographs import open_photos
from retint_models.evaluation import defade
from retint_models.evaluation.defade import Case


@pytest.fixture(scope="module")
def case() -> Case:
    clean = photographs.color_photo(1, side=96)
    pair = defade.judged_print(fading.as_floats(clean), "dark", np.random.default_rng(4))
    return Case("cat", "animals", "CC0", "dark", fading.as_bytes(pair.print), fading.as_bytes(pair.truth), clean)


def perfect(case: Case) -> defade.Maker:
    """A defader that knows the truth and leaves everything else alone."""

    def make(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return case.truth if np.array_equal(pixels, case.print) else pixels

    return make


@pytest.mark.parametrize("family", [*defade.FAMILIES, "clean"])
def test_a_judged_print_is_the_same_for_the_same_seed(family: fading.Family) -> None:
    photo = fading.as_floats(photographs.color_photo(2, side=64))
    one, same = (defade.judged_print(photo, family, np.random.default_rng(9)) for _ in range(2))
    assert np.array_equal(one.print, same.print)
    assert np.array_equal(one.print, one.truth) == (family == "clean")


def test_the_judge_draws_otherwise_than_the_training() -> None:
    photo = fading.as_floats(photographs.color_photo(0, side=64))
    judged = defade.judged_print(photo, "dark", np.random.default_rng(1)).print
    trained = fading.simulate(photo, np.random.default_rng(1), "dark").print
    assert np.abs(judged - trained).mean() > 0.01


def test_leaving_a_print_as_it_is_harms_nothing_and_helps_nothing(case: Case) -> None:
    row = defade.judge("faded", defade.faded, [case])
    assert row["delta_e2000"] > 2
    assert row["harm"] == pytest.approx(0, abs=0.01)
    assert row["second_pass"] == pytest.approx(0, abs=0.01)
    assert row["worse"] == 0
    assert row["order_kept"] == 1


def test_a_perfect_repair_scores_perfectly(case: Case) -> None:
    row = defade.judge("perfect", perfect(case), [case])
    assert row["delta_e2000"] == pytest.approx(0, abs=0.01)
    assert row["psnr"] == 60
    assert row["ssim"] == pytest.approx(1)
    assert row["families"] == {"dark": row["delta_e2000"]}


def test_a_negative_is_found_to_be_worse_and_out_of_order(case: Case) -> None:
    row = defade.judge("negative", lambda pixels: 255 - pixels, [case])
    assert row["worse"] == 1
    assert row["order_kept"] == 0
    assert row["harm"] > 20


def test_lighting_is_reported_apart(case: Case) -> None:
    lit = defade.judged_print(fading.as_floats(case.clean), "lighting", np.random.default_rng(4))
    second = Case(
        "cat", "animals", "CC0", "lighting", fading.as_bytes(lit.print), fading.as_bytes(lit.truth), case.clean
    )
    alone, both = (defade.judge("faded", defade.faded, cases) for cases in ([case], [case, second]))
    assert both["delta_e2000"] == alone["delta_e2000"]
    assert both["delta_e2000_all"] != alone["delta_e2000_all"]
    assert both["photos"] == 1


def test_auto_levels_give_a_flat_cast_print_its_range_and_its_neutral_back() -> None:
    ramp = np.linspace(0, 255, 200)[:, None, None] * np.ones((1, 20, 3))
    flat = (60 + 0.4 * ramp * np.array([1, 0.9, 0.7])).astype(np.uint8)
    restored = defade.auto_levels(flat)
    assert restored.min() == 0
    assert restored.max() == 255
    assert np.ptp(restored.astype(int), axis=-1).max() <= 6
    joint = defade.auto_levels_joint(flat)
    assert np.ptp(joint[-1, 0].astype(int)) > 40, "stretched together, the cast stays"


def test_gray_world_evens_out_the_means() -> None:
    cast = np.full((8, 8, 3), (160, 120, 80), np.uint8)
    assert np.ptp(defade.gray_world(cast)[0, 0].astype(int)) <= 1


def test_clahe_raises_local_contrast() -> None:
    flat = (100 + photographs.color_photo(0, side=96) // 5).astype(np.uint8)
    assert defade.clahe(flat).std() > 1.5 * flat.std()


def test_every_second_photograph_still_meets_every_family(tmp_path: Path) -> None:
    for number in range(8):
        Image.fromarray(photographs.color_photo(number, side=64)).save(tmp_path / f"{number}.png")
    photos = open_photos(tmp_path, tmp_path / "cache")
    all_of_them, half = defade.cases_of(photos), defade.cases_of(photos, every=2)
    assert [case.name for case in half] == [case.name for case in all_of_them[::2]]
    assert [case.family for case in half] == list(defade.FAMILIES)


def test_scores_are_given_without_unclear_licenses_and_without_what_encoders_have_seen(case: Case) -> None:
    cases = [case, replace(case, license="not stated"), replace(case, license="ImageNet sample")]
    cases.append(replace(case, family="lighting"))
    row = defade.judge("faded", defade.faded, cases)
    assert (row["photos"], row["clear_license"]["photos"], row["unseen"]["photos"]) == (3, 1, 2)
    assert defade.judge("faded", defade.faded, cases[1:2])["clear_license"] == {}
