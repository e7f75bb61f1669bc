"""`retint evaluate` as a person uses it, and what it says of the order of tone and color."""

import json
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.integration.workers.local.commands import run_retint
from tests.paths import DATA
from tests.second_simulator import make_second_samples

from retint.settings import Settings
from retint_models.datasets.halves import half_of, is_held_back
from retint_models.datasets.photographs import Photos, open_photos
from retint_models.evaluation import restoration
from retint_models.evaluation.candidates import Candidate
from retint_models.evaluation.restoration import RestorationSample, make_restoration_samples
from retint_models.weights.cards import IMPORTED
from retint_workers import scratch
from retint_workers.local.evaluate import Networks
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
    sheets = tmp_path / "sheets"
    outputs = ("--json", scores, "--sheets", sheets, "--old", old)
    networks = ("--score", "networks", "--colorizers", "compact,compact:gain=1.2", "--defaders", "")
    done = run_retint("evaluate", photos, "--threads", 1, *networks, "--training", photos, *outputs)
    written = json.loads(scores.read_text())
    names = ["gray", "mean-ab", "table", "shuffled", "compact", "compact:gain=1.2"]
    assert [row["name"] for row in written["colorize"]] == names
    assert [row["halves"]["judge"]["photos"] for row in written["colorize"]] == [1] * len(names)
    assert written["elsewhere"] == [], "what another judge wrote stays"
    assert written["colorize"][-1]["changes"]["all"]["colorfulness"]["mean"] < 0
    assert "compact:gain=1.2, less what compact has:" in done.stdout
    assert {path.name for path in sheets.iterdir()} == {"plants.jpg", "pages.jpg", "old.jpg"}
    with Image.open(sheets / "old.jpg") as sheet:
        gray, colored = (np.asarray(sheet.crop((left, 12, left + 384, 396))) for left in (12, 396))
    spread = [np.ptp(part[20:-20, 100:-100].astype(int), axis=2).mean() for part in (gray, colored)]
    assert spread[1] > spread[0] + 5, "as it is, then in color"


@needs_photographs
def test_what_training_holds_back_chooses_with_the_half_that_does(tmp_path: Path) -> None:
    photos, training = tmp_path / "photos", tmp_path / "train"
    for folder, names in ((photos, ["plants-01.jpg", "plants-02.jpg"]), (training, ["food-01.jpg", "food-02.jpg"])):
        folder.mkdir()
        for name in names:
            (folder / name).symlink_to(DATA / "dev" / name)
    number = next(number for number in count() if is_held_back({"name": f"kept-{number}.jpg", "tier": "A"}))
    (training / f"kept-{number}.jpg").symlink_to(DATA / "dev" / "food-03.jpg")
    lines = [{"file": name.name, "tier": "A"} for name in training.iterdir()]
    (training / "manifest.jsonl").write_text("\n".join(map(json.dumps, lines)))
    options = ("--score", "networks", "--half", "choose", "--colorizers", "compact", "--defaders", "")
    run_retint("evaluate", photos, "--training", training, *options, "--threads", 1, "--json", tmp_path / "scores.json")
    row = json.loads((tmp_path / "scores.json").read_text())["colorize"][-1]
    choosing = [name for name in ("plants-01.jpg", "plants-02.jpg") if half_of(name) == "choose"]
    assert list(row["each"]) == [*choosing, f"held-back/kept-{number}.jpg"]
    assert row["each"][f"held-back/kept-{number}.jpg"]["group"] == "held-back"


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
    table = done.stdout.strip().split("\n\n")[0].splitlines()
    assert len(table) == 5, "two prints, each in two orders, and a heading"
    silver = [row for row in written["restore"] if row["family"] == "silver"]
    assert [row["name"] for row in silver] == [
        "compact, compact-defade, color-first",
        "compact, compact-defade, tone-first",
    ]
    for row in silver:
        assert row["colorfulness_ratio"] > 0.2, "a result without color would be no product of the stages"
    change = silver[1]["changes"]["judge"]["delta_e2000"]["mean"]
    assert change == pytest.approx(silver[1]["delta_e2000"] - silver[0]["delta_e2000"], abs=1e-4)
    again = run_retint("evaluate", photos, *options[:4], "--half", "judge", *options[6:], "--against", scores)
    title = "compact, compact-defade, tone-first"
    assert f"{title}, silver, less what {title} (earlier) has:\n  all          1  delta_e2000 +0.00" in again.stdout
    assert silver[0]["delta_e2000"] != silver[1]["delta_e2000"]


@pytest.fixture(scope="module")
def some_photos(tmp_path_factory: pytest.TempPathFactory) -> Photos:
    if not DATA.exists():
        pytest.skip(f"no photographs to judge on at {DATA}")
    torch.set_num_threads(1)
    return open_photos(DATA / "dev", tmp_path_factory.mktemp("cache"), pattern="*-0[25].jpg", short_side=192)


def change_by_tone_first(samples: list[RestorationSample]) -> float:
    """Return how much more the error is with tone first, mean CIEDE2000."""
    compact, defade = Candidate("compact", "compact"), Candidate("compact-defade", "compact-defade")
    ways = {
        run.title: partial(restore_print, run=run, settings=Settings(), report=pytest.fail)
        for run in Networks([compact], [defade], IMPORTED, Path()).plan_runs("both")
    }
    with scratch.open_root():
        color_first, tone_first = restoration.score_restorations(samples, ways)
    return float(tone_first["delta_e2000"]) - float(color_first["delta_e2000"])


def test_faded_black_and_white_prints_gain_by_tone_first(some_photos: Photos) -> None:
    assert change_by_tone_first(make_restoration_samples(some_photos, every=2)[::2]) < -0.2


def test_so_do_those_of_a_simulator_with_other_formulas(some_photos: Photos) -> None:
    assert change_by_tone_first(make_second_samples(some_photos, every=2)[::2]) < -0.2
