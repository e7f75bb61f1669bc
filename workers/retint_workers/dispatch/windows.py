"""In-flight windows: how many jobs each fleet may have queued and running, so that the broker's queue stays short."""

import uuid
from collections import Counter
from collections.abc import Collection, Mapping

from retint.jobs.tallies import Load
from retint.lifecycle import FLEETS, QUEUES, State

WINDOW = 3
"""Bundles in flight for each live worker: one that runs, one that waits, one on its way."""
WIDEST = 32
"""The same where workers finish more than half of them between two ticks."""

IN_FLIGHT = (State.QUEUED, State.RUNNING)


class Windows:
    """The window of each fleet, in bundles per live worker; adapted to how fast the workers empty it.

    Attributes:
        bundle_sizes: photos of a bundle by fleet.
    """

    def __init__(self, bundle_size: int) -> None:
        self.bundle_sizes = dict.fromkeys(FLEETS, bundle_size)
        self._sizes = dict.fromkeys(FLEETS, WINDOW)
        self._full: set[str] = set()
        """Fleets whose window the last tick filled."""

    def adapt(self, live: Counter[str], in_flight: Counter[str]) -> None:
        """Double the windows that were full and are half empty again; halve those that stay full.

        Args:
            live: number of live workers by fleet.
            in_flight: number of jobs queued and running by fleet.
        """
        for fleet, size in self._sizes.items():
            capacity = size * self.bundle_sizes[fleet] * max(1, live[fleet])
            if fleet in self._full and in_flight[fleet] < capacity / 2:
                self._sizes[fleet] = min(2 * size, WIDEST)
            elif in_flight[fleet] >= capacity:
                self._sizes[fleet] = max(size // 2, WINDOW)
        self._full.clear()

    def count_free(self, fleet: str, live: Counter[str], in_flight: Counter[str]) -> dict[str, int]:
        """Return how many more jobs fit when jobs are sent to a fleet: into its window, and into the next fleet's."""
        free = {}
        for name, size in self._sizes.items():
            bundles = size * live[name] if name == fleet else 2 * size * max(1, live[name])
            free[name] = bundles * self.bundle_sizes[name] - in_flight[name]
        return free

    def record_sent(self, free: Mapping[str, int], sent: int) -> None:
        """Remember which windows are full now that so many jobs were sent."""
        self._full |= {fleet for fleet, n in free.items() if n <= sent}


def count_in_flight(loads: Collection[Load]) -> Counter[str]:
    """Count the jobs that each fleet has in flight."""
    in_flight = Counter[str]()
    for load in loads:
        if load.state in IN_FLIGHT:
            in_flight[QUEUES[load.stage]] += load.n
    return in_flight


def count_urgent(fleet: str, loads: Collection[Load]) -> Counter[uuid.UUID]:
    """Count the urgent jobs (priority above 0) that each tenant has in flight on a fleet."""
    urgent = Counter[uuid.UUID]()
    for load in loads:
        if load.priority and load.state in IN_FLIGHT and QUEUES[load.stage] == fleet:
            urgent[load.tenant_id] += load.n
    return urgent
