"""Counts of jobs by stage and state, and groups of failures, for pages and for the dispatcher.

Counts are sums over the table `tallies`, which triggers of the database write (see `migrations`). No query here counts
the rows of restored jobs.
"""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Subquery,
    Text,
    and_,
    case,
    cast,
    delete,
    func,
    or_,
    select,
    text,
    union_all,
)
from sqlalchemy.orm import Session, aliased

from retint import database
from retint.columns import now
from retint.database import NO_SYNC
from retint.lifecycle import ACTIVE, FINAL, IN_FLIGHT_PHASE, READY_PHASES, Stage, State, Verdict
from retint.recipes import Recipe
from retint.tables import IS_FAILED, IS_FOLDED, IS_NEW, IS_NEWEST, IS_READY, Batch, Job, Table, Tally, Tenant, Total

TALLIES = Table.metadata.tables["tallies"]
KEY = ("batch_id", "stage", "state", "reason_code")
FOLD = 10_000
"""About how many tallies one transaction folds; those of one transaction are folded together."""
FOLDED_TO = "tallies_folded_to"
"""Name of the total that says up to which transaction tallies are folded."""


@dataclass(frozen=True)
class Counts:
    """Numbers of jobs by stage and state."""

    by: dict[tuple[Stage, State], int] = field(default_factory=dict)
    verdicts: dict[Verdict, int] = field(default_factory=dict)
    """Of the restored ones, by what was said last of their results."""

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
    recipe: Recipe
    created_at: datetime
    paused: bool
    stage: Stage
    state: State
    n: int


def count_jobs(session: Session, batch_ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, Counts]:
    """Count the jobs of batches by stage and state; the cost does not depend on the number of jobs."""
    found = {batch_id: Counts() for batch_id in batch_ids}
    current = _select_current(session, Tally.batch_id.in_(found))
    verdict = case((current.c.state == State.RESTORED, current.c.reason_code), else_="").label("verdict")
    key = (current.c.batch_id, current.c.stage, current.c.state, verdict)
    for row in session.execute(select(*key, func.sum(current.c.n).label("n")).group_by(*key)):
        if row.n:
            counts, place = found[row.batch_id], (row.stage, row.state)
            counts.by[place] = counts.by.get(place, 0) + int(row.n)
            if row.verdict:
                counts.verdicts[Verdict(row.verdict)] = int(row.n)
    return found


def _select_current(session: Session, condition: ColumnElement[bool]) -> Subquery:
    """Select the tallies that meet a condition: the sums, and what was written since they were made.

    Tallies that are folded and deleted are passed over by their transaction's number: however many of them PostgreSQL
    has to keep for an old snapshot (such as that of a running dump), a read costs the same. The number is read first,
    so that PostgreSQL plans for the few tallies that are newer; meanwhile it may only grow, which changes no sum.
    """
    columns = (Tally.batch_id, Tally.stage, Tally.state, Tally.reason_code, Tally.n)
    folded_to = session.scalar(select(Total.n).where(Total.name == FOLDED_TO)) or 0
    sums = select(*columns).where(text(IS_FOLDED), condition)
    newer = select(*columns).where(text(IS_NEW), Tally.xid >= int(folded_to), condition)
    return union_all(sums, newer).subquery()


def fold(session: Session) -> bool:
    """Add tallies that are seen to the sums, the oldest first, and delete them. Nothing to do on SQLite.

    A transaction that is older than every running one has ended: its tallies are seen, and reads may pass over them
    from now on.

    Returns:
        Whether more may be left.
    """
    if session.get_bind().dialect.name != "postgresql":
        return False
    until = session.scalar(select(cast(cast(func.pg_snapshot_xmin(func.pg_current_snapshot()), Text), BigInteger))) or 0
    # A range: with a list of ids PostgreSQL may choose to read the whole table for each of them.
    last = session.scalar(select(Tally.xid).where(text(IS_NEW)).order_by(Tally.xid).offset(FOLD - 1).limit(1))
    chosen = (text(IS_NEW),) if last is None else (text(IS_NEW), Tally.xid <= last)
    deleted = session.execute(
        delete(Tally).where(*chosen).returning(*(TALLIES.c[name] for name in (*KEY, "n"))), execution_options=NO_SYNC
    )
    sums: dict[tuple[Any, ...], int] = {}
    for row in deleted:
        sums[row[:4]] = sums.get(row[:4], 0) + row.n
    changes = [{**dict(zip(KEY, key, strict=True)), "xid": 0, "n": n} for key, n in sorted(sums.items()) if n]
    if changes:
        added = database.insert(session, TALLIES)
        session.execute(
            added.on_conflict_do_update(
                index_elements=KEY, index_where=text(IS_FOLDED), set_={"n": TALLIES.c.n + added.excluded.n}
            ),
            changes,
        )
        session.execute(
            delete(Tally).where(text(IS_FOLDED), Tally.n == 0, Tally.batch_id.in_({key[0] for key in sums})),
            execution_options=NO_SYNC,
        )
    until = until if last is None else min(until, last + 1)
    reached = database.insert(session, Total).values(name=FOLDED_TO, n=until)
    newer = {"n": func.greatest(Total.n, reached.excluded.n)}
    session.execute(reached.on_conflict_do_update(index_elements=[Total.name], set_=newer))
    return last is not None


def list_loads(session: Session) -> list[Load]:
    """Count ready, queued and running jobs by batch and stage; the cost grows with the active batches only."""
    current = _select_current(session, Tally.state.in_(ACTIVE))
    total = func.sum(current.c.n)
    rows = session.execute(
        select(
            Batch.tenant_id,
            Tenant.weight,
            Batch.id.label("batch_id"),
            Batch.priority,
            Batch.recipe,
            Batch.created_at,
            or_(Batch.paused_at.is_not(None), Tenant.disabled_at.is_not(None)).label("paused"),
            current.c.stage,
            current.c.state,
            total.label("n"),
        )
        .join(Batch, Batch.id == current.c.batch_id)
        .join(Tenant, Tenant.id == Batch.tenant_id)
        .group_by(Batch.id, Tenant.id, current.c.stage, current.c.state)
        .having(total > 0)
    )
    return [Load(**{**row._mapping, "recipe": Recipe.model_validate(row.recipe)}) for row in rows]


def count_in_flight(session: Session, tenant_id: uuid.UUID) -> int:
    """Count a tenant's photos that wait or run, also in paused batches; the cost grows with the active batches only."""
    current = _select_current(session, Tally.state.in_(ACTIVE))
    mine = select(func.coalesce(func.sum(current.c.n), 0)).join(Batch, Batch.id == current.c.batch_id)
    return int(session.scalar(mine.where(Batch.tenant_id == tenant_id)) or 0)


def measure_oldest(session: Session) -> dict[uuid.UUID, float]:
    """Measure how long the oldest waiting job of each tenant has waited, in seconds; paused ones left out."""
    oldest: dict[uuid.UUID, float] = {}
    for load in list_loads(session):
        if not load.paused and load.state is not State.RUNNING:
            oldest[load.tenant_id] = max(oldest.get(load.tenant_id, 0.0), _measure_wait_s(session, load))
    return oldest


def count_ended(session: Session) -> dict[State, int]:
    """Count the jobs of all batches that have ended or are in quarantine; the cost grows with the batches only."""
    current = _select_current(session, Tally.state.in_((*FINAL, State.QUARANTINED)))
    rows = session.execute(select(current.c.state, func.sum(current.c.n).label("n")).group_by(current.c.state))
    return {row.state: int(row.n) for row in rows}


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
        text(IS_NEWEST),
        Job.batch_id == load.batch_id,
        Job.phase == phase,
        Job.state == load.state,
        Job.stage == load.stage,
    )
    if load.state is State.READY:
        oldest = oldest.where(text(IS_READY))
    since, at = session.execute(oldest).one()
    return max(0.0, (at - since).total_seconds()) if since else 0.0


def group_failures(
    session: Session, tenant_id: uuid.UUID | None, *, batch_id: uuid.UUID | None = None
) -> list[FailureGroup]:
    """Group refused and quarantined jobs by reason, the largest group first.

    Refused tries of trials and proofs count only if their batch is asked for: they are one photo, many times.

    Args:
        session: the transaction.
        tenant_id: whose jobs; None for those of all tenants.
        batch_id: only this batch's.
    """
    current = _select_current(session, Tally.state.in_((State.QUARANTINED, State.REFUSED)))
    count, batch = func.sum(current.c.n), aliased(Batch)
    filters = ((batch.tenant_id, tenant_id), (batch.id, batch_id))
    conditions = [column == value for column, value in filters if value is not None]
    if batch_id is None:
        is_deposit = and_(batch.trial.is_(None), batch.proof_of.is_(None))
        conditions.append(or_(current.c.state == State.QUARANTINED, is_deposit))
    by_batch = (
        select(batch.id, batch.tenant_id, current.c.reason_code, current.c.state, count.label("n"))
        .join(batch, batch.id == current.c.batch_id)
        .where(*conditions)
        .group_by(batch.id, batch.tenant_id, current.c.reason_code, current.c.state)
        .having(count > 0)
    )
    groups: dict[tuple[str, State], list[Any]] = {}
    for row in session.execute(by_batch):
        groups.setdefault((row.reason_code, row.state), []).append(row)
    found = [
        FailureGroup(
            reason_code=reason_code or "unknown",
            reason=_find_reason(session, rows[0].tenant_id, reason_code, state, batch_id),
            state=state,
            count=int(sum(row.n for row in rows)),
            batches=len(rows),
        )
        for (reason_code, state), rows in groups.items()
    ]
    return sorted(found, key=lambda group: (-group.count, group.reason_code))


def _find_reason(
    session: Session, tenant_id: uuid.UUID, reason_code: str, state: State, batch_id: uuid.UUID | None
) -> str:
    """Find the sentence of one job that failed for a reason; reads one entry of an index."""
    one = select(Job.reason).where(
        text(IS_FAILED),
        Job.tenant_id == tenant_id,
        Job.phase == state.value,
        Job.reason_code == reason_code,
        Job.replaced_by.is_(None),
    )
    if batch_id is not None:
        one = one.where(Job.batch_id == batch_id)
    return session.scalar(one.order_by(Job.id).limit(1)) or ""
