"""Weighted fair queueing: whose turn it is among the tenants that wait for one fleet."""

import uuid
from collections.abc import Collection
from dataclasses import dataclass, field

from retint.jobs.tallies import Load
from retint.lifecycle import STAGES


@dataclass
class Turns:
    """Weighted turns of the tenants on one fleet (start-time fair queueing, Goyal et al. 1996).

    The tenant that was served least is next. A tenant that comes back after a pause starts where the others are: idle
    time earns no credit.

    Attributes:
        served: jobs sent by tenant, divided by the tenant's weight.
        virtual_time: what the tenant that was served last had been served before.
    """

    served: dict[uuid.UUID, float] = field(default_factory=dict)
    virtual_time: float = 0.0

    def start(self, ready: Collection[Load]) -> dict[uuid.UUID, list[Load]]:
        """Group what is ready by tenant; within a tenant sort by priority, then age, then the latest stage."""
        waiting: dict[uuid.UUID, list[Load]] = {}
        for load in sorted(ready, key=lambda load: (-load.priority, load.created_at, -STAGES.index(load.stage))):
            waiting.setdefault(load.tenant_id, []).append(load)
        self.served = {tenant_id: self.served.get(tenant_id, self.virtual_time) for tenant_id in waiting}
        return waiting

    def next(self, waiting: Collection[uuid.UUID]) -> uuid.UUID:
        """Return the tenant whose turn it is."""
        return min(waiting, key=self.served.__getitem__)

    def is_ahead(self, tenant_id: uuid.UUID, slack: float) -> bool:
        """Whether a tenant was served more than another one that waits, by more than the slack."""
        return self.served[tenant_id] > min(self.served.values()) + slack

    def serve(self, tenant_id: uuid.UUID, share: float) -> None:
        """Count jobs sent for a tenant, divided by its weight."""
        self.virtual_time = self.served[tenant_id]
        self.served[tenant_id] += share
