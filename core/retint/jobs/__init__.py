"""Every move of a job's life, one guarded statement each.

Functions take a Session first; the caller owns the transaction. A statement names the state that it expects and, where
an attempt is at stake, the attempt's number: what it returns is what really happened. Two moves that meet on
PostgreSQL may deadlock; the database ends one of them, which is a Transient like any other.
"""

import traceback
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Float,
    Uuid,
    and_,
    bindparam,
    case,
    exists,
    func,
    insert,
    literal,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from retint.errors import IllegalMove, NotFound, Refused, RetintError, StoreUnavailable, Transient
from retint.lifecycle import FINAL, TRIES, Outcome, Position, Stage, State, after, backoff
from retint.recipes import Recipe
from retint.stores import keys
from retint.tables import Attempt, Batch, Job, Photo, Table, now

WAITING = (State.READY, State.QUEUED)
"""A worker may claim a job in either: the message may arrive after the dispatcher gave it up."""

NO_SYNC = {"synchronize_session": False}
"""Rows are moved by statements, not through mapped objects."""

# Where speed counts, not the mapped classes: SQLAlchemy would insert those one statement a row, and think long.
JOBS = Table.metadata.tables["jobs"]
ATTEMPTS = Table.metadata.tables["attempts"]
BATCHES = Table.metadata.tables["batches"]

RECLAIM_LIMIT = 1000
"""Most jobs that one statement of the dispatcher takes back."""


@dataclass(frozen=True)
class Lease:
    """A worker's right to run one attempt, and all that a stage needs to know of its job."""

    job_id: uuid.UUID
    tenant_id: uuid.UUID
    batch_id: uuid.UUID
    photo_id: uuid.UUID
    attempt: int
    stage: Stage
    tries: int
    name: str
    recipe: Recipe
    started_at: datetime
    worker_id: uuid.UUID | None = None
    files: dict[str, str] = field(default_factory=dict)
    """What the earlier stages wrote: name to key in the store."""
    facts: dict[Stage, dict[str, Any]] = field(default_factory=dict)
    """What the earlier stages found."""

    @property
    def original_key(self) -> str:
        """Key of the original in the store."""
        return keys.original(self.tenant_id, self.photo_id)

    @property
    def stage_prefix(self) -> str:
        """What the keys of all attempts at this stage of the job begin with."""
        return keys.stage_prefix(self.tenant_id, self.photo_id, self.job_id, self.stage)

    def file_key(self, name: str) -> str:
        """Return the key of a file that this attempt writes; a `/` in its name makes folders."""
        return keys.attempt_file(self.tenant_id, self.photo_id, self.job_id, self.stage, self.attempt, name)


@dataclass(frozen=True)
class Done:
    """What an attempt that went well leaves behind."""

    files: dict[str, str] = field(default_factory=dict)
    """What it wrote: name to key in the store."""
    facts: dict[str, Any] = field(default_factory=dict)
    timings: dict[str, float] = field(default_factory=dict)
    """Seconds by step."""


Ended = tuple[Lease, Done | RetintError]
"""A lease and how its attempt ended: done, Refused, or with a fault that another try may cure."""


def add(session: Session, batch: Batch, photo: Photo, name: str) -> Job:
    """Add a deposited file to a batch; the same file under the same name again finds the job that it made.

    Raises:
        IllegalMove: the batch is cancelled.
    """
    # The lock orders this against `cancel`: no job slips into a batch after its jobs were cancelled.
    cancelled = session.scalar(select(Batch.cancelled_at).where(Batch.id == batch.id).with_for_update(read=True))
    if cancelled:
        raise IllegalMove("This batch is cancelled; nothing can be added to it.", code="batch_cancelled")
    same = select(Job).where(Job.batch_id == batch.id, Job.photo_id == photo.id, Job.name == name)
    if job := session.scalar(same):
        return job
    job = Job(tenant_id=batch.tenant_id, batch_id=batch.id, photo_id=photo.id, name=name)
    try:
        with session.begin_nested():
            session.add(job)
    except IntegrityError:
        return session.scalars(same).one()
    return job


def claim(
    session: Session, stage: Stage, job_ids: Sequence[uuid.UUID], worker_id: uuid.UUID | None, lease_s: float
) -> list[Lease]:
    """Claim what may be run of a bundle, in its order; what is not returned is somebody else's, or done, or on hold."""
    claimed = session.execute(
        _CLAIM, {"job_ids": list(job_ids), "at": stage, "by": worker_id, "lease_s": lease_s}
    ).all()
    if len(claimed) < len(job_ids):
        release(session, job_ids, _on_hold(Job.batch_id), Job.stage == stage)
    if not claimed:
        return []
    ids = [row.id for row in claimed]
    recipes = {row.batch_id: row.recipe for row in claimed}
    recipes = {batch_id: Recipe.model_validate(recipe) for batch_id, recipe in recipes.items()}
    files, facts = _written(session, ids) if stage is not Stage.INGEST else ({}, {})
    leases = {
        row.id: Lease(
            job_id=row.id,
            tenant_id=row.tenant_id,
            batch_id=row.batch_id,
            photo_id=row.photo_id,
            attempt=row.attempt,
            stage=row.stage,
            tries=row.tries,
            name=row.name,
            recipe=recipes[row.batch_id],
            started_at=row.started_at,
            worker_id=worker_id,
            files=files.get(row.id, {}),
            facts=facts.get(row.id, {}),
        )
        for row in claimed
    }
    return [leases[job_id] for job_id in dict.fromkeys(job_ids) if job_id in leases]


def _on_hold(batch_id: Any) -> ColumnElement[bool]:
    held = or_(Batch.paused_at.is_not(None), Batch.cancelled_at.is_not(None))
    return exists(select(Batch.id).where(Batch.id == batch_id, held))


def _in_seconds(name: str) -> now:
    """The moment so many seconds from now; none where there are none."""
    return now(bindparam(name, type_=Float()))


_CLAIM = (
    update(JOBS)
    .where(
        JOBS.c.id.in_(bindparam("job_ids", expanding=True)),
        JOBS.c.stage == bindparam("at", type_=JOBS.c.stage.type),
        JOBS.c.state.in_(WAITING),
        ~_on_hold(JOBS.c.batch_id),
    )
    .values(
        state=State.RUNNING,
        attempt=JOBS.c.attempt + 1,
        deadline=_in_seconds("lease_s"),
        worker_id=bindparam("by", type_=Uuid()),
        started_at=now(),
    )
    .returning(
        *(
            JOBS.c[name]
            for name in ["id", "tenant_id", "batch_id", "photo_id", "attempt", "stage", "tries", "name", "started_at"]
        ),
        select(BATCHES.c.recipe).where(BATCHES.c.id == JOBS.c.batch_id).scalar_subquery().label("recipe"),
    )
)


def _written(
    session: Session, job_ids: Collection[uuid.UUID]
) -> tuple[dict[uuid.UUID, dict[str, str]], dict[uuid.UUID, dict[Stage, dict[str, Any]]]]:
    files: dict[uuid.UUID, dict[str, str]] = {}
    facts: dict[uuid.UUID, dict[Stage, dict[str, Any]]] = {}
    for row in session.execute(_WRITTEN, {"job_ids": list(job_ids)}):
        files.setdefault(row.job_id, {}).update(row.files)
        facts.setdefault(row.job_id, {})[row.stage] = row.facts
    return files, facts


_WRITTEN = (
    select(ATTEMPTS.c.job_id, ATTEMPTS.c.stage, ATTEMPTS.c.files, ATTEMPTS.c.facts)
    .where(ATTEMPTS.c.job_id.in_(bindparam("job_ids", expanding=True)), ATTEMPTS.c.outcome == Outcome.DONE)
    .order_by(ATTEMPTS.c.number)
)


def extend(session: Session, leases: Sequence[Lease], lease_s: float) -> set[uuid.UUID]:
    """Extend the leases of a bundle; tells the jobs that are still held."""
    held = session.scalars(
        update(Job).where(_held(leases)).values(deadline=now(lease_s)).returning(Job.id),
        execution_options=NO_SYNC,
    )
    return set(held)


def give_back(session: Session, leases: Sequence[Lease]) -> int:
    """Return jobs that were claimed and not begun to ready, as if nobody had had them; tells how many."""
    given = session.scalars(
        update(Job).where(_held(leases)).values(state=State.READY, deadline=None).returning(Job.id),
        execution_options=NO_SYNC,
    )
    return len(given.all())


def _held(leases: Sequence[Lease]) -> ColumnElement[bool]:
    return and_(
        # The pairs alone would be enough, but SQLite finds no index for them.
        Job.id.in_([lease.job_id for lease in leases]),
        tuple_(Job.id, Job.attempt).in_([(lease.job_id, lease.attempt) for lease in leases]),
        Job.state == State.RUNNING,
    )


def settle(session: Session, ended: Sequence[Ended], *, backoff_s: float, requeue_s: float) -> set[uuid.UUID]:
    """Write how the attempts of a bundle ended: a statement for the jobs that ended alike, one for all attempts.

    A lease that was lost (expired, cancelled) writes nothing: its files are orphans.

    Args:
        session: the transaction.
        ended: at most one entry a job.
        backoff_s: wait after the first fault.
        requeue_s: how long the next link of the chain has for its claim.

    Returns:
        The jobs whose outcome was written.
    """
    alike: dict[_Move, list[uuid.UUID]] = {}
    for lease, outcome in ended:
        alike.setdefault(_move(lease, outcome, backoff_s, requeue_s), []).append(lease.job_id)
    written = {
        job_id
        for move, job_ids in alike.items()
        for job_id in session.scalars(_SETTLE, {"job_ids": job_ids, **vars(move)})
    }
    attempts = [_attempt(lease, outcome) for lease, outcome in ended if lease.job_id in written]
    if attempts:
        session.execute(insert(ATTEMPTS), attempts)
    return written


@dataclass(frozen=True)
class _Move:
    """What is written into a job whose attempt ended. Those that ended alike, as most do, share one statement."""

    number: int
    to_stage: Stage
    to_state: State
    to_tries: int
    delay_s: float | None
    claim_s: float | None
    end_s: float | None
    code: str | None
    sentence: str | None


def _move(lease: Lease, outcome: Done | RetintError, backoff_s: float, requeue_s: float) -> _Move:
    to = after(lease.stage, lease.tries, _outcome(outcome))
    pause_s = backoff(to.tries, backoff_s) * (outcome.patience if isinstance(outcome, Transient) else 1)
    if isinstance(outcome, StoreUnavailable):
        # No photo's doing: it waits as after a last fault, and counts none, however long the store is away.
        to, pause_s = Position(lease.stage, State.READY, lease.tries), backoff(TRIES, backoff_s)
    return _Move(
        number=lease.attempt,
        to_stage=to.stage,
        to_state=to.state,
        to_tries=to.tries,
        delay_s=pause_s if to.state is State.READY else None,
        claim_s=requeue_s if to.state is State.QUEUED else None,
        end_s=0.0 if to.state.is_final else None,
        code=None if isinstance(outcome, Done) else outcome.code,
        sentence=None if isinstance(outcome, Done) else _text(outcome.message),
    )


_SETTLE = (
    update(JOBS)
    .where(
        JOBS.c.id.in_(bindparam("job_ids", expanding=True)),
        JOBS.c.attempt == bindparam("number"),
        JOBS.c.state == State.RUNNING,
    )
    .values(
        stage=bindparam("to_stage", type_=JOBS.c.stage.type),
        state=bindparam("to_state", type_=JOBS.c.state.type),
        tries=bindparam("to_tries"),
        # Waiting is for faults; else the place in the order of deposit is kept.
        not_before=func.coalesce(_in_seconds("delay_s"), JOBS.c.not_before),
        deadline=_in_seconds("claim_s"),
        reason_code=bindparam("code"),
        reason=bindparam("sentence"),
        ended_at=_in_seconds("end_s"),
    )
    .returning(JOBS.c.id)
)


def _outcome(outcome: Done | RetintError) -> Outcome:
    if isinstance(outcome, Done):
        return Outcome.DONE
    return Outcome.REFUSED if isinstance(outcome, Refused) else Outcome.FAULT


def _attempt(lease: Lease, outcome: Done | RetintError) -> dict[str, Any]:
    done = outcome if isinstance(outcome, Done) else Done()
    return {
        "job_id": lease.job_id,
        "number": lease.attempt,
        "tenant_id": lease.tenant_id,
        "stage": lease.stage,
        "worker_id": lease.worker_id,
        "outcome": _outcome(outcome),
        "error": None if isinstance(outcome, Done) else _story(outcome),
        "files": done.files,
        "facts": done.facts,
        "timings": done.timings,
        "started_at": lease.started_at,
    }


def _story(failure: RetintError) -> str:
    """Tell an administrator what went wrong: the sentence, and where it came from if that is known."""
    causes = failure.__cause__ and traceback.format_exception(failure.__cause__)
    return _text("\n\n".join([failure.message, "".join(causes)] if causes else [failure.message]))


def _text(text: str) -> str:
    """Replace what PostgreSQL takes in no text: a message may quote a hostile file."""
    return text.encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")


def queue(
    session: Session, batch_id: uuid.UUID, stage: Stage, limit: int, requeue_s: float
) -> list[tuple[uuid.UUID, int]]:
    """Take the next ready jobs of a batch at a stage, oldest first, to be sent: their ids and tries."""
    following = (
        select(Job.id)
        .where(Job.batch_id == batch_id, Job.state == State.READY, Job.stage == stage, Job.not_before <= now())
        .order_by(Job.not_before)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .cte("following")  # evaluated once: PostgreSQL may run a subquery again, and then takes more than the limit
    )
    rows = session.execute(
        update(Job)
        .where(Job.id.in_(select(following.c.id)), Job.state == State.READY)
        .values(state=State.QUEUED, deadline=now(requeue_s))
        .returning(Job.id, Job.tries, Job.not_before),
        execution_options=NO_SYNC,
    )
    return [(row.id, row.tries) for row in sorted(rows, key=lambda row: (row.not_before, row.id))]


def release(session: Session, job_ids: Collection[uuid.UUID] | None, *conditions: ColumnElement[bool]) -> int:
    """Return queued jobs to ready: these, or all of them where None; tells how many."""
    chosen = () if job_ids is None else (Job.id.in_(job_ids),)
    released = session.scalars(
        update(Job)
        .where(Job.state == State.QUEUED, *chosen, *conditions)
        .values(state=State.READY, deadline=None)
        .returning(Job.id),
        execution_options=NO_SYNC,
    )
    return len(released.all())


def overdue(session: Session) -> list[tuple[uuid.UUID, Stage]]:
    """List queued jobs that nobody claimed until their deadline, with their stage."""
    late = select(Job.id, Job.stage).where(Job.state == State.QUEUED, Job.deadline < now()).limit(RECLAIM_LIMIT)
    return [(row.id, row.stage) for row in session.execute(late)]


def postpone(session: Session, job_ids: Collection[uuid.UUID], requeue_s: float) -> None:
    """Give queued jobs, whose message still waits in the broker, more time for their claim."""
    session.execute(
        update(Job).where(Job.id.in_(job_ids), Job.state == State.QUEUED).values(deadline=now(requeue_s)),
        execution_options=NO_SYNC,
    )


def has_expired(session: Session) -> bool:
    """Whether there is anything to `reclaim`."""
    expired = select(Job.id).where(Job.state == State.RUNNING, Job.deadline < now()).limit(1)
    return session.scalar(expired) is not None


def reclaim(session: Session) -> int:
    """Take back the running jobs whose lease ran out: ready again, or quarantined after the third time.

    Returns:
        How many leases had run out.
    """
    expired = (
        select(Job.id)
        .where(Job.state == State.RUNNING, Job.deadline < now())
        .limit(RECLAIM_LIMIT)
        .with_for_update(skip_locked=True)
        .cte("expired")
    )
    job_ids = session.scalars(
        update(Job)
        .where(Job.id.in_(select(expired.c.id)), Job.state == State.RUNNING)
        .values(
            state=case((Job.tries + 1 < TRIES, State.READY), else_=State.QUARANTINED),
            tries=Job.tries + 1,
            deadline=None,
            reason_code="worker_lost",
            reason="The worker that had this photo did not come back in time.",
        )
        .returning(Job.id),
        execution_options=NO_SYNC,
    ).all()
    _close_attempts(session, Outcome.EXPIRED, Job.id.in_(job_ids))
    return len(job_ids)


def _close_attempts(session: Session, outcome: Outcome, chosen: ColumnElement[bool]) -> None:
    """Write the attempts of jobs that no longer run, where their worker has not."""
    unwritten = ~exists().where(Attempt.job_id == Job.id, Attempt.number == Job.attempt)
    ended = select(
        Job.id,
        Job.attempt,
        Job.tenant_id,
        Job.stage,
        Job.worker_id,
        Job.started_at,
        now(),
        literal(outcome, Attempt.outcome.type),
        Job.reason,
        literal({}, Attempt.files.type),
        literal({}, Attempt.facts.type),
        literal({}, Attempt.timings.type),
    ).where(chosen, Job.attempt > 0, unwritten)
    session.execute(
        insert(Attempt).from_select(
            [
                "job_id",
                "number",
                "tenant_id",
                "stage",
                "worker_id",
                "started_at",
                "ended_at",
                "outcome",
                "error",
                "files",
                "facts",
                "timings",
            ],
            ended,
        )
    )


def cancel(session: Session, tenant_id: uuid.UUID, batch_id: uuid.UUID) -> int:
    """Cancel a batch and all of its jobs that have not ended; tells how many.

    Raises:
        NotFound: the tenant has no such batch.
    """
    found = session.scalar(
        update(Batch)
        .where(Batch.id == batch_id, Batch.tenant_id == tenant_id)
        .values(cancelled_at=func.coalesce(Batch.cancelled_at, now()))
        .returning(Batch.id),
        execution_options=NO_SYNC,
    )
    if found is None:
        raise NotFound("There is no such batch.")
    return _cancel(session, Job.batch_id == batch_id)


def cancel_job(session: Session, tenant_id: uuid.UUID, job_id: uuid.UUID) -> None:
    """Cancel one job; cancelling it again changes nothing.

    Raises:
        NotFound: the tenant has no such job.
        IllegalMove: it has been restored or refused.
    """
    if _cancel(session, and_(Job.id == job_id, Job.tenant_id == tenant_id)):
        return
    state = session.scalar(select(Job.state).where(Job.id == job_id, Job.tenant_id == tenant_id))
    if state is None:
        raise NotFound("There is no such photo.")
    if state is not State.CANCELLED:
        raise IllegalMove(f"This photo is already {state}.")


def _cancel(session: Session, chosen: ColumnElement[bool]) -> int:
    cancelled = session.scalars(
        update(Job)
        .where(chosen, Job.state.not_in(FINAL))
        .values(
            state=State.CANCELLED,
            deadline=None,
            reason_code="cancelled",
            reason="A person cancelled it.",
            ended_at=now(),
        )
        .returning(Job.id),
        execution_options=NO_SYNC,
    ).all()
    _close_attempts(session, Outcome.CANCELLED, and_(chosen, Job.state == State.CANCELLED))
    return len(cancelled)


def retry(
    session: Session,
    tenant_id: uuid.UUID | None,
    *,
    batch_id: uuid.UUID | None = None,
    job_id: uuid.UUID | None = None,
    reason_code: str | None = None,
) -> int:
    """Give quarantined jobs another three attempts: all, or those that fit; tells how many.

    Args:
        session: the transaction.
        tenant_id: whose; None for an administrator of the whole house.
        batch_id: only this batch's.
        job_id: only this one.
        reason_code: only those that failed for this reason.
    """
    wanted = ((Job.tenant_id, tenant_id), (Job.batch_id, batch_id), (Job.id, job_id), (Job.reason_code, reason_code))
    retried = session.scalars(
        update(Job)
        .where(Job.state == State.QUARANTINED, *(field == value for field, value in wanted if value is not None))
        .values(state=State.READY, tries=0, not_before=now(), reason_code=None, reason=None)
        .returning(Job.id),
        execution_options=NO_SYNC,
    )
    return len(retried.all())
