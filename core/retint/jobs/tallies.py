"""How many jobs stand where, and why some went no further: what pages and the dispatcher read.

Counts are sums of `tallies`, which the database's own triggers write (see `migrations`); nothing here counts rows of
jobs that have gone well.
"""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import delete, exists, func, insert, or_, select
from sqlalchemy.orm import Session

from retint.database import NO_SYNC
from retint.lifecycle import ACTIVE, FINAL, Stage, State
from retint.tables import Batch, Job, Table, Tally, Tenant, now

TALLIES = Table.metadata.tables["tallies"]


@dataclass(frozen=True)
class Counts:
    """How many jobs stand where."""

    by: dict[tuple[Stage, State], int] = field(default_factory=dict)

    def of(self, *states: State) -> int:
        """Jobs in any of these states, whatever the stage."""
        return sum(n for (_, state), n in self.by.items() if state in states)

    def at(self, stage: Stage, *states: State) -> int:
        """Jobs at a stage, in any of these states, or in whichever."""
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
        """Restored, refused or cancelled: nothing more will happen to them."""
        return self.of(*FINAL)


@dataclass(frozen=True)
class Depth:
    """What waits and runs at one stage, paused batches left out."""

    stage: Stage
    ready: int
    queued: int
    running: int
    oldest_s: float
    """How long the oldest ready or queued job has waited, in seconds; 0 where there is none."""


@dataclass(frozen=True)
class FailureGroup:
    """Jobs that failed for one reason."""

    reason_code: str
    reason: str
    """One of their sentences."""
    state: State
    count: int
    batches: int


@dataclass(frozen=True)
class Load:
    """Jobs of one batch that stand at one stage in one active state, and what the dispatcher ranks them by."""

    tenant_id: uuid.UUID
    weight: int
    batch_id: uuid.UUID
    priority: int
    created_at: datetime
    paused: bool
    stage: Stage
    state: State
    n: int


def counts(session: Session, batch_ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, Counts]:
    """Count the jobs of batches by stage and state; the cost does not depend on how many there are."""
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
    """Replace the tallies of every batch that moved by their sums; tells where to go on the next time.

    Args:
        session: the transaction.
        since: what the last call told; 0 for the first.
    """
    moved = select(Tally.batch_id).where(Tally.id > since).distinct()
    if since == 0:  # the whole table: what is folded already stays as it is
        moved = moved.group_by(Tally.batch_id, Tally.stage, Tally.state).having(func.count() > 1)
    sums: dict[tuple[uuid.UUID, Stage, State], int] = {}
    gone = delete(Tally).where(Tally.batch_id.in_(moved.scalar_subquery()))
    for row in session.execute(
        gone.returning(Tally.batch_id, Tally.stage, Tally.state, Tally.n),
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


def loads(session: Session) -> list[Load]:
    """List what is ready, queued and running, by batch and stage. The cost grows with the batches at work alone."""
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


def depths(session: Session) -> list[Depth]:
    """Tell what waits and runs at each stage, in the order of the stages."""
    active = [load for load in loads(session) if not load.paused]
    oldest: dict[Stage, float] = {}
    for load in active:
        if load.state is not State.RUNNING:
            oldest[load.stage] = max(oldest.get(load.stage, 0.0), _waited_s(session, load))

    def standing(stage: Stage, state: State) -> int:
        return sum(load.n for load in active if load.stage is stage and load.state is state)

    return [
        Depth(
            stage,
            standing(stage, State.READY),
            standing(stage, State.QUEUED),
            standing(stage, State.RUNNING),
            oldest.get(stage, 0.0),
        )
        for stage in Stage
    ]


def _waited_s(session: Session, load: Load) -> float:
    """Tell how long the oldest of these jobs has waited: one look into the index."""
    oldest = select(func.min(Job.not_before), now()).where(
        Job.batch_id == load.batch_id, Job.state == load.state, Job.stage == load.stage
    )
    since, at = session.execute(oldest).one()
    return max(0.0, (at - since).total_seconds()) if since else 0.0


def failures(session: Session, tenant_id: uuid.UUID | None, *, batch_id: uuid.UUID | None = None) -> list[FailureGroup]:
    """Group the refused and the quarantined by reason, the largest group first; of all tenants where None.

    What trials refused counts only where their batch is asked for: it is one photo, many times.
    """
    count = func.count()
    wanted = ((Job.tenant_id, tenant_id), (Job.batch_id, batch_id))
    mine = [field == value for field, value in wanted if value is not None]
    if batch_id is None:
        tried = exists(select(Batch.id).where(Batch.id == Job.batch_id, Batch.trial.is_not(None)))
        mine.append(or_(Job.state == State.QUARANTINED, ~tried))
    rows = session.execute(
        select(
            func.coalesce(Job.reason_code, "unknown").label("reason_code"),
            func.coalesce(func.min(Job.reason), "").label("reason"),
            Job.state,
            count.label("count"),
            func.count(Job.batch_id.distinct()).label("batches"),
        )
        .where(Job.state.in_((State.QUARANTINED, State.REFUSED)), *mine)
        .group_by(Job.reason_code, Job.state)
        .order_by(count.desc(), Job.reason_code)
    )
    return [FailureGroup(**row._mapping) for row in rows]
