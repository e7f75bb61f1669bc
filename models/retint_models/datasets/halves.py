"""Which photographs train, which choose, and which only judge.

Whatever is chosen by a score (checkpoints, settings, thresholds) fits the photographs that gave the score better than
others. So the scores to be believed come from photographs that chose nothing: one half of those held back. The other
half chooses, together with a part of the training folder, since a hundred photographs alone choose by noise.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import PurePath
from typing import Any, Literal, get_args

from retint_models.datasets.photographs import Photos, join_photos

Half = Literal["choose", "judge"]
HALVES: tuple[Half, ...] = get_args(Half)

SALT = "143185"
"""The first number that halves the dev photographs, each stratum among them, and nearly those of unclear license.
It was looked for with names and licenses alone, before a half was scored."""


HELD_BACK = "held-back"
HELD_BACK_OF_256 = 13
"""Photographs of 256 that a training folder holds back: about one in twenty."""


def half_of(name: str) -> Half:
    """Return the half that a photograph belongs to, by the name of its file without folder and suffix.

    It depends on nothing else: a photograph that is added moves no other one, and a photograph's simulated prints are
    in the photograph's half. Those that `hold_back` returns choose.
    """
    if PurePath(name).parent.name == HELD_BACK:
        return "choose"
    return "judge" if _digest(name)[0] & 1 else "choose"


def is_held_back(entry: Mapping[str, Any]) -> bool:
    """Return whether a training folder's photograph is kept from training, to choose with.

    One in twenty is, by its file's name alone, of those whose manifest says tier A: what is doubtful trains, but does
    not choose. The photographs share their sources with those of training, so a network looks better on them than on
    others: they choose among networks, and no score on them is to be reported.

    Args:
        entry: The photograph's entry in `Photos.entries`.
    """
    return entry.get("tier") == "A" and _digest(str(entry["name"]))[1] < HELD_BACK_OF_256


def _digest(name: str) -> bytes:
    return hashlib.sha256(f"{SALT} {PurePath(name).stem}".encode(errors="surrogateescape")).digest()


def part_photographs(known: Photos, held_back: Photos) -> tuple[Photos, Photos]:
    """Return the photographs that train and those that choose, in their order.

    Args:
        known: A training folder's photographs. Those that `is_held_back` names choose.
        held_back: Photographs of another folder. The half that chooses is used, the other one judges what is chosen.

    Raises:
        ValueError: that half is empty, or nothing is left to train on.
    """
    training = _keep(known, lambda entry: not is_held_back(entry))
    if not training.entries:
        raise ValueError(f"no photograph is left to train on, all {len(known)} are held back to choose: add more")
    return training, join_photos(keep_half(held_back, "choose"), hold_back(known))


def hold_back(known: Photos) -> Photos:
    """Return the photographs of a training folder that choose; their names and stratum say that they do."""
    kept = _keep(known, is_held_back)
    return replace(
        kept,
        entries=[entry | {"name": f"{HELD_BACK}/{entry['name']}", "stratum": HELD_BACK} for entry in kept.entries],
    )


def keep_half(photos: Photos, half: Half) -> Photos:
    """Return the photographs of one half, in their order.

    Raises:
        ValueError: there is none.
    """
    kept = _keep(photos, lambda entry: half_of(str(entry["name"])) == half)
    if not kept.entries:
        raise ValueError(
            f"of the photographs held back ({len(photos)}), the half that may {half} is empty: add photographs"
            " (names decide which half each is in; 100 to 300 are enough)"
        )
    return kept


def _keep(photos: Photos, is_kept: Callable[[Mapping[str, Any]], bool]) -> Photos:
    return replace(photos, entries=[entry for entry in photos.entries if is_kept(entry)])
