"""What the dispatcher does with jobs: queues them for sending, and takes back what was lost."""

import uuid
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import ColumnElement, case, select, text, update
from sqlalchemy.orm import Session

from retint.columns import now
from retint.database import NO_SYNC
from retint.jobs import attempts
from retint.lifecycle import FAULT_LIMIT, READY_PHASES, Outcome, Stage, State
from retint.tables import IS_IN_FLIGHT, IS_READY, Job

CHUNK = 1000
"""Most jobs that one statement looks at."""


@dataclass(frozen=True)
class QueuedJob:
    """A job that can be sent."""

    id: uuid.UUID
    faults: int
    """Attempts of its stage that ended in faults."""
    recipe_hash: str | None
    """Its own recipe; None for its batch's."""


def queue(session: Session, batch_id: uuid.UUID, stage: Stage, limit: int, requeue_s: float) -> list[QueuedJob]:
    """Queue the next ready jobs of a batch at a stage, oldest first, so that they can be sent.

    Args:
        session: the transaction.
        batch_id: the batch.
        stage: the stage.
        limit: most jobs.
        requeue_s: how long a worker has to claim them before they are sent again.

    Returns:
        The jobs, the oldest first.
    """
    following = (
        select(Job.id)
        .where(text(IS_READY), Job.batch_id == batch_id, Job.phase == READY_PHASES[stage], Job.not_before <= now())
        .order_by(Job.not_before)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .cte("following")  # evaluated once: PostgreSQL may run a subquery again, and then takes more than the limit
    )
    rows = session.execute(
        update(Job)
        .where(Job.id.in_(select(following.c.id)), Job.state == State.READY)
        .values(state=State.QUEUED, deadline=now(requeue_s))
        .returning(Job.id, Job.faults, Job.recipe_hash, Job.not_before),
        execution_options=NO_SYNC,
    )
    return [
        QueuedJob(row.id, row.faults, row.recipe_hash) for row in sorted(rows, key=lambda row: (row.not_before, row.id))
    ]


def unqueue(session: Session, job_ids: Collection[uuid.UUID] | None, *conditions: ColumnElement[bool]) -> int:
    """Return queued jobs to ready: these, or all where None, if they meet the conditions. Returns how many."""
    chosen = () if job_ids is None else (Job.id.in_(job_ids),)
    unqueued = session.scalars(
        update(Job)
        .where(text(IS_IN_FLIGHT), Job.state == State.QUEUED, *chosen, *conditions)
        .values(state=State.READY, deadline=None)
        .returning(Job.id),
        execution_options=NO_SYNC,
    )
    return len(unqueued.all())


def list_overdue(session: Session) -> list[tuple[uuid.UUID, Stage]]:
    """List queued jobs that no worker claimed before their deadline, with their stage."""
    late = (
        select(Job.id, Job.stage)
        .where(text(IS_IN_FLIGHT), Job.state == State.QUEUED, Job.deadline < now())
        .limit(CHUNK)
    )
    return [(row.id, row.stage) for row in session.execute(late)]


def extend_deadlines(session: Session, job_ids: Collection[uuid.UUID], requeue_s: float) -> None:
    """Give queued jobs, whose message still waits in the broker, more time to be claimed."""
    session.execute(
        update(Job).where(Job.id.in_(job_ids), Job.state == State.QUEUED).values(deadline=now(requeue_s)),
        execution_options=NO_SYNC,
    )


def has_expired(session: Session) -> bool:
    """Whether there is a lease for `reclaim_expired`."""
    expired = select(Job.id).where(text(IS_IN_FLIGHT), Job.state == State.RUNNING, Job.deadline < now()).limit(1)
    return session.scalar(expired) is not None


def reclaim_expired(session: Session) -> Counter[tuple[Stage, State]]:
    """Take back running jobs whose lease ran out: ready again, or quarantined after `FAULT_LIMIT` faults.

    Returns:
        How many leases had run out at each stage, and what their jobs are now; `CHUNK` at most.
    """
    expired = (
        select(Job.id)
        .where(text(IS_IN_FLIGHT), Job.state == State.RUNNING, Job.deadline < now())
        .limit(CHUNK)
        .with_for_update(skip_locked=True)
        .cte("expired")
    )
    reclaimed = session.execute(
        update(Job)
        .where(Job.id.in_(select(expired.c.id)), Job.state == State.RUNNING)
        .values(
            state=case((Job.faults + 1 < FAULT_LIMIT, State.READY), else_=State.QUARANTINED),
            faults=Job.faults + 1,
            deadline=None,
            reason_code="worker_lost",
            reason="The worker that had this photo did not come back in time.",
        )
        .returning(Job.id, Job.stage, Job.state),
        execution_options=NO_SYNC,
    ).all()
    attempts.close(session, Outcome.EXPIRED, Job.id.in_([row.id for row in reclaimed]))
    return Counter((row.stage, row.state) for row in reclaimed)
