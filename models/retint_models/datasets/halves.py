"""The two halves of the photographs held back: one chooses, the other only judges.

Whatever is chosen by a score (checkpoints, settings, thresholds) fits the photographs that gave the score better than
others. So the scores to be believed come from photographs that chose nothing.
"""

import hashlib
from dataclasses import replace
from pathlib import PurePath
from typing import Literal, get_args

from retint_models.datasets.photographs import Photos

Half = Literal["choose", "judge"]
HALVES: tuple[Half, ...] = get_args(Half)

SALT = "143185"
"""The first number that halves the dev photographs, each stratum among them, and nearly those of unclear license.
It was looked for with names and licenses alone, before a half was scored."""


def half_of(name: str) -> Half:
    """Return the half that a photograph belongs to, by the name of its file without folder and suffix.

    It depends on nothing else: a photograph that is added moves no other one, and a photograph's simulated prints are
    in the photograph's half.
    """
    digest = hashlib.sha256(f"{SALT} {PurePath(name).stem}".encode(errors="surrogateescape")).digest()
    return "judge" if digest[0] & 1 else "choose"


def keep_half(photos: Photos, half: Half) -> Photos:
    """Return the photographs of one half, in their order.

    Raises:
        ValueError: there is none.
    """
    entries = [entry for entry in photos.entries if half_of(str(entry["name"])) == half]
    if not entries:
        raise ValueError(
            f"of the photographs held back ({len(photos)}), the half that may {half} is empty: add photographs"
            " (names decide which half each is in; 100 to 300 are enough)"
        )
    return replace(photos, entries=entries)
