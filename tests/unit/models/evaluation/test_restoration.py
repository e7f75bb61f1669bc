"""Scores of restorations whose score is known, and the prints that they begin with."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests import photographs

from retint_models.datasets.halves import half_of
from retint_models.datasets.photographs import Photos, open_photos
from retint_models.evaluation import restoration
from retint_models.evaluation.pictures import Pixels
from retint_models.evaluation.restoration import FAMILIES, RestorationSample, make_print, make_restoration_samples

NAMES = [f"{number}.png" for number in range(6)]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Photos:
    folder = tmp_path_factory.mktemp("photos")
    for number, name in enumerate(NAMES):
        Image.fromarray(photographs.color_photo(number, side=64)).save(folder / name)
    return open_photos(folder, folder / "cache")


@pytest.fixture(scope="module")
def samples(photos: Photos) -> list[RestorationSample]:
    return make_restoration_samples(photos)


def leave(sample: RestorationSample) -> Pixels:
    return sample.print


def restore_half(sample: RestorationSample) -> Pixels:
    return (sample.print // 2 + sample.truth // 2).astype(np.uint8)


def restore_perfectly(sample: RestorationSample) -> Pixels:
    return sample.truth


def rows_by_name(rows: list[dict[str, Any]], family: str) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in rows if row["family"] == family}


def test_what_is_left_and_what_is_restored_perfectly_score_so(samples: list[RestorationSample]) -> None:
    ways = {"left": leave, "half": restore_half, "perfect": restore_perfectly}
    found = rows_by_name(restoration.score_restorations(samples, ways), "silver")
    assert list(found) == list(ways)
    left, half, perfect = found.values()
    assert left["delta_e2000"] == left["before"] > half["delta_e2000"] > perfect["delta_e2000"]
    assert perfect["delta_e2000"] < 1e-2
    assert perfect["colorfulness_ratio"] == pytest.approx(1)
    assert {name: row["group"] for name, row in perfect["each"].items()} == dict.fromkeys(NAMES, "")
    assert perfect["delta_e2000"] == pytest.approx(np.mean([row["delta_e2000"] for row in perfect["each"].values()]))


def test_each_half_has_rows_of_its_own(samples: list[RestorationSample]) -> None:
    ways = {"left": leave, "half": restore_half}
    both = rows_by_name(restoration.score_restorations(samples, ways), "silver")["half"]["halves"]
    for half in ("choose", "judge"):
        only = [sample for sample in samples if half_of(sample.name) == half]
        alone = rows_by_name(restoration.score_restorations(only, ways), "silver")["half"]
        assert both[half] == {name: value for name, value in alone.items() if name in both[half]}
        assert {name for name in ("delta_e2000", "interval", "prints") if name not in both[half]} == set()


def test_progress_is_told_after_each_restored_print(samples: list[RestorationSample]) -> None:
    told: list[int] = []
    restoration.score_restorations(samples[:3], {"left": leave, "half": restore_half}, lambda: told.append(1))
    assert len(told) == 6


def test_the_table_has_a_line_for_each_row_even_without_a_half(samples: list[RestorationSample]) -> None:
    rows = restoration.score_restorations(samples[:1], {"left": leave, "half": restore_half})
    lines = [restoration.table_heading(), *map(restoration.table_line, rows)]
    assert lines[1].startswith("silver  ")
    assert "nan" in lines[1], "one photograph is in one half"
    assert len(lines) == 3


def test_a_print_depends_on_its_photograph_alone(photos: Photos, samples: list[RestorationSample]) -> None:
    fewer = make_restoration_samples(replace(photos, entries=photos.entries[3:]))
    same = [sample for sample in samples if sample.name in NAMES[3:]]
    assert [(one.name, one.family) for one in fewer] == [(one.name, one.family) for one in same]
    assert all(np.array_equal(one.print, other.print) for one, other in zip(fewer, same, strict=True))
    assert [sample.name for sample in make_restoration_samples(photos, every=2)] == [
        name for name in NAMES[::2] for _ in range(2)
    ]


@pytest.mark.parametrize("family", FAMILIES)
def test_prints_are_what_their_family_says(family: restoration.PrintFamily) -> None:
    photo = photographs.color_photo(2, side=64)
    printed = make_print(photo, family, np.random.default_rng(1))
    same = make_print(photo, family, np.random.default_rng(1))
    assert np.array_equal(printed, same)
    assert not np.array_equal(printed, photo)
    spread = np.ptp(printed.astype(int), axis=2)
    assert (spread.max() == 0) == (family == "gray")
    if family == "silver":
        hue = (printed[..., 0].astype(float) - printed[..., 2])[printed.mean(2) > 40]
        assert (hue > 0).mean() > 0.95, "brown, whatever color the photograph has there"
