"""How many photos a bundle should have: as many as a worker runs in a moment, by the measured time of one photo."""

import time
from collections.abc import Mapping
from typing import Final

from retint import metrics
from retint.demand import Speeds, name_network
from retint.jobs.tallies import Load
from retint.lifecycle import STAGES
from retint.metrics import Metric

BUNDLE_S: Final = 2.0
"""Time that a bundle should take at its slowest stage."""
FIRST_SIZE: Final = 16
"""Photos of a bundle whose time is not known yet."""
SHARE: Final = 0.5
"""Weight of the newest measurement in the moving average."""
READ_S: Final = 2.0
"""Time between two measurements."""


class Pace:
    """Mean seconds for one photo, and for one frame of a film, by stage and network; from what all workers count."""

    def __init__(self) -> None:
        self._photos = _Means(metrics.STAGE_SECONDS)
        self._frames = _Means(metrics.FRAME_SECONDS)
        self._read_at = float("-inf")

    @property
    def is_due(self) -> bool:
        """Whether it is time for the next measurement."""
        return time.monotonic() - self._read_at > READ_S

    @property
    def speeds(self) -> Speeds:
        """All that is measured."""
        return Speeds(self._photos.seconds, self._frames.seconds)

    def measure(self, counts: Mapping[str, float]) -> None:
        """Compare the counts with those of the last call (see `totals.read`)."""
        self._read_at = time.monotonic()
        self._photos.measure(counts)
        self._frames.measure(counts)

    def size(self, load: Load, most: int) -> int:
        """Return the size of a bundle of this load: its slowest stage from here on takes about `BUNDLE_S`."""
        following = STAGES[STAGES.index(load.stage) :]
        known = [self._photos.seconds.get((stage, name_network(stage, load.recipe))) for stage in following]
        if None in known:
            most = min(most, FIRST_SIZE)
        slowest = max((seconds for seconds in known if seconds is not None), default=0.0)
        return max(1, min(most, int(BUNDLE_S / slowest))) if slowest > 0 else most


class _Means:
    """Moving averages of a histogram's observations, by stage and network."""

    def __init__(self, metric: Metric) -> None:
        self.seconds: dict[tuple[str, str], float] = {}
        self._metric = metric
        self._before: dict[tuple[str, str], tuple[float, float]] = {}

    def measure(self, counts: Mapping[str, float]) -> None:
        for place, (seconds, n) in self._read(counts).items():
            seconds_before, n_before = self._before.get(place, (0.0, 0.0))
            self._before[place] = seconds, n
            if n > n_before:
                newest = max(0.0, seconds - seconds_before) / (n - n_before)
                known = self.seconds.get(place, newest)
                self.seconds[place] = known + SHARE * (newest - known)

    def _read(self, counts: Mapping[str, float]) -> dict[tuple[str, str], tuple[float, float]]:
        """Read the sum and the number of the observations."""
        found: dict[tuple[str, str], tuple[float, float]] = {}
        for key, n in counts.items():
            name, *values = key.split(" ")
            if name == self._metric.name:
                stage, network, bucket = values
                seconds, observed = found.get((stage, network), (0.0, 0.0))
                found[stage, network] = (seconds + n, observed) if bucket == metrics.SUM else (seconds, observed + n)
        return found
