"""The judge of colorizers: its rows, and what it writes."""

import json
import mmap
from pathlib import Path

import pytest
from tests import photographs

from retint_models.evaluation import colorize
from retint_models.evaluation.colorize import Shot, as_pixels, as_tensor
from retint_models.evaluation.measuring import measured
from retint_models.networks.color import rec709_luma


def shot(number: int, license: str = "CC0") -> Shot:
    true = photographs.color_photo(number, 96)
    gray = as_pixels(rec709_luma(as_tensor(true)).expand(3, -1, -1))
    return Shot(f"{number}.jpg", "city", license, true, gray)


def test_the_truth_is_perfect_and_gray_has_no_color() -> None:
    shots = [shot(number) for number in range(3)]
    perfect = colorize.judge("true", lambda number, seen: shots[number].true, shots)
    gray = colorize.judge("gray", colorize.gray, shots)
    assert perfect["delta_e2000"] < 1e-2
    assert perfect["psnr"] == 60
    assert perfect["delta_cf"] == perfect["delta_cf_absolute"] == 0
    assert perfect["ratio"] == 1
    assert gray["delta_cf"] == -gray["true_colorfulness"] == -gray["delta_cf_absolute"]
    assert gray["between_sizes"] < 0.1
    low, high = gray["intervals"]["rmse_ab"]
    assert low <= gray["rmse_ab"] <= high


def test_a_decision_that_depends_on_the_size_shows() -> None:
    def fickle(number: int, seen: colorize.Pixels) -> colorize.Pixels:
        return shots[number].true if len(seen) > 60 else seen

    shots = [shot(number) for number in range(2)]
    assert colorize.judge("fickle", fickle, shots)["between_sizes"] > 5


def test_scores_are_given_without_unclear_licenses_and_without_what_encoders_have_seen() -> None:
    shots = [shot(0), shot(1, "not stated"), shot(2, "ImageNet sample"), shot(3)]
    row = colorize.judge("gray", colorize.gray, shots)
    assert (row["photos"], row["clear_license"]["photos"], row["unseen"]["photos"]) == (4, 2, 3)
    assert colorize.judge("gray", colorize.gray, shots[1:2])["clear_license"] == {}


def test_memory_and_seconds_of_a_row_are_its_own() -> None:
    with measured() as cost, mmap.mmap(-1, 60_000_000) as memory:  # malloc may have as much at hand
        memory[::4096] = b"1" * len(range(0, 60_000_000, 4096))
    assert 50 < cost.megabytes < 200
    with measured() as cost:
        pass
    assert cost.megabytes < 20
    assert cost.seconds < 5


def test_what_json_has_no_number_for_becomes_null(tmp_path: Path) -> None:
    file = tmp_path / "scores.json"
    colorize.write_json(file, [{"name": "one", "neutral": float("nan"), "pair": (1.0, float("inf"))}], "defade")
    colorize.write_json(file, [{"name": "two"}])
    assert json.loads(file.read_text()) == {
        "defade": [{"name": "one", "neutral": None, "pair": [1.0, None]}],
        "colorize": [{"name": "two"}],
    }
    file.write_text("no json")
    with pytest.raises(ValueError, match=r"scores\.json is no JSON file"):
        colorize.write_json(file, [])
