"""How many photos a bundle should have: as many as a worker runs in a moment, by the measured time of one photo."""

import time
from collections.abc import Mapping
from typing import Final

from retint import metrics
from retint.jobs.tallies import Load
from retint.lifecycle import STAGES, Stage
from retint.recipes import Recipe

BUNDLE_S: Final = 2.0
"""Time that a bundle should take at its slowest stage."""
FIRST_SIZE: Final = 16
"""Photos of a bundle whose time is not known yet."""
SHARE: Final = 0.5
"""Weight of the newest measurement in the moving average."""
READ_S: Final = 2.0
"""Time between two measurements."""


def name_network(stage: str, recipe: Recipe) -> str:
    """Return the network that decides how long a stage takes; empty for a stage without one."""
    return {Stage.COLORIZE: recipe.colorizer, Stage.DEFADE: recipe.defader}.get(Stage(stage), "")


class Pace:
    """Mean seconds for one photo, by stage and network; from what all workers count."""

    def __init__(self) -> None:
        self._seconds: dict[tuple[str, str], float] = {}
        self._before: dict[tuple[str, str], tuple[float, float]] = {}
        self._read_at = float("-inf")

    @property
    def is_due(self) -> bool:
        """Whether it is time for the next measurement."""
        return time.monotonic() - self._read_at > READ_S

    def measure(self, counts: Mapping[str, float]) -> None:
        """Compare the counts with those of the last call (see `totals.read`)."""
        self._read_at = time.monotonic()
        for place, (seconds, photos) in _read_stage_seconds(counts).items():
            seconds_before, photos_before = self._before.get(place, (0.0, 0.0))
            self._before[place] = seconds, photos
            if photos > photos_before:
                newest = max(0.0, seconds - seconds_before) / (photos - photos_before)
                known = self._seconds.get(place, newest)
                self._seconds[place] = known + SHARE * (newest - known)

    def size(self, load: Load, most: int) -> int:
        """Return the size of a bundle of this load: its slowest stage from here on takes about `BUNDLE_S`."""
        following = STAGES[STAGES.index(load.stage) :]
        known = [self._seconds.get((stage, name_network(stage, load.recipe))) for stage in following]
        if None in known:
            most = min(most, FIRST_SIZE)
        slowest = max((seconds for seconds in known if seconds is not None), default=0.0)
        return max(1, min(most, int(BUNDLE_S / slowest))) if slowest > 0 else most


def _read_stage_seconds(counts: Mapping[str, float]) -> dict[tuple[str, str], tuple[float, float]]:
    """Read the sum of the seconds and the number of photos by stage and network."""
    found: dict[tuple[str, str], tuple[float, float]] = {}
    for key, n in counts.items():
        name, *values = key.split(" ")
        if name == metrics.STAGE_SECONDS.name:
            stage, network, bucket = values
            seconds, photos = found.get((stage, network), (0.0, 0.0))
            is_sum = bucket == metrics.SUM
            found[stage, network] = (seconds + n, photos) if is_sum else (seconds, photos + n)
    return found
