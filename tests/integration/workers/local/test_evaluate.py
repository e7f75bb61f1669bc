"""`retint evaluate` as a person uses it, and what it says of the order of tone and color."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.integration.workers.local.commands import run_retint
from tests.paths import DATA
from tests.second_simulator import make_second_samples

from retint.settings import Settings
from retint_models.datasets.photographs import Photos, open_photos
from retint_models.evaluation import restoration
from retint_models.evaluation.restoration import RestorationSample, make_restoration_samples
from retint_workers import scratch
from retint_workers.local.evaluate import plan_runs
from retint_workers.local.restore_prints import restore_print

needs_photographs = pytest.mark.skipif(not DATA.exists(), reason=f"no photographs to judge on at {DATA}")


@needs_photographs
def test_the_command_evaluates_and_writes_rows_and_a_sheet(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for path in sorted((DATA / "dev").glob("plants-0[12].jpg")):
        (photos / path.name).symlink_to(path)
    old = tmp_path / "old"
    old.mkdir()
    (old / "old-21.jpg").symlink_to(DATA / "historical" / "old-21.jpg")
    scores = tmp_path / "scores.json"
    scores.write_text('{"elsewhere": []}')
    outputs = ("--json", scores, "--sheet", tmp_path / "sheet.jpg", "--old", old, "--old-sheet", tmp_path / "old.jpg")
    done = run_retint("evaluate", photos, "--threads", 1, "--defaders", "", "--training", photos, *outputs)
    written = json.loads(scores.read_text())
    names = ["gray", "mean-ab", "table", "shuffled", "compact", "compact-vivid"]
    assert [row["name"] for row in written["colorize"]] == names
    assert [row["halves"]["judge"]["photos"] for row in written["colorize"]] == [1] * len(names)
    assert written["elsewhere"] == [], "what another judge wrote stays"
    assert len(done.stdout.splitlines()) == len(names) + 1
    assert (tmp_path / "sheet.jpg").stat().st_size > 10_000
    with Image.open(tmp_path / "old.jpg") as sheet:
        gray, colored = (np.asarray(sheet.crop((left, 12, left + 320, 332))) for left in (12, 332))
    spread = [np.ptp(part[20:-20, 100:-100].astype(int), axis=2).mean() for part in (gray, colored)]
    assert spread[1] > spread[0] + 5, "as it is, then in color"


@needs_photographs
def test_the_command_scores_prints_that_the_stages_restored(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "plants-02.jpg").symlink_to(DATA / "dev" / "plants-02.jpg")
    scores = tmp_path / "scores.json"
    options = ("--score", "restoration", "--order", "both", "--half", "judge", "--colorizers", "compact")
    done = run_retint("evaluate", photos, *options, "--threads", 1, "--json", scores)
    written = json.loads(scores.read_text())
    assert list(written) == ["restore"]
    assert len(done.stdout.splitlines()) == 5, "two prints, each in two orders, and a heading"
    silver = [row for row in written["restore"] if row["family"] == "silver"]
    assert [row["name"] for row in silver] == [
        "compact, compact-defade, color-first",
        "compact, compact-defade, tone-first",
    ]
    for row in silver:
        assert row["colorfulness_ratio"] > 0.2, "a result without color would be no product of the stages"
    assert silver[1]["gain"] == pytest.approx(silver[0]["delta_e2000"] - silver[1]["delta_e2000"])
    assert silver[0]["delta_e2000"] != silver[1]["delta_e2000"]


@pytest.fixture(scope="module")
def some_photos(tmp_path_factory: pytest.TempPathFactory) -> Photos:
    if not DATA.exists():
        pytest.skip(f"no photographs to judge on at {DATA}")
    torch.set_num_threads(1)
    return open_photos(DATA / "dev", tmp_path_factory.mktemp("cache"), pattern="*-0[25].jpg", short_side=192)


def gain_of_tone_first(samples: list[RestorationSample]) -> float:
    """Return how much less the error is with tone first, mean CIEDE2000."""
    ways = {
        run.title: partial(restore_print, run=run, settings=Settings(), report=pytest.fail)
        for run in plan_runs(["compact"], ["compact-defade"], "both")
    }
    with scratch.open_root():
        return float(restoration.score_restorations(samples, ways)[-1]["gain"])


def test_faded_black_and_white_prints_gain_by_tone_first(some_photos: Photos) -> None:
    assert gain_of_tone_first(make_restoration_samples(some_photos, every=2)[::2]) > 0.2


def test_so_do_those_of_a_simulator_with_other_formulas(some_photos: Photos) -> None:
    assert gain_of_tone_first(make_second_samples(some_photos, every=2)[::2]) > 0.2
