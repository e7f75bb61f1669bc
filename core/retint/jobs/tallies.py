"""Counts of jobs by stage and state, and groups of failures, for pages and for the dispatcher.

Counts are sums over the table `tallies`, which triggers of the database write (see `migrations`). No query here counts
the rows of restored jobs.
"""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import delete, exists, func, insert, or_, select, text
from sqlalchemy.orm import Session

from retint.columns import now
from retint.database import NO_SYNC
from retint.lifecycle import ACTIVE, FINAL, IN_FLIGHT_PHASE, READY_PHASES, Stage, State
from retint.tables import IS_FAILED, IS_READY, Batch, Job, Table, Tally, Tenant

TALLIES = Table.metadata.tables["tallies"]


@dataclass(frozen=True)
class Counts:
    """Numbers of jobs by stage and state."""

    by: dict[tuple[Stage, State], int] = field(default_factory=dict)

    def of(self, *states: State) -> int:
        """Count the jobs in any of these states, at all stages."""
        return sum(n for (_, state), n in self.by.items() if state in states)

    def at(self, stage: Stage, *states: State) -> int:
        """Count the jobs at a stage in any of these states; in all states if none is given."""
        return sum(n for (at, state), n in self.by.items() if at is stage and (not states or state in states))

    @property
    def total(self) -> int:  # noqa: D102
        return sum(self.by.values())

    @property
    def ready(self) -> int:  # noqa: D102
        return self.of(State.READY)

    @property
    def queued(self) -> int:  # noqa: D102
        return self.of(State.QUEUED)

    @property
    def running(self) -> int:  # noqa: D102
        return self.of(State.RUNNING)

    @property
    def restored(self) -> int:  # noqa: D102
        return self.of(State.RESTORED)

    @property
    def refused(self) -> int:  # noqa: D102
        return self.of(State.REFUSED)

    @property
    def quarantined(self) -> int:  # noqa: D102
        return self.of(State.QUARANTINED)

    @property
    def cancelled(self) -> int:  # noqa: D102
        return self.of(State.CANCELLED)

    @property
    def ended(self) -> int:
        """Jobs in a final state: restored, refused or cancelled."""
        return self.of(*FINAL)


@dataclass(frozen=True)
class Depth:
    """Jobs that wait and run at one stage, without those of paused batches."""

    stage: Stage
    ready: int
    queued: int
    running: int
    oldest_s: float
    """Seconds that the oldest ready or queued job has waited; 0 if there is none."""


@dataclass(frozen=True)
class FailureGroup:
    """Jobs that failed for one reason."""

    reason_code: str
    reason: str
    """The sentence of one of them."""
    state: State
    count: int
    batches: int


@dataclass(frozen=True)
class Load:
    """Number of jobs of one batch at one stage in one active state, with what the dispatcher ranks them by."""

    tenant_id: uuid.UUID
    weight: int
    batch_id: uuid.UUID
    priority: int
    created_at: datetime
    paused: bool
    stage: Stage
    state: State
    n: int


def count_jobs(session: Session, batch_ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, Counts]:
    """Count the jobs of batches by stage and state; the cost does not depend on the number of jobs."""
    found: dict[uuid.UUID, dict[tuple[Stage, State], int]] = {batch_id: {} for batch_id in batch_ids}
    rows = session.execute(
        select(Tally.batch_id, Tally.stage, Tally.state, func.sum(Tally.n).label("n"))
        .where(Tally.batch_id.in_(found))
        .group_by(Tally.batch_id, Tally.stage, Tally.state)
    )
    for row in rows:
        if row.n:
            found[row.batch_id][row.stage, row.state] = int(row.n)
    return {batch_id: Counts(by) for batch_id, by in found.items()}


def fold(session: Session, since: int) -> int:
    """Replace the tallies of every batch that changed by their sums.

    Args:
        session: the transaction.
        since: what the last call returned; 0 for the first call.

    Returns:
        The newest tally's id, for the next call.
    """
    changed = select(Tally.batch_id).where(Tally.id > since).distinct()
    if since == 0:  # the whole table: leave out what is folded already
        changed = changed.group_by(Tally.batch_id, Tally.stage, Tally.state).having(func.count() > 1)
    sums: dict[tuple[uuid.UUID, Stage, State], int] = {}
    deleted = delete(Tally).where(Tally.batch_id.in_(changed.scalar_subquery()))
    for row in session.execute(
        deleted.returning(Tally.batch_id, Tally.stage, Tally.state, Tally.n),
        execution_options=NO_SYNC,
    ):
        key = row.batch_id, row.stage, row.state
        sums[key] = sums.get(key, 0) + row.n
    folded = [
        {"batch_id": batch_id, "stage": stage, "state": state, "n": n}
        for (batch_id, stage, state), n in sums.items()
        if n
    ]
    if folded:
        session.execute(insert(TALLIES), folded)
    return session.scalar(select(func.max(Tally.id))) or 0


def list_loads(session: Session) -> list[Load]:
    """Count ready, queued and running jobs by batch and stage; the cost grows with the active batches only."""
    total = func.sum(Tally.n)
    rows = session.execute(
        select(
            Batch.tenant_id,
            Tenant.weight,
            Batch.id.label("batch_id"),
            Batch.priority,
            Batch.created_at,
            Batch.paused_at.is_not(None).label("paused"),
            Tally.stage,
            Tally.state,
            total.label("n"),
        )
        .join(Batch, Batch.id == Tally.batch_id)
        .join(Tenant, Tenant.id == Batch.tenant_id)
        .where(Tally.state.in_(ACTIVE))
        .group_by(Batch.id, Tenant.weight, Tally.stage, Tally.state)
        .having(total > 0)
    )
    return [Load(**row._mapping) for row in rows]


def measure_depths(session: Session) -> list[Depth]:
    """Measure what waits and runs at each stage, in the order of the stages."""
    active = [load for load in list_loads(session) if not load.paused]
    oldest: dict[Stage, float] = {}
    for load in active:
        if load.state is not State.RUNNING:
            oldest[load.stage] = max(oldest.get(load.stage, 0.0), _measure_wait_s(session, load))

    def count(stage: Stage, state: State) -> int:
        return sum(load.n for load in active if load.stage is stage and load.state is state)

    return [
        Depth(
            stage=stage,
            ready=count(stage, State.READY),
            queued=count(stage, State.QUEUED),
            running=count(stage, State.RUNNING),
            oldest_s=oldest.get(stage, 0.0),
        )
        for stage in Stage
    ]


def _measure_wait_s(session: Session, load: Load) -> float:
    """Measure how long the oldest of these jobs has waited, in seconds; reads one entry of an index."""
    phase = READY_PHASES[load.stage] if load.state is State.READY else IN_FLIGHT_PHASE
    oldest = select(func.min(Job.not_before), now()).where(
        Job.batch_id == load.batch_id, Job.phase == phase, Job.state == load.state, Job.stage == load.stage
    )
    if load.state is State.READY:
        oldest = oldest.where(text(IS_READY))
    since, at = session.execute(oldest).one()
    return max(0.0, (at - since).total_seconds()) if since else 0.0


def group_failures(
    session: Session, tenant_id: uuid.UUID | None, *, batch_id: uuid.UUID | None = None
) -> list[FailureGroup]:
    """Group refused and quarantined jobs by reason, the largest group first.

    Refused tries of trials count only if their batch is asked for: they are one photo, many times.

    Args:
        session: the transaction.
        tenant_id: whose jobs; None for those of all tenants.
        batch_id: only this batch's.
    """
    count = func.count()
    filters = ((Job.tenant_id, tenant_id), (Job.batch_id, batch_id))
    conditions = [column == value for column, value in filters if value is not None]
    if batch_id is None:
        is_try = exists(select(Batch.id).where(Batch.id == Job.batch_id, Batch.trial.is_not(None)))
        conditions.append(or_(Job.state == State.QUARANTINED, ~is_try))
    rows = session.execute(
        select(
            func.coalesce(Job.reason_code, "unknown").label("reason_code"),
            func.coalesce(func.min(Job.reason), "").label("reason"),
            Job.state,
            count.label("count"),
            func.count(Job.batch_id.distinct()).label("batches"),
        )
        .where(text(IS_FAILED), *conditions)
        .group_by(Job.reason_code, Job.state)
        .order_by(count.desc(), Job.reason_code)
    )
    return [FailureGroup(**row._mapping) for row in rows]
