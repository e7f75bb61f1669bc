"""Scores of colorizations whose score is known."""

import math
from dataclasses import replace

import numpy as np
from tests import photographs

from retint_models.datasets.photographs import Photos
from retint_models.evaluation import colorize
from retint_models.evaluation.colorize_baselines import leave_gray
from retint_models.evaluation.pictures import Pixels, to_pixels, to_tensor
from retint_models.evaluation.samples import ColorSample
from retint_models.layers.types import ColorLayer
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


def decide_green(gray: Pixels) -> ColorLayer:
    """Return a layer of one green that is surer on the left."""
    height, width = gray.shape[:2]
    chroma = np.full((2, height, width), -0.1, np.float16)
    confidence = np.broadcast_to(np.linspace(200, 50, width).astype(np.uint8), (height, width))
    return ColorLayer(chroma, (gray[..., 0] / 255).astype(np.float16), confidence.copy())


def decide_nothing(gray: Pixels) -> ColorLayer:
    """Return a layer without color that is as sure of it everywhere."""
    layer = decide_green(gray)
    return replace(layer, chroma=0 * layer.chroma, confidence=np.full_like(layer.confidence, 128))


def test_networks_are_scored_on_pages_and_by_their_confidence_and_baselines_are_not() -> None:
    samples = [make_sample(number) for number in range(3)]
    training = Photos(samples[0].true.ravel(), [{"name": "0", "height": 96, "width": 96, "start": 0}], {})
    networks = {"green": decide_green, "nothing": decide_nothing}
    rows = {row["name"]: row for row in colorize.score_colorizers(samples, training, networks)}
    assert list(rows) == ["gray", "mean-ab", "table", "shuffled", "green", "nothing"]
    assert rows["gray"]["gray_beaten_in"] == rows["nothing"]["gray_beaten_in"] == []
    assert {name for name in rows if "each" in rows[name]} == set(networks), "baselines are not compared"
    assert set(rows["green"]["pages"]["groups"]) == {"blank", "text", "drawing"}
    low, high = rows["green"]["pages"]["interval"]
    assert 5 < low < rows["green"]["pages"]["chroma"] < high < 255 * math.hypot(0.1, 0.1) + 1
    assert rows["green"]["pages"]["worst"][1] >= rows["green"]["pages"]["groups"]["blank"]
    assert rows["nothing"]["pages"]["chroma"] < 0.5
    assert rows["green"]["calibration"]["photos"] == 2, "the photographs that judge"
    assert len(rows["green"]["calibration"]["parts"]) == 5
    assert rows["nothing"]["calibration"] == {}, "its confidence says nothing"
    assert all(colorize.table_line(row).split()[-2] == "city" for row in rows.values())


def test_skin_is_scored_on_people_alone() -> None:
    true = np.full((80, 80, 3), (224, 172, 146), np.uint8)
    gray = to_pixels(rec709_luma(to_tensor(true)).expand(3, -1, -1))
    people = ColorSample("people-01.jpg", "people", "CC0", true, gray)
    row = colorize.score_colorization("gray", leave_gray, [people, make_sample(1)])
    alone = colorize.score_colorization("gray", leave_gray, [people])
    assert row["skin"] == alone["skin"] == alone["delta_e2000"] > 5
    assert row["skin_redder"] < -5
    assert row["red_cheeks"] == 0
    assert math.isnan(colorize.score_colorization("gray", leave_gray, [make_sample(1)])["skin"])
    assert "skin" in row["intervals"]
