"""Bundles: chooses the jobs that a fleet gets next, marks them as queued, and groups them into bundles."""

import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

import structlog
from sqlalchemy.orm import Session

from retint.jobs import queueing, takeovers
from retint.jobs.queueing import QueuedJob
from retint.jobs.tallies import Load
from retint.lifecycle import Stage
from retint.settings import Settings
from retint_workers.dispatch.turns import Turns

log = structlog.get_logger()


@dataclass(frozen=True)
class Bundle:
    """Jobs of one batch, one recipe and one stage that travel together."""

    tenant_id: uuid.UUID
    batch_id: uuid.UUID
    stage: Stage
    priority: int
    job_ids: tuple[uuid.UUID, ...]


@dataclass
class BundleChooser:
    """Chooses bundles for one fleet in one tick.

    Attributes:
        session: the transaction.
        settings: the largest bundle, and how long a queued job waits for its claim.
        turns: of the tenants on this fleet.
        room: how many more jobs may be in flight.
        sizes: most jobs of a bundle, by load.
        urgent: urgent jobs in flight by tenant.
        taken_over: jobs that took over a result in this tick.
    """

    session: Session
    settings: Settings
    turns: Turns
    room: int
    sizes: Callable[[Load], int]
    urgent: Counter[uuid.UUID]
    taken_over: int = 0

    def choose(self, ready: Collection[Load]) -> Iterator[Bundle]:
        """Mark the next jobs as queued, tenant by tenant in turn, and yield them as bundles.

        Jobs whose result is here take it over instead.
        """
        waiting = self.turns.start(ready)
        while waiting:
            tenant_id = self.turns.next(waiting)
            load = waiting[tenant_id][0]
            limit = self._limit(load)
            if limit <= 0:
                del waiting[tenant_id]
                continue
            if load.stage is Stage.INGEST and not self._take_over(load, limit):
                _drop_first(waiting, tenant_id)
                continue
            taken = queueing.queue(self.session, load.batch_id, load.stage, limit, self.settings.requeue_s)
            if len(taken) < limit:  # the rest is not due yet: it waits out its backoff
                _drop_first(waiting, tenant_id)
            self.turns.serve(tenant_id, len(taken) / load.weight)
            self.room -= len(taken)
            self.urgent[tenant_id] += len(taken) if load.priority else 0
            yield from _group(load, taken)

    def _take_over(self, load: Load, limit: int) -> bool:
        """Let jobs take over results that are here; return whether none of the next ones can.

        Where one could, those behind it are looked at many at a time: they are often a deposit that was made before.
        """
        look = limit
        while self.taken_over < queueing.CHUNK:
            taken = takeovers.take_over(
                self.session, load.tenant_id, load.batch_id, load.recipe, look, self.settings.weights
            )
            if not taken:
                return True
            log.info("results_taken_over", batch_id=str(load.batch_id), jobs=taken)
            self.taken_over, look = self.taken_over + taken, queueing.CHUNK
        return False  # the rest in the next tick, so that the transaction stays short

    def _limit(self, load: Load) -> int:
        """Return how many jobs of a load may be sent now, in one bundle; 0 for none."""
        if self.room > 0:
            return min(self.sizes(load), self.room)
        # Without room, urgent jobs overtake: one bundle per tenant at a time, and in its turn.
        if load.priority == 0 or self.turns.is_ahead(load.tenant_id, self.settings.bundle_size):
            return 0
        return min(self.sizes(load), self.settings.bundle_size - self.urgent[load.tenant_id])


def _drop_first(waiting: dict[uuid.UUID, list[Load]], tenant_id: uuid.UUID) -> None:
    """Drop a tenant's first load, which has nothing more to send in this tick."""
    waiting[tenant_id].pop(0)
    if not waiting[tenant_id]:
        del waiting[tenant_id]


def _group(load: Load, taken: Sequence[QueuedJob]) -> Iterator[Bundle]:
    """Group jobs into bundles, each of one recipe.

    A job that failed before travels alone: if it kills its worker, it takes no other photo with it.
    """
    together: dict[str | None, list[uuid.UUID]] = {}
    for job in taken:
        if not job.faults:
            together.setdefault(job.recipe_hash, []).append(job.id)
    alone = [[job.id] for job in taken if job.faults]
    for job_ids in [*together.values(), *alone]:
        yield Bundle(load.tenant_id, load.batch_id, load.stage, load.priority, tuple(job_ids))
