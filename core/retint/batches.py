"""Batches: what one deposit brought. Opened, listed, paused, watched, reported."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final, Literal
from uuid import UUID

from sqlalchemy import Row as SqlRow
from sqlalchemy import Select, and_, false, func, select, tuple_, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from retint import recipes
from retint.errors import IllegalMove, InvalidRequest, Refused
from retint.jobs import tallies
from retint.lifecycle import Outcome, Stage, State
from retint.names import unique_path
from retint.recipes import Recipe
from retint.tables import Attempt, Batch, Job, Photo, now
from retint.tenancy import get_owned, owned
from retint_models.weights.cards import IMPORTED

if TYPE_CHECKING:
    from retint.services import Services

RATE_WINDOW_S: Final = 600
RATE_SAMPLE: Final = 256
"""The rate is judged by the newest jobs that ended: so many at most, so that a large batch costs no more."""
CHUNK: Final = 500
GROWS_FOR_S: Final = 30.0


@dataclass(frozen=True)
class Progress:
    """How far a batch is."""

    counts: tallies.Counts
    rate_per_minute: float
    eta_s: float | None
    """Seconds until the last job ends, at this rate; None where nobody can tell: paused, or nothing ended yet."""


@dataclass(frozen=True)
class Card:
    """What a page of a batch shows of one job."""

    id: UUID
    name: str
    stage: Stage
    state: State
    reason_code: str | None
    reason: str | None
    film: bool = False
    """Whether it is a film; nobody knows before ingest is done."""

    @property
    def picture(self) -> Literal["thumb", "proxy"] | None:
        """The file that shows it best so far; None before ingest is done."""
        if self.state is State.RESTORED:
            return "thumb"
        return None if self.stage is Stage.INGEST else "proxy"


@dataclass(frozen=True)
class Row:
    """One deposited file in a batch's report."""

    job_id: UUID
    name: str
    size: int
    sha256: str
    state: State
    stage: Stage
    reason_code: str | None
    reason: str | None
    ended_at: datetime | None
    result_name: str | None
    """Where the result lies in the batch's zip: safe and unique; None without a result."""
    result_sha256: str | None
    remark: str | None
    """What must be said of the result, such as that it has no color."""
    files: dict[str, str]
    """The result's files: name to key in the store; empty without a result."""


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
    imported: Path = IMPORTED,
) -> Batch:
    """Open a batch; the same idempotency key finds the batch that it opened.

    Args:
        session: the transaction.
        tenant_id: whose it is.
        name: what people call it.
        recipe: what is done to its photos.
        priority: 0 to 9; larger overtakes.
        created_by: who opened it.
        idempotency_key: see above.
        trial: the trial that it is one try of.
        imported: folder of imported weights.

    Raises:
        InvalidRequest: no name, a name of more than 200 characters, a priority that is not 0 to 9, a network that is
            not here, or a setting that it does not have or not in its range.
        Refused: the idempotency key was used for another name or recipe.
    """
    name = _clean(name)
    if not 0 <= priority <= 9:
        raise InvalidRequest("A priority is a number from 0 to 9.")
    recipes.check(recipe, imported)
    batch = Batch(
        tenant_id=tenant_id,
        name=name,
        recipe=recipe.model_dump(mode="json"),
        recipe_hash=recipe.hash,
        priority=priority,
        created_by=created_by,
        idempotency_key=idempotency_key,
        trial=trial,
    )
    try:
        with session.begin_nested():
            session.add(batch)
    except IntegrityError:
        if idempotency_key is None:
            raise
        return _opened_before(session, batch)
    session.refresh(batch)
    return batch


def page(session: Session, tenant_id: UUID, after: UUID | None = None, limit: int = 50) -> Sequence[Batch]:
    """List a tenant's batches, newest first, those after the batch `after`; the tries of trials are left out.

    Raises:
        NotFound: no such batch `after`.
    """
    deposits = owned(Batch, tenant_id).where(Batch.trial.is_(None))
    query = deposits.order_by(Batch.created_at.desc(), Batch.id.desc()).limit(limit)
    if after is not None:
        last = get_owned(session, Batch, tenant_id, after)
        query = query.where(tuple_(Batch.created_at, Batch.id) < tuple_(last.created_at, last.id))
    return session.scalars(query).all()


def pause(session: Session, tenant_id: UUID, batch_id: UUID) -> Batch:
    """Let what runs finish, start nothing more; idempotent.

    Raises:
        NotFound: no such batch.
        IllegalMove: it was cancelled.
    """
    batch = _not_cancelled(session, tenant_id, batch_id)
    session.execute(update(Batch).where(Batch.id == batch_id, Batch.paused_at.is_(None)).values(paused_at=now()))
    session.refresh(batch)
    return batch


def resume(session: Session, tenant_id: UUID, batch_id: UUID) -> Batch:
    """Go on with a paused batch; idempotent.

    Raises:
        NotFound: no such batch.
        IllegalMove: it was cancelled.
    """
    batch = _not_cancelled(session, tenant_id, batch_id)
    session.execute(update(Batch).where(Batch.id == batch_id).values(paused_at=None))
    session.refresh(batch)
    return batch


def progress(session: Session, tenant_id: UUID, batch_id: UUID) -> Progress:
    """Tell how far a batch is; costs the same for ten photos and for a million.

    Raises:
        NotFound: no such batch.
    """
    batch = get_owned(session, Batch, tenant_id, batch_id)
    counts = tallies.counts(session, [batch_id])[batch_id]
    rate = _rate_per_s(session, batch_id)
    left = counts.ready + counts.queued + counts.running
    moves = rate > 0 and left > 0 and batch.paused_at is None and batch.cancelled_at is None
    return Progress(counts, rate * 60, left / rate if moves else None)


def jobs_page(
    session: Session,
    tenant_id: UUID,
    batch_id: UUID,
    *,
    state: State | None = None,
    after: UUID | None = None,
    limit: int = 60,
) -> list[Card]:
    """List a batch's jobs in the order of deposit, those after the job `after`; of one state, also by stage.

    Raises:
        NotFound: no such batch, or no such job `after`.
    """
    get_owned(session, Batch, tenant_id, batch_id)
    query = _cards(tenant_id, batch_id).limit(limit)
    last = None if after is None else get_owned(session, Job, tenant_id, after)
    if state is not None:
        # As the index has them: a few refused among a million must not be searched for.
        place = (Job.stage, Job.not_before, Job.id)
        query = query.where(Job.state == state).order_by(None).order_by(*place)
        if last is not None:
            query = query.where(tuple_(*place) > tuple_(last.stage, last.not_before, last.id))
    elif last is not None:
        query = query.where(Job.id > last.id)
    return [Card(*row) for row in session.execute(query)]


def cards(session: Session, tenant_id: UUID, batch_id: UUID, job_ids: Sequence[UUID]) -> list[Card]:
    """List these jobs of a batch: what a page that shows them asks for again and again."""
    query = _cards(tenant_id, batch_id).where(Job.id.in_(job_ids))
    return [Card(*row) for row in session.execute(query)] if job_ids else []


def is_growing(session: Session, tenant_id: UUID, batch_id: UUID) -> bool:
    """Tell whether a photo came in during the last half minute."""
    newest = select(Job.created_at).where(Job.tenant_id == tenant_id, Job.batch_id == batch_id).order_by(Job.id.desc())
    return bool(session.scalar(select(newest.limit(1).scalar_subquery() > now(-GROWS_FOR_S))))


def _cards(tenant_id: UUID, batch_id: UUID) -> Select[*tuple[Any, ...]]:
    # Asked for each job of the page, not joined: the page's size is all that it may cost.
    film = (
        select(Attempt.facts["film"].as_boolean())
        .where(Attempt.job_id == Job.id, Attempt.stage == Stage.INGEST, Attempt.outcome == Outcome.DONE)
        .scalar_subquery()
    )
    return (
        select(Job.id, Job.name, Job.stage, Job.state, Job.reason_code, Job.reason, func.coalesce(film, false()))
        .where(Job.tenant_id == tenant_id, Job.batch_id == batch_id)
        .order_by(Job.id)
    )


def report(services: "Services", tenant_id: UUID, batch_id: UUID) -> Iterator[Row]:
    """Go through a batch's files in the order of deposit, every one exactly once.

    Reads in short transactions, so that a slow reader of a long report holds nothing up.

    Raises:
        NotFound: no such batch (at once, before the first row is asked for).
    """
    with services.begin() as session:
        get_owned(session, Batch, tenant_id, batch_id)
    return _rows(services, tenant_id, batch_id)


def _rows(services: "Services", tenant_id: UUID, batch_id: UUID) -> Iterator[Row]:
    taken: set[str] = set()
    after: UUID | None = None
    while True:
        with services.begin() as session:
            found = session.execute(_chunk(tenant_id, batch_id, after)).all()
        if not found:
            return
        for row in found:
            yield _row(row, taken)
        after = found[-1].id


def _chunk(tenant_id: UUID, batch_id: UUID, after: UUID | None) -> Select[*tuple[Any, ...]]:
    query = (
        select(
            Job.id,
            Job.name,
            Job.state,
            Job.stage,
            Job.reason_code,
            Job.reason,
            Job.ended_at,
            Photo.sha256,
            Photo.size,
            Attempt.files,
            Attempt.facts,
        )
        .join(Photo, Photo.id == Job.photo_id)
        .outerjoin(
            Attempt,
            and_(Attempt.job_id == Job.id, Attempt.stage == Stage.RENDER, Attempt.outcome == Outcome.DONE),
        )
        .where(Job.tenant_id == tenant_id, Job.batch_id == batch_id)
        .order_by(Job.id)
        .limit(CHUNK)
    )
    return query if after is None else query.where(Job.id > after)


def _row(found: SqlRow[Any], taken: set[str]) -> Row:
    files: dict[str, str] = (found.files or {}) if found.state is State.RESTORED else {}
    result = files.get("result")
    return Row(
        job_id=found.id,
        name=found.name,
        size=found.size,
        sha256=found.sha256,
        state=found.state,
        stage=found.stage,
        reason_code=None if found.state is State.RESTORED else found.reason_code,
        reason=None if found.state is State.RESTORED else found.reason,
        ended_at=found.ended_at,
        result_name=None if result is None else unique_path(found.name, PurePosixPath(result).suffix, taken),
        result_sha256=None if result is None else (found.facts or {}).get("sha256"),
        remark=None if result is None else (found.facts or {}).get("colorless"),
        files=files,
    )


def _clean(name: str) -> str:
    name = "".join(character if character.isprintable() else " " for character in name).strip()
    if not 0 < len(name) <= 200:
        raise InvalidRequest("A batch needs a name of at most 200 characters.")
    return name


def _opened_before(session: Session, wanted: Batch) -> Batch:
    batch = session.scalars(owned(Batch, wanted.tenant_id).where(Batch.idempotency_key == wanted.idempotency_key)).one()
    if (batch.name, batch.recipe_hash, batch.priority) != (wanted.name, wanted.recipe_hash, wanted.priority):
        raise Refused("This idempotency key opened another batch already.", code="idempotency_key_reused")
    return batch


def _not_cancelled(session: Session, tenant_id: UUID, batch_id: UUID) -> Batch:
    batch = get_owned(session, Batch, tenant_id, batch_id)
    if batch.cancelled_at is not None:
        raise IllegalMove("The batch was cancelled.", code="batch_cancelled")
    return batch


def _rate_per_s(session: Session, batch_id: UUID) -> float:
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
