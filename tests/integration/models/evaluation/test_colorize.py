"""The colorizer that ships, on photographs that training did not see."""

import pytest
from tests.paths import DATA

from retint_models.datasets.photographs import open_photos
from retint_models.evaluation.colorize import colorize_with, decide_with, score_colorization
from retint_models.evaluation.colorize_baselines import colorize_with_another_photo, leave_gray
from retint_models.evaluation.samples import ColorSample, make_color_samples
from retint_models.networks.registry import load_colorizer


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[ColorSample]:
    if not DATA.exists():
        pytest.skip(f"no photographs to judge on at {DATA}")
    return make_color_samples(open_photos(DATA / "dev", tmp_path_factory.mktemp("photos"), pattern="*-?[37].jpg"))


def test_compact_beats_gray_with_most_of_the_true_colorfulness(samples: list[ColorSample]) -> None:
    ours = score_colorization("compact", colorize_with(decide_with(load_colorizer("compact"), {})), samples)
    theirs = score_colorization("gray", leave_gray, samples)
    assert theirs["ratio"] == 0
    assert ours["ratio"] > 0.55
    assert ours["delta_e2000"] < theirs["delta_e2000"] - 0.3
    assert ours["swd_set"] < theirs["swd_set"] / 2
    assert ours["luma_drift_worst"] <= 1


def test_vivid_is_more_colorful_and_still_truer_than_false_color(samples: list[ColorSample]) -> None:
    few = samples[::3]
    calm = score_colorization("compact", colorize_with(decide_with(load_colorizer("compact"), {})), few)
    vivid = score_colorization("compact-vivid", colorize_with(decide_with(load_colorizer("compact-vivid"), {})), few)
    false = score_colorization("shuffled", colorize_with_another_photo(few), few)
    assert vivid["ratio"] > calm["ratio"] + 0.08
    assert vivid["delta_e2000"] < false["delta_e2000"] - 2
