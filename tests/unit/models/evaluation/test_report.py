"""Scores as JSON."""

import json
from pathlib import Path

import pytest

from retint_models.evaluation.report import read_json, write_json


def test_what_json_has_no_number_for_becomes_null(tmp_path: Path) -> None:
    file = tmp_path / "scores.json"
    write_json(file, [{"name": "one", "neutral": float("nan"), "pair": (1.0, float("inf"))}], "defade")
    write_json(file, [{"name": "two"}], "colorize")
    assert json.loads(file.read_text()) == {
        "defade": [{"name": "one", "neutral": None, "pair": [1.0, None]}],
        "colorize": [{"name": "two"}],
    }
    assert read_json(file)["colorize"] == [{"name": "two"}]
    file.write_text("no json")
    with pytest.raises(ValueError, match=r"scores\.json is no JSON file of scores"):
        write_json(file, [], "colorize")


def test_scores_are_rounded_to_what_can_be_seen(tmp_path: Path) -> None:
    file = tmp_path / "scores.json"
    write_json(file, [{"delta_e2000": 10.123456789, "photos": 204}], "colorize")
    assert read_json(file) == {"colorize": [{"delta_e2000": 10.12346, "photos": 204}]}
