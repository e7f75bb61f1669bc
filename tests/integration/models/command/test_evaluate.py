"""`retint evaluate` as a person uses it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.paths import DATA


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
