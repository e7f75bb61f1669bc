"""Paired comparison of rows whose difference is known."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retint_models.datasets.halves import half_of
from retint_models.evaluation.comparison import add_changes, compare, table_lines
from retint_models.evaluation.report import read_json, write_json

NAMES = [f"street-{number}.jpg" for number in range(40)]


def make_row(name: str, change: float = 0.0, spread: float = 0.0, **more: Any) -> dict[str, Any]:
    """Return a row of photographs that differ a lot, each changed by as much as the others, give or take a spread."""
    rng = np.random.default_rng(3)
    errors = rng.uniform(2, 30, len(NAMES)) + change + spread * (-1.0) ** (np.arange(len(NAMES)) // 2)
    each = {
        photo: {"group": "city" if number % 2 else "people", "delta_e2000": float(error), "skin": float("nan")}
        for number, (photo, error) in enumerate(zip(NAMES, errors, strict=True))
    }
    return {"name": name, "each": each, **more}


def test_a_change_of_every_photograph_counts_although_photographs_differ_more() -> None:
    changes = compare(make_row("new", -0.3, spread=0.5)["each"], make_row("old")["each"])
    assert list(changes) == ["all", "choose", "judge", "city", "people"]
    low, high = changes["all"]["delta_e2000"]["interval"]
    assert low < -0.3 < high < 0
    assert changes["all"]["delta_e2000"]["counts"]
    assert changes["judge"]["photos"] == sum(half_of(name) == "judge" for name in NAMES)
    assert changes["city"]["photos"] == changes["people"]["photos"] == 20
    assert "skin" not in changes["all"], "no photograph has a score"


def test_a_change_that_is_as_often_for_the_worse_does_not_count() -> None:
    changes = compare(make_row("new", spread=2.0)["each"], make_row("old")["each"])
    assert not changes["all"]["delta_e2000"]["counts"]


def test_a_few_photographs_are_not_enough_to_count() -> None:
    few = NAMES[:4]
    ours, others = ({name: make_row("", change)["each"][name] for name in few} for change in (-1.0, 0.0))
    assert not compare(ours, others)["all"]["delta_e2000"]["counts"]


def test_photographs_that_only_one_of_them_has_are_left_out() -> None:
    ours, others = make_row("new", 1.0)["each"], make_row("old")["each"]
    del ours[NAMES[0]], others[NAMES[1]]
    assert compare(ours, others)["all"]["photos"] == 38


def test_each_row_is_compared_with_the_first_of_its_family() -> None:
    rows: list[dict[str, Any]] = [
        {"name": "gray"},
        make_row("one", family="silver"),
        make_row("two", -1.0, family="silver"),
        make_row("one", 5.0, family="dark"),
        make_row("two", 5.5, family="dark"),
    ]
    add_changes(rows)
    assert [row.get("against") for row in rows] == [None, None, "one", None, "one"]
    assert rows[2]["changes"]["all"]["delta_e2000"]["mean"] == pytest.approx(-1)
    assert rows[4]["changes"]["all"]["delta_e2000"]["mean"] == pytest.approx(0.5)


def test_rows_of_an_earlier_evaluation_come_back_from_their_file(tmp_path: Path) -> None:
    file = tmp_path / "scores.json"
    write_json(file, [{"name": "gray"}, make_row("compact"), make_row("vivid", 3.0)], "colorize")
    assert json.loads(file.read_text())["colorize"][1]["each"][NAMES[0]]["skin"] is None
    rows = [make_row("vivid", 2.0), make_row("newcomer", 1.0)]
    add_changes(rows, read_json(file)["colorize"])
    assert [row["against"] for row in rows] == ["vivid (earlier)", "compact (earlier)"]
    assert [row["changes"]["all"]["delta_e2000"]["mean"] for row in rows] == pytest.approx([-1, 1], abs=1e-4)


def test_the_table_tells_what_counts() -> None:
    rows = [make_row("old"), make_row("new", -0.5)]
    add_changes(rows)
    lines = table_lines(rows)
    assert lines[1] == "new, less what old has:"
    assert lines[2] == "  all         40  delta_e2000 -0.50 [-0.50, -0.50] *"
    assert len(lines) == 2 + 5


def test_no_change_has_no_sign() -> None:
    rows = [make_row("old"), make_row("new", -0.001)]
    add_changes(rows)
    assert table_lines(rows)[2] == "  all         40  delta_e2000 +0.00 [+0.00, +0.00] *"
