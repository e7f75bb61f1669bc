"""The colorizer that ships, on photographs that training did not see."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.paths import DATA

from retint_models.datasets.photographs import open_photos
from retint_models.evaluation.colorize import Shot, by, gray, judge, shots_of, shuffled
from retint_models.networks.registry import load_colorizer


@pytest.fixture(scope="module")
def shots(tmp_path_factory: pytest.TempPathFactory) -> list[Shot]:
    if not DATA.exists():
        pytest.skip(f"no photographs to judge on at {DATA}")
    return shots_of(open_photos(DATA / "dev", tmp_path_factory.mktemp("photos"), pattern="*-?[37].jpg"))


def test_compact_beats_gray_with_most_of_the_true_colorfulness(shots: list[Shot]) -> None:
    ours = judge("compact", by(load_colorizer("compact")), shots)
    theirs = judge("gray", gray, shots)
    assert theirs["ratio"] == 0
    assert ours["ratio"] > 0.55
    assert ours["delta_e2000"] < theirs["delta_e2000"] - 0.3
    assert ours["swd_set"] < theirs["swd_set"] / 2
    assert ours["luma_drift_worst"] <= 1


def test_vivid_is_more_colorful_and_still_truer_than_false_color(shots: list[Shot]) -> None:
    few = shots[::3]
    calm = judge("compact", by(load_colorizer("compact")), few)
    vivid = judge("compact-vivid", by(load_colorizer("compact-vivid")), few)
    false = judge("shuffled", shuffled(few), few)
    assert vivid["ratio"] > calm["ratio"] + 0.08
    assert vivid["delta_e2000"] < false["delta_e2000"] - 2


def test_the_command_evaluates_and_writes_rows_and_a_sheet(tmp_path: Path) -> None:
    if not DATA.exists():
        pytest.skip(f"no photographs to judge on at {DATA}")
    photos = tmp_path / "photos"
    photos.mkdir()
    for path in sorted((DATA / "dev").glob("plants-0[12].jpg")):
        (photos / path.name).symlink_to(path)
    old = tmp_path / "old"
    old.mkdir()
    (old / "old-21.jpg").symlink_to(DATA / "historical" / "old-21.jpg")
    scores = tmp_path / "scores.json"
    scores.write_text('{"elsewhere": []}')
    command = [sys.executable, "-m", "retint", "evaluate", str(photos), "--threads", "1", "--defaders", ""]
    command += ["--training", str(photos), "--json", str(scores), "--sheet", str(tmp_path / "sheet.jpg")]
    command += ["--old", str(old), "--old-sheet", str(tmp_path / "old.jpg")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    written = json.loads(scores.read_text())
    names = ["gray", "mean-ab", "table", "shuffled", "compact", "compact-vivid"]
    assert [row["name"] for row in written["colorize"]] == names
    assert written["elsewhere"] == [], "what another judge wrote stays"
    assert len(done.stdout.splitlines()) == len(names) + 1
    assert (tmp_path / "sheet.jpg").stat().st_size > 10_000
    with Image.open(tmp_path / "old.jpg") as sheet:
        gray, colored = (np.asarray(sheet.crop((left, 12, left + 320, 332))) for left in (12, 332))
    spread = [np.ptp(part[20:-20, 100:-100].astype(int), axis=2).mean() for part in (gray, colored)]
    assert spread[1] > spread[0] + 5, "as it is, then in color"


def test_the_command_lists_shows_and_verifies_weights() -> None:
    def weights(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "retint", "weights", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=100)

    assert "compact-vivid" in weights("list").stdout
    assert json.loads(weights("show", "compact", "--json").stdout)["license"] == "Apache-2.0"
    assert weights("verify").returncode == 0
    unknown = weights("show", "sepia")
    assert unknown.returncode == 2
    assert "no network is called 'sepia'; there are compact" in unknown.stderr
