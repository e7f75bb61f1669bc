"""Batches: the files of one deposit. Opened, listed, paused, measured."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal
from uuid import UUID

from sqlalchemy import Select, false, func, select, text, tuple_, union_all, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from retint import audit, quotas, recipes
from retint.columns import now
from retint.errors import InvalidRequest, Refused
from retint.jobs import changes, tallies
from retint.lifecycle import Outcome, Stage, State, phases_of
from retint.recipes import Recipe
from retint.tables import IS_NEWEST, Attempt, Batch, Job
from retint.tenancy import get_owned, select_owned
from retint_models.weights.cards import IMPORTED

RATE_WINDOW_S: Final = 600
RATE_SAMPLE: Final = 256
"""Most ended jobs that the rate is computed from, the newest ones: a large batch costs no more than a small one."""
GROWING_S: Final = 30.0
"""A batch counts as growing for so long after its newest job was added."""


@dataclass(frozen=True)
class Progress:
    """How far a batch is."""

    counts: tallies.Counts
    rate_per_minute: float
    eta_s: float | None
    """Seconds until the last job ends, at this rate; None if unknown: the batch is paused, or no job has ended yet."""


@dataclass(frozen=True)
class JobSummary:
    """What a page of a batch shows of one job."""

    id: UUID
    name: str
    stage: Stage
    state: State
    reason_code: str | None
    reason: str | None
    film: bool = False
    """Whether it is a film; False until ingest is done."""

    @property
    def picture(self) -> Literal["thumb", "proxy"] | None:
        """The file that shows it best so far; None until ingest is done."""
        if self.state is State.RESTORED:
            return "thumb"
        return None if self.stage is Stage.INGEST else "proxy"


def open(
    session: Session,
    tenant_id: UUID,
    name: str,
    recipe: Recipe,
    *,
    priority: int = 0,
    created_by: UUID | None = None,
    idempotency_key: str | None = None,
    trial: UUID | None = None,
    proof_of: UUID | None = None,
    paused: bool = False,
    imported: Path = IMPORTED,
) -> Batch:
    """Open a batch. The same idempotency key returns the batch that it opened.

    Args:
        session: the transaction.
        tenant_id: the tenant.
        name: at most 200 characters.
        recipe: for its photos.
        priority: 0 to 9; a larger one is served first.
        created_by: the user.
        idempotency_key: any text of the caller.
        trial: the trial that it is a try of.
        proof_of: the batch that it is a proof of.
        paused: nothing of it starts before it is resumed.
        imported: folder of imported weights.

    Raises:
        InvalidRequest: the name, the priority or the recipe cannot be used (see `recipes.check`).
        Refused: the idempotency key was used for another batch, or the priority is beyond a quota.
    """
    name = _clean_name(name)
    if not 0 <= priority <= 9:
        raise InvalidRequest("A priority is a number from 0 to 9.")
    recipes.check(recipe, imported)
    batch = Batch(
        tenant_id=tenant_id,
        name=name,
        recipe=json.loads(recipe.canonical),  # as workers of the version before can read it
        recipe_hash=recipe.hash,
        priority=priority,
        created_by=created_by,
        idempotency_key=idempotency_key,
        trial=trial,
        proof_of=proof_of,
        paused_at=now() if paused else None,
    )
    return _insert_or_find(session, batch)


def _insert_or_find(session: Session, batch: Batch) -> Batch:
    """Insert a batch; if its idempotency key is there, return the batch that has it.

    Raises:
        Refused: that batch has another name, recipe or priority.
        QuotaExceeded: the batch is new, and has too high a priority.
    """
    try:
        with session.begin_nested():
            session.add(batch)
    except IntegrityError:
        if batch.idempotency_key is None:
            raise
        same_key = Batch.idempotency_key == batch.idempotency_key
        found = session.scalars(select_owned(Batch, batch.tenant_id).where(same_key)).one()
        is_same = found.recipe_hash == batch.recipe_hash or is_proved(session, found.id)
        if not is_same or (found.name, found.priority) != (batch.name, batch.priority):
            message = "This idempotency key opened another batch already."
            raise Refused(message, code="idempotency_key_reused") from None
        return found
    quotas.check_priority(session, batch.tenant_id, batch.priority)
    session.refresh(batch)
    if batch.is_deposit:  # what a try or a proof is for is recorded with it
        after = {"name": batch.name, "priority": batch.priority, "recipe": batch.recipe}
        audit.record(session, "batch_opened", batch.id, tenant_id=batch.tenant_id, after=after)
    return batch


def is_proved(session: Session, batch_id: UUID) -> bool:
    """Whether a batch has had a proof: its recipe may then be another than the one that it was opened with."""
    proofs = select(Batch.id).where(Batch.proof_of.is_not(None), Batch.proof_of == batch_id)
    return session.scalar(proofs.limit(1)) is not None


def list_page(session: Session, tenant_id: UUID, after: UUID | None = None, limit: int = 50) -> Sequence[Batch]:
    """List a tenant's batches, newest first, those after the batch `after`; without tries and proofs.

    Raises:
        NotFound: no such batch `after`.
    """
    deposits = select_owned(Batch, tenant_id).where(Batch.trial.is_(None), Batch.proof_of.is_(None))
    query = deposits.order_by(Batch.created_at.desc(), Batch.id.desc()).limit(limit)
    if after is not None:
        last = get_owned(session, Batch, tenant_id, after)
        query = query.where(tuple_(Batch.created_at, Batch.id) < tuple_(last.created_at, last.id))
    return session.scalars(query).all()


def pause(session: Session, tenant_id: UUID, batch_id: UUID) -> Batch:
    """Pause a batch: running jobs finish, no other one starts. Idempotent.

    Raises:
        NotFound: no such batch.
        IllegalMove: the batch is cancelled.
    """
    batch = _get_uncancelled(session, tenant_id, batch_id)
    if batch.paused_at is None:
        audit.record(session, "batch_paused", batch_id, tenant_id=tenant_id)
    session.execute(update(Batch).where(Batch.id == batch_id, Batch.paused_at.is_(None)).values(paused_at=now()))
    session.refresh(batch)
    return batch


def resume(session: Session, tenant_id: UUID, batch_id: UUID) -> Batch:
    """Resume a paused batch. Idempotent.

    Raises:
        NotFound: no such batch.
        IllegalMove: the batch is cancelled.
    """
    batch = _get_uncancelled(session, tenant_id, batch_id)
    if batch.paused_at is not None:
        audit.record(session, "batch_resumed", batch_id, tenant_id=tenant_id)
    session.execute(update(Batch).where(Batch.id == batch_id).values(paused_at=None))
    session.refresh(batch)
    return batch


def measure_progress(session: Session, tenant_id: UUID, batch_id: UUID) -> Progress:
    """Measure how far a batch is, at a cost that does not depend on its size.

    Raises:
        NotFound: no such batch.
    """
    batch = get_owned(session, Batch, tenant_id, batch_id)
    counts = tallies.count_jobs(session, [batch_id])[batch_id]
    rate = _measure_rate(session, batch_id)
    left = counts.ready + counts.queued + counts.running
    moves = rate > 0 and left > 0 and batch.paused_at is None and batch.cancelled_at is None
    return Progress(counts, rate * 60, left / rate if moves else None)


def list_jobs_page(
    session: Session,
    tenant_id: UUID,
    batch_id: UUID,
    *,
    state: State | None = None,
    after: UUID | None = None,
    limit: int = 60,
) -> list[JobSummary]:
    """List a batch's jobs after the job `after`, in the order of deposit: all of them, or those in one state.

    Of a file that went through several jobs it is the newest.

    Raises:
        NotFound: no such batch, or no such job `after`.
    """
    get_owned(session, Batch, tenant_id, batch_id)
    start = UUID(int=0) if after is None else get_owned(session, Job, tenant_id, after).id
    # Phase by phase, each in the order of its index: finding a few refused jobs among a million is fast, and so is
    # passing over those that are replaced.
    states = tuple(State) if state is None else (state,)
    phases = [
        select(Job.id)
        .where(text(IS_NEWEST), Job.batch_id == batch_id, Job.phase == phase, Job.state.in_(states), Job.id > start)
        .order_by(Job.id)
        .limit(limit)
        .subquery()
        for phase in dict.fromkeys(phase for each in states for phase in phases_of(each))
    ]
    chosen = union_all(*(select(phase.c.id) for phase in phases))
    query = select_summaries(tenant_id).where(Job.id.in_(chosen)).order_by(Job.id).limit(limit)
    return [JobSummary(*row) for row in session.execute(query)]


def list_jobs(session: Session, tenant_id: UUID, batch_id: UUID, job_ids: Sequence[UUID]) -> list[JobSummary]:
    """List these jobs of a batch, for a page that shows them and polls."""
    query = select_summaries(tenant_id).where(Job.batch_id == batch_id, Job.id.in_(job_ids)).order_by(Job.id)
    return [JobSummary(*row) for row in session.execute(query)] if job_ids else []


def is_growing(session: Session, tenant_id: UUID, batch_id: UUID) -> bool:
    """Whether a file was added during the last `GROWING_S` seconds."""
    newest = select(Job.created_at).where(Job.tenant_id == tenant_id, Job.batch_id == batch_id).order_by(Job.id.desc())
    return bool(session.scalar(select(newest.limit(1).scalar_subquery() > now(-GROWING_S))))


def select_summaries(tenant_id: UUID) -> Select[*tuple[Any, ...]]:
    """Select what a `JobSummary` has of a tenant's jobs."""
    # A subquery for each job of the page, not a join: the cost must not exceed the size of the page.
    film = (
        select(Attempt.facts["film"].as_boolean())
        .where(Attempt.job_id == Job.id, Attempt.stage == Stage.INGEST, Attempt.outcome == Outcome.DONE)
        .scalar_subquery()
    )
    return select(
        Job.id, Job.name, Job.stage, Job.state, Job.reason_code, Job.reason, func.coalesce(film, false())
    ).where(Job.tenant_id == tenant_id)


def _clean_name(name: str) -> str:
    name = "".join(character if character.isprintable() else " " for character in name).strip()
    if not 0 < len(name) <= 200:
        raise InvalidRequest("A batch needs a name of at most 200 characters.")
    return name


def _get_uncancelled(session: Session, tenant_id: UUID, batch_id: UUID) -> Batch:
    batch = get_owned(session, Batch, tenant_id, batch_id)
    changes.refuse_cancelled(batch.cancelled_at)
    return batch


def _measure_rate(session: Session, batch_id: UUID) -> float:
    """Measure how many jobs of a batch end in a second, lately."""
    newest = session.scalars(
        select(Job.ended_at)
        .where(Job.batch_id == batch_id, Job.ended_at.is_not(None), Job.ended_at > now(-float(RATE_WINDOW_S)))
        .order_by(Job.ended_at.desc())
        .limit(RATE_SAMPLE)
    ).all()
    oldest = newest[-1] if len(newest) > 1 else None
    if oldest is None:
        return 0.0
    clock = session.scalar(select(now())) or datetime.now(UTC)
    return len(newest) / max((clock - oldest).total_seconds(), 0.001)
