"""The prints that defaders are judged on."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests import photographs

from retint_models.datasets import fading
from retint_models.datasets.photographs import open_photos
from retint_models.evaluation.prints import FAMILIES, age_photograph, make_print_samples


@pytest.mark.parametrize("family", [*FAMILIES, "clean"])
def test_a_judged_print_is_the_same_for_the_same_seed(family: fading.Family) -> None:
    photo = fading.as_floats(photographs.color_photo(2, side=64))
    one, same = (age_photograph(photo, family, np.random.default_rng(9)) for _ in range(2))
    assert np.array_equal(one.print, same.print)
    assert np.array_equal(one.print, one.truth) == (family == "clean")


def test_the_judge_draws_otherwise_than_the_training() -> None:
    photo = fading.as_floats(photographs.color_photo(0, side=64))
    judged = age_photograph(photo, "dark", np.random.default_rng(1)).print
    trained = fading.simulate(photo, np.random.default_rng(1), "dark").print
    assert np.abs(judged - trained).mean() > 0.01


def test_every_second_photograph_still_meets_every_family(tmp_path: Path) -> None:
    for number in range(8):
        Image.fromarray(photographs.color_photo(number, side=64)).save(tmp_path / f"{number}.png")
    photos = open_photos(tmp_path, tmp_path / "cache")
    every_photo, half = make_print_samples(photos), make_print_samples(photos, every=2)
    assert [sample.name for sample in half] == [sample.name for sample in every_photo[::2]]
    assert [sample.family for sample in half] == list(FAMILIES)
