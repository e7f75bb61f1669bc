"""Scores of colorizations whose score is known."""

from tests import photographs

from retint_models.evaluation import colorize
from retint_models.evaluation.colorize_baselines import leave_gray
from retint_models.evaluation.pictures import Pixels, to_pixels, to_tensor
from retint_models.evaluation.samples import ColorSample
from retint_models.networks.color import rec709_luma


def make_sample(number: int, license: str = "CC0") -> ColorSample:
    true = photographs.color_photo(number, 96)
    gray = to_pixels(rec709_luma(to_tensor(true)).expand(3, -1, -1))
    return ColorSample(f"{number}.jpg", "city", license, true, gray)


def test_the_truth_is_perfect_and_gray_has_no_color() -> None:
    samples = [make_sample(number) for number in range(3)]
    perfect = colorize.score_colorization("true", lambda number, gray: samples[number].true, samples)
    gray = colorize.score_colorization("gray", leave_gray, samples)
    assert perfect["delta_e2000"] < 1e-2
    assert perfect["psnr"] == 60
    assert perfect["delta_cf"] == perfect["delta_cf_absolute"] == 0
    assert perfect["ratio"] == 1
    assert gray["delta_cf"] == -gray["true_colorfulness"] == -gray["delta_cf_absolute"]
    assert gray["between_sizes"] < 0.1
    low, high = gray["intervals"]["rmse_ab"]
    assert low <= gray["rmse_ab"] <= high


def test_a_colorization_that_depends_on_the_size_scores_badly_between_sizes() -> None:
    def colorize_by_size(number: int, gray: Pixels) -> Pixels:
        return samples[number].true if len(gray) > 60 else gray

    samples = [make_sample(number) for number in range(2)]
    assert colorize.score_colorization("by size", colorize_by_size, samples)["between_sizes"] > 5


def test_scores_are_given_without_unclear_licenses_and_without_what_encoders_have_seen() -> None:
    samples = [make_sample(0), make_sample(1, "not stated"), make_sample(2, "ImageNet sample"), make_sample(3)]
    row = colorize.score_colorization("gray", leave_gray, samples)
    assert (row["photos"], row["clear_license"]["photos"], row["unseen"]["photos"]) == (4, 2, 3)
    assert colorize.score_colorization("gray", leave_gray, samples[1:2])["clear_license"] == {}


def test_each_half_is_scored_by_itself() -> None:
    samples = [make_sample(number) for number in range(3)]  # by name, 1 and 2 judge
    halves = colorize.score_colorization("gray", leave_gray, samples)["halves"]
    alone = colorize.score_colorization("gray", leave_gray, samples[1:])
    assert (halves["choose"]["photos"], halves["judge"]["photos"]) == (1, 2)
    assert halves["judge"]["delta_e2000"] == alone["delta_e2000"]
    assert halves["judge"]["interval"] == alone["delta_e2000_interval"]
    assert alone["halves"]["choose"] == {}
