"""What a worker does with jobs: claims them, extends their leases, releases what it has not begun, settles the rest."""

import traceback
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from threading import Event
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Float,
    ScalarSelect,
    Uuid,
    and_,
    bindparam,
    exists,
    func,
    insert,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.orm import Session

from retint.columns import now
from retint.database import NO_SYNC
from retint.errors import LeaseLost, Refused, RetintError, StoreUnavailable, Transient
from retint.jobs import attempts
from retint.jobs.attempts import ATTEMPTS
from retint.jobs.queueing import unqueue
from retint.lifecycle import FAULT_LIMIT, Outcome, Position, Stage, State, backoff, next_position
from retint.recipes import Recipe
from retint.stores import keys
from retint.tables import Batch, Job, Table, Tenant

WAITING = (State.READY, State.QUEUED)
"""States in which a worker may claim a job: the message may arrive after the dispatcher gave it up."""

# Core tables instead of mapped classes where speed counts: SQLAlchemy takes long to prepare mapped statements.
JOBS = Table.metadata.tables["jobs"]
BATCHES = Table.metadata.tables["batches"]
RECIPES = Table.metadata.tables["recipes"]


@dataclass(frozen=True)
class Lease:
    """A worker's right to run one attempt, and all that a stage needs to know of its job."""

    job_id: uuid.UUID
    tenant_id: uuid.UUID
    batch_id: uuid.UUID
    photo_id: uuid.UUID
    attempt: int
    stage: Stage
    faults: int
    """Attempts of this stage that ended in faults before this one."""
    name: str
    recipe: Recipe
    started_at: datetime
    worker_id: uuid.UUID | None = None
    waited_s: float = 0.0
    """Seconds between when it could run (after its deposit, the stage before, or its backoff) and the claim."""
    files: dict[str, str] = field(default_factory=dict)
    """What the earlier stages wrote: name to key in the store."""
    facts: dict[Stage, dict[str, Any]] = field(default_factory=dict)
    """What the earlier stages found."""
    lost: Event = field(default_factory=Event, compare=False, repr=False)
    """Set as soon as the worker knows that the job is not its own any more."""
    progressed: Event = field(default_factory=Event, compare=False, repr=False)
    """Set by a stage that has stored a part of its work, which no later attempt needs to do again."""

    def ensure_held(self) -> None:
        """Return if the job is still this worker's, as far as it knows; any thread may ask.

        Raises:
            LeaseLost: it is not.
        """
        if self.lost.is_set():
            raise LeaseLost("The lease ran out, or somebody cancelled the photo.")

    @property
    def log_fields(self) -> dict[str, Any]:
        """What every line of the log names that concerns this attempt."""
        return {
            "tenant_id": str(self.tenant_id),
            "batch_id": str(self.batch_id),
            "job_id": str(self.job_id),
            "stage": str(self.stage),
            "attempt": self.attempt,
        }

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
    """What it found."""
    timings: dict[str, float] = field(default_factory=dict)
    """Seconds by step."""
    made_with: str | None = None
    """What the result was made with (`recipes.hash_making`), once there is one that others may take over."""


AttemptEnd = tuple[Lease, Done | RetintError]
"""A lease and how its attempt ended: done, Refused, or with a fault that another attempt may cure."""


def claim(
    session: Session, stage: Stage, job_ids: Sequence[uuid.UUID], worker_id: uuid.UUID | None, lease_s: float
) -> list[Lease]:
    """Claim the jobs of a bundle that may be run, in its order. The others are claimed by others, done, or on hold.

    Queued jobs of a batch that is on hold return to ready.
    """
    claimed = session.execute(
        _CLAIM, {"job_ids": list(job_ids), "at": stage, "by": worker_id, "lease_s": lease_s}
    ).all()
    if len(claimed) < len(job_ids):
        unqueue(session, job_ids, _is_on_hold(Job.batch_id), Job.stage == stage)
    if not claimed:
        return []
    # Each recipe is validated once, however many jobs it belongs to.
    recipes = {row.recipe_hash: row.recipe for row in claimed}
    recipes = {recipe_hash: Recipe.model_validate(recipe) for recipe_hash, recipe in recipes.items()}
    done = [] if stage is Stage.INGEST else [row.id for row in claimed]
    files, facts, ended = attempts.read_done(session, done)
    leases = {
        row.id: Lease(
            job_id=row.id,
            tenant_id=row.tenant_id,
            batch_id=row.batch_id,
            photo_id=row.photo_id,
            attempt=row.attempt,
            stage=row.stage,
            faults=row.faults,
            name=row.name,
            recipe=recipes[row.recipe_hash],
            started_at=row.started_at,
            worker_id=worker_id,
            waited_s=(row.started_at - max(row.not_before, ended.get(row.id, row.not_before))).total_seconds(),
            files=files.get(row.id, {}),
            facts=facts.get(row.id, {}),
        )
        for row in claimed
    }
    return [leases[job_id] for job_id in dict.fromkeys(job_ids) if job_id in leases]


def _is_on_hold(batch_id: Any) -> ColumnElement[bool]:
    """Whether a batch is paused or cancelled, or its institution disabled, as SQL."""
    on_hold = or_(Batch.paused_at.is_not(None), Batch.cancelled_at.is_not(None), Tenant.disabled_at.is_not(None))
    return exists(select(Batch.id).join(Tenant, Tenant.id == Batch.tenant_id).where(Batch.id == batch_id, on_hold))


def _moment_after(name: str) -> now:
    """The moment after a number of seconds, bound to this parameter; NULL where the parameter is None."""
    return now(bindparam(name, type_=Float()))


def _of_batch(column: str) -> ScalarSelect[Any]:
    """A column of the job's batch, as SQL."""
    return select(BATCHES.c[column]).where(BATCHES.c.id == JOBS.c.batch_id).scalar_subquery()


_CLAIM = (
    update(JOBS)
    .where(
        JOBS.c.id.in_(bindparam("job_ids", expanding=True)),
        JOBS.c.stage == bindparam("at", type_=JOBS.c.stage.type),
        JOBS.c.state.in_(WAITING),
        ~_is_on_hold(JOBS.c.batch_id),
    )
    .values(
        state=State.RUNNING,
        attempt=JOBS.c.attempt + 1,
        deadline=_moment_after("lease_s"),
        worker_id=bindparam("by", type_=Uuid()),
        started_at=now(),
    )
    .returning(
        *(JOBS.c[name] for name in ["id", "tenant_id", "batch_id", "photo_id", "attempt", "stage", "name"]),
        JOBS.c.started_at,
        JOBS.c.not_before,
        JOBS.c.tries.label("faults"),
        func.coalesce(JOBS.c.recipe_hash, _of_batch("recipe_hash")).label("recipe_hash"),
        func.coalesce(
            select(RECIPES.c.recipe).where(RECIPES.c.hash == JOBS.c.recipe_hash).scalar_subquery(), _of_batch("recipe")
        ).label("recipe"),
    )
)


def extend(session: Session, leases: Sequence[Lease], lease_s: float) -> set[uuid.UUID]:
    """Extend the leases of a bundle. Returns the jobs that are still held."""
    held = session.scalars(
        update(Job).where(_is_held(leases)).values(deadline=now(lease_s)).returning(Job.id),
        execution_options=NO_SYNC,
    )
    return set(held)


def list_held(session: Session, leases: Sequence[Lease]) -> set[uuid.UUID]:
    """List the jobs that are still held by these leases."""
    return set(session.scalars(select(Job.id).where(_is_held(leases))))


def clear_faults(session: Session, leases: Sequence[Lease]) -> None:
    """Set the fault count of jobs to zero that got further than any attempt before."""
    session.execute(update(Job).where(_is_held(leases)).values(faults=0), execution_options=NO_SYNC)


def release(session: Session, leases: Sequence[Lease]) -> int:
    """Return jobs that were claimed and not begun to ready; no fault is counted. Returns how many."""
    released = session.scalars(
        update(Job).where(_is_held(leases)).values(state=State.READY, deadline=None).returning(Job.id),
        execution_options=NO_SYNC,
    )
    return len(released.all())


def _is_held(leases: Sequence[Lease]) -> ColumnElement[bool]:
    """Whether a job is still held by one of these leases, as SQL."""
    return and_(
        # The pairs alone would be enough, but SQLite finds no index for them.
        Job.id.in_([lease.job_id for lease in leases]),
        tuple_(Job.id, Job.attempt).in_([(lease.job_id, lease.attempt) for lease in leases]),
        Job.state == State.RUNNING,
    )


def settle(session: Session, ends: Sequence[AttemptEnd], *, backoff_s: float, requeue_s: float) -> set[uuid.UUID]:
    """Write how the attempts of a bundle ended: a statement for the jobs that ended alike, one for all attempts.

    A lease that was lost (expired, cancelled) writes nothing: its files are orphans.

    Args:
        session: the transaction.
        ends: at most one entry a job.
        backoff_s: wait after the first fault.
        requeue_s: how long the next link of the chain has for its claim.

    Returns:
        The jobs whose outcome was written.
    """
    alike: dict[_Move, list[uuid.UUID]] = {}
    for lease, end in ends:
        alike.setdefault(_choose_move(lease, end, backoff_s, requeue_s), []).append(lease.job_id)
    written = {
        job_id
        for move, job_ids in alike.items()
        for job_id in session.scalars(_SETTLE, {"job_ids": job_ids, **vars(move)})
    }
    rows = [_attempt_row(lease, end) for lease, end in ends if lease.job_id in written]
    if rows:
        session.execute(insert(ATTEMPTS), rows)
    if risks := [
        {"job": row["job_id"], "found": risk} for row in rows if (risk := row["facts"].get("risk")) is not None
    ]:
        session.execute(_NOTE_RISK, risks)
    if films := [{"job": row["job_id"], "found": row["facts"]["frames"]} for row in rows if row["facts"].get("film")]:
        session.execute(_NOTE_FRAMES, films)
    return written


_NOTE_FRAMES = update(JOBS).where(JOBS.c.id == bindparam("job")).values(frames=bindparam("found"))
_NOTE_RISK = update(JOBS).where(JOBS.c.id == bindparam("job")).values(risk=bindparam("found"))


@dataclass(frozen=True)
class _Move:
    """What is written into a job whose attempt ended. Jobs that ended alike, as most do, share one statement."""

    number: int
    to_stage: Stage
    to_state: State
    to_faults: int
    delay_s: float | None
    claim_s: float | None
    end_s: float | None
    code: str | None
    sentence: str | None
    making: str | None


def position_after(lease: Lease, end: Done | RetintError) -> Position:
    """Return where a job goes whose attempt ended so."""
    if isinstance(end, StoreUnavailable):
        # The photo is not at fault: none is counted, however long this lasts.
        return Position(lease.stage, State.READY, lease.faults)
    return next_position(lease.stage, lease.faults, classify(end))


def _choose_move(lease: Lease, end: Done | RetintError, backoff_s: float, requeue_s: float) -> _Move:
    """Decide where a job goes whose attempt ended."""
    to = position_after(lease, end)
    # Where the store is away, a job waits as after the last fault.
    faults = FAULT_LIMIT if isinstance(end, StoreUnavailable) else to.faults
    delay_s = backoff(faults, backoff_s) * (end.backoff_factor if isinstance(end, Transient) else 1)
    return _Move(
        number=lease.attempt,
        to_stage=to.stage,
        to_state=to.state,
        to_faults=to.faults,
        delay_s=delay_s if to.state is State.READY else None,
        claim_s=requeue_s if to.state is State.QUEUED else None,
        end_s=0.0 if to.state.is_final else None,
        code=None if isinstance(end, Done) else end.code,
        sentence=None if isinstance(end, Done) else _make_storable(end.message),
        making=end.made_with if isinstance(end, Done) else None,
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
        tries=bindparam("to_faults"),
        # Only a fault delays a job; otherwise it keeps its place in the order of deposit.
        not_before=func.coalesce(_moment_after("delay_s"), JOBS.c.not_before),
        deadline=_moment_after("claim_s"),
        reason_code=bindparam("code"),
        reason=bindparam("sentence"),
        ended_at=_moment_after("end_s"),
        made_with=bindparam("making"),
    )
    .returning(JOBS.c.id)
)


def classify(end: Done | RetintError) -> Outcome:
    """Return the outcome of an attempt that ended so."""
    if isinstance(end, Done):
        return Outcome.DONE
    return Outcome.REFUSED if isinstance(end, Refused) else Outcome.FAULT


def _attempt_row(lease: Lease, end: Done | RetintError) -> dict[str, Any]:
    done = end if isinstance(end, Done) else Done()
    return {
        "job_id": lease.job_id,
        "number": lease.attempt,
        "tenant_id": lease.tenant_id,
        "stage": lease.stage,
        "worker_id": lease.worker_id,
        "outcome": classify(end),
        "error": None if isinstance(end, Done) else _describe_failure(end),
        "files": done.files,
        "facts": done.facts,
        "timings": done.timings,
        "started_at": lease.started_at,
    }


def _describe_failure(failure: RetintError) -> str:
    """Describe for an administrator what went wrong: the sentence, and the traceback of its cause if there is one."""
    cause = failure.__cause__ and traceback.format_exception(failure.__cause__)
    return _make_storable("\n\n".join([failure.message, "".join(cause)] if cause else [failure.message]))


def _make_storable(text: str) -> str:
    """Replace characters that PostgreSQL refuses in texts: a message may quote a hostile file."""
    return text.encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")
