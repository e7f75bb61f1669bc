"""Which photographs train, which choose and which judge."""

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from tests.paths import DATA

from retint_models.datasets.halves import HALVES, half_of, is_held_back, keep_half, part_photographs
from retint_models.datasets.photographs import Photos

NAMES = [f"people-{number:02}.jpg" for number in range(1, 26)]


def make_photos(names: list[str], **facts: str) -> Photos:
    entries = [facts | {"name": name, "height": 1, "width": 1, "start": 3 * place} for place, name in enumerate(names)]
    return Photos(np.arange(3 * len(names), dtype=np.uint8), entries, {"broken": 1})


def test_a_photograph_stays_in_its_half_whatever_is_added_and_however_it_is_kept() -> None:
    before = {name: half_of(name) for name in NAMES}
    photos = keep_half(make_photos(sorted([*NAMES, *(f"attic-{number}.png" for number in range(30))])), "judge")
    assert [entry["name"] for entry in photos.entries if entry["name"] in before] == [
        name for name in NAMES if before[name] == "judge"
    ]
    assert half_of("people-01.jpg") == half_of("dev/people-01.png") == half_of("people-01")


def test_the_halves_share_no_photograph_and_leave_none_out() -> None:
    photos = make_photos(NAMES)
    halves = [keep_half(photos, half) for half in HALVES]
    assert sorted(entry["name"] for half in halves for entry in half.entries) == NAMES
    assert all(len(half) in (12, 13) for half in halves)
    assert halves[0].identity != halves[1].identity
    for half in halves:
        assert [half[place].sum() for place in range(len(half))] == [
            photos[NAMES.index(entry["name"])].sum() for entry in half.entries
        ]
        assert half.skipped == photos.skipped


def test_the_halves_never_change() -> None:
    """Cards say which half chose: another salt, or another way to hash, would make them lie."""
    judging = [name for name in NAMES if half_of(name) == "judge"]
    assert judging[:3] == ["people-01.jpg", "people-03.jpg", "people-04.jpg"]


def test_an_empty_half_is_refused() -> None:
    choosing = [name for name in NAMES if half_of(name) == "choose"]
    with pytest.raises(ValueError, match="the half that may judge is empty"):
        keep_half(make_photos(choosing), "judge")
    with pytest.raises(ValueError, match="the half that may choose is empty"):
        keep_half(replace(make_photos(choosing), entries=[]), "choose")


def test_one_in_twenty_of_a_training_folder_chooses_and_is_never_trained_on() -> None:
    known = make_photos([f"street-{number:04}.jpg" for number in range(80)], tier="A")
    held_back = make_photos(NAMES)
    training, choosing = part_photographs(known, held_back)
    trained, chose = ([entry["name"] for entry in photos.entries] for photos in (training, choosing))
    half = [name for name in NAMES if half_of(name) == "choose"]
    more = [f"street-00{number}.jpg" for number in ("04", "06", "10", "37", "51")]
    assert chose == half + [f"held-back/{name}" for name in more]
    assert {half_of(name) for name in chose} == {"choose"} < {half_of(name) for name in more}, "all of them choose"
    assert sorted(trained + more) == [entry["name"] for entry in known.entries]
    assert [photo.tolist() for photo in choosing] == [
        *(held_back[NAMES.index(name)].tolist() for name in half),
        *(known[int(name[7:11])].tolist() for name in more),
    ]


def test_what_is_held_back_depends_on_name_and_tier_alone() -> None:
    names = [f"street-{number:04}.jpg" for number in range(2000)]
    held_back = [name for name in names if is_held_back({"name": name, "tier": "A"})]
    assert 0.04 < len(held_back) / len(names) < 0.06
    assert is_held_back({"name": f"train/{held_back[0][:-4]}.png", "tier": "A", "source": "attic", "height": 9})
    assert not any(is_held_back({"name": name, "tier": "B"}) or is_held_back({"name": name}) for name in held_back)
    judging = sum(half_of(name) == "judge" for name in held_back)
    assert 0.3 < judging / len(held_back) < 0.7, "the half and the part are drawn apart"


def test_a_training_folder_that_is_all_held_back_is_refused() -> None:
    with pytest.raises(ValueError, match="no photograph is left to train on, all 1 are held back to choose"):
        part_photographs(make_photos(["street-0004.jpg"], tier="A"), make_photos(NAMES))


def test_every_stratum_of_dev_is_halved() -> None:
    manifest = DATA / "dev" / "manifest.jsonl"
    if not manifest.exists():
        pytest.skip(f"no photographs held back at {manifest.parent}")
    names = [json.loads(line)["file"] for line in manifest.read_text().splitlines()]
    counts = Counter((name.split("-")[0], half_of(name)) for name in names)
    for stratum in {name.split("-")[0] for name in names}:
        assert abs(counts[stratum, "choose"] - counts[stratum, "judge"]) <= 1, stratum
    assert sum(half_of(name) == "judge" for name in names) == len(names) // 2
