"""What a person does with jobs: adds, replaces, cancels, retries."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Any

import structlog
from sqlalchemy import ColumnElement, and_, case, event, func, select, tuple_, update
from sqlalchemy.orm import Session

from retint import audit, database, records, words
from retint.columns import fingerprint, new_id, now
from retint.database import NO_SYNC
from retint.errors import IllegalMove, NotFound
from retint.jobs import attempts, in_flight
from retint.lifecycle import FINAL, Outcome, State
from retint.recipes import Recipe
from retint.tables import Batch, Job, Photo

log = structlog.get_logger()


def refuse_cancelled(cancelled_at: datetime | None) -> None:
    """Refuse what a cancelled batch takes no more: files, and moves of its jobs.

    Raises:
        IllegalMove: the batch was cancelled.
    """
    if cancelled_at is not None:
        raise IllegalMove("The batch was cancelled. Open a new one.", code="batch_cancelled")


def add_job(session: Session, batch: Batch, photo: Photo, name: str) -> Job:
    """Add a deposited file to a batch. Idempotent: the same file under the same name is the same job.

    Raises:
        IllegalMove: the batch is cancelled.
        QuotaExceeded: the tenant has as many photos in flight as it may.
    """
    [job] = add_jobs(session, batch, [(photo.id, name)])
    return job


def add_jobs(session: Session, batch: Batch, files: Sequence[tuple[uuid.UUID, str]]) -> list[Job]:
    """Add deposited files to a batch, each a photo and a name; return their jobs in this order. Idempotent.

    Raises:
        IllegalMove: the batch is cancelled.
        QuotaExceeded: the tenant would have more photos in flight than it may; none is added.
    """
    if not files:
        return []
    # The lock orders this against `close_batch`: no job enters a batch after its jobs were cancelled.
    cancelled = session.scalar(select(Batch.cancelled_at).where(Batch.id == batch.id).with_for_update(read=True))
    refuse_cancelled(cancelled)
    in_flight.admit(session, batch, files).require_all()
    place = (Job.photo_id, Job.batch_id, Job.fingerprint)
    catalogued = records.look_up(session, batch, {name for _, name in files})
    rows = [
        {"tenant_id": batch.tenant_id, "batch_id": batch.id, "photo_id": photo_id, "name": name, **catalogued[name]}
        for photo_id, name in dict.fromkeys(files)
    ]
    added = session.scalars(
        database.insert(session, Job).on_conflict_do_nothing(index_elements=place).returning(Job), rows
    ).all()
    records.index_words(session, batch, added)
    _record_added(session, batch, added)
    event.listen(session, "after_commit", partial(_log_added, added), once=True)
    jobs = {(job.photo_id, job.name): job for job in added}
    if missing := [(photo_id, fingerprint(name)) for photo_id, name in files if (photo_id, name) not in jobs]:
        same = select(Job).where(Job.batch_id == batch.id, tuple_(Job.photo_id, Job.fingerprint).in_(missing))
        jobs |= {(job.photo_id, job.name): job for job in session.scalars(same)}
    return [jobs[file] for file in files]


def _record_added(session: Session, batch: Batch, added: Sequence[Job]) -> None:
    """Record what was deposited: files that come together in one entry."""
    if not batch.is_deposit:  # the trial or the proof is recorded
        return
    if len(added) == 1:
        after = {"batch": batch.id, "photo": added[0].photo_id}
        audit.record(session, "file_deposited", added[0].id, tenant_id=batch.tenant_id, after=after)
    elif added:
        files = {"files": len(added)}
        audit.record(session, "files_deposited", batch.id, tenant_id=batch.tenant_id, after=files)


def _log_added(jobs: Sequence[Job], _: Session) -> None:
    """Log whose request added which jobs; a worker's lines name the job."""
    names = ("tenant_id", "batch_id", "photo_id")
    for job in jobs:
        log.info("job_added", job_id=str(job.id), **{name: str(getattr(job, name)) for name in names})


def replace_job(session: Session, tenant_id: uuid.UUID, job_id: uuid.UUID, recipe: Recipe | None = None) -> Job:
    """Let a new job of the same file take the place of one that has ended; see `replace_jobs`.

    Raises:
        NotFound: the tenant has no such job.
        IllegalMove: it has not ended, a newer one has taken its place already, or its batch is cancelled.
        QuotaExceeded: the tenant has as many photos in flight as it may.
    """
    job = session.scalar(select(Job).where(Job.id == job_id, Job.tenant_id == tenant_id))
    if job is None:
        raise NotFound("There is no such photo.")
    if replacing := replace_jobs(session, job.batch_id, [job_id], recipe):
        in_flight.refuse_beyond(session, tenant_id)
        return replacing[0]
    session.refresh(job)
    if job.replaced_by is not None:
        raise IllegalMove(
            f"A newer job took this one's place: {job.replaced_by}. Go on with that one.", code="replaced"
        )
    raise IllegalMove(f"This photo is {job.state}. Wait until it has ended, or cancel it.")


def replace_jobs(
    session: Session, batch_id: uuid.UUID, job_ids: Sequence[uuid.UUID], recipe: Recipe | None = None
) -> list[Job]:
    """Let new jobs of the same files take the places of jobs of one batch, whose results stay.

    Those that have not ended, or are replaced already, are left as they are; quarantined ones are cancelled first.

    Args:
        session: the transaction.
        batch_id: the batch, of the tenant who asks.
        job_ids: the jobs that are to be replaced.
        recipe: what the new ones go through, checked by the caller; None for the recipe that each has.

    Returns:
        The new jobs, in the order of those that they replace.

    Raises:
        IllegalMove: the batch is cancelled.
    """
    # Ordered against `close_batch`, as in `add_jobs`.
    batch = session.scalars(
        select(Batch).where(Batch.id == batch_id).with_for_update(read=True).execution_options(populate_existing=True)
    ).one()
    refuse_cancelled(batch.cancelled_at)
    chosen = and_(Job.id.in_(job_ids), Job.batch_id == batch_id)
    cancel(session, and_(chosen, Job.state == State.QUARANTINED))
    ended = (Job.id, Job.tenant_id, Job.photo_id, Job.name, Job.recipe_hash, Job.record_id)
    old = session.execute(
        select(*ended).where(chosen, Job.state.in_(FINAL), Job.replaced_by.is_(None)).order_by(Job.id)
    ).all()
    if not old:
        return []
    own = None if recipe is None or recipe.hash == batch.recipe_hash else records.store_recipe(session, recipe)
    rows = [
        {
            "id": new_id(),
            "tenant_id": row.tenant_id,
            "batch_id": batch_id,
            "photo_id": row.photo_id,
            "name": row.name,
            "recipe_hash": row.recipe_hash if recipe is None else own,
            "record_id": row.record_id,
            "replaces": row.id,
        }
        for row in old
    ]
    records.obey(session, batch, rows)
    return _insert_replacing(session, batch, rows)


def _insert_replacing(session: Session, batch: Batch, rows: list[dict[str, Any]]) -> list[Job]:
    # The index of `replaces` is the guard: of two that replace the same job one inserts nothing.
    added = session.scalars(database.insert(session, Job).on_conflict_do_nothing().returning(Job), rows).all()
    by_old = {job.replaces: job for job in added}
    if by_old:
        newer = case({old_id: job.id for old_id, job in by_old.items()}, value=Job.id)
        session.execute(update(Job).where(Job.id.in_(by_old)).values(replaced_by=newer), execution_options=NO_SYNC)
        words.forget(session, [job_id for job_id in by_old if job_id])
        records.index_words(session, batch, added)
    event.listen(session, "after_commit", partial(_log_added, added), once=True)
    return [by_old[row["replaces"]] for row in rows if row["replaces"] in by_old]


def close_batch(session: Session, tenant_id: uuid.UUID, batch_id: uuid.UUID) -> None:
    """Mark a batch as cancelled: nothing is added to it, and none of its jobs starts.

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


def cancel_proofs(session: Session, tenant_id: uuid.UUID, batch_id: uuid.UUID) -> int:
    """Cancel the proofs of a batch: their batches, and their jobs that have not ended. Returns how many jobs."""
    of_batch = and_(Batch.proof_of.is_not(None), Batch.proof_of == batch_id, Batch.tenant_id == tenant_id)
    closed = session.scalars(
        update(Batch).where(of_batch, Batch.cancelled_at.is_(None)).values(cancelled_at=now()).returning(Batch.id),
        execution_options=NO_SYNC,
    ).all()
    return cancel(session, Job.batch_id.in_(closed)) if closed else 0


def cancel_job(session: Session, tenant_id: uuid.UUID, job_id: uuid.UUID) -> None:
    """Cancel one job; cancelling it again changes nothing.

    Raises:
        NotFound: the tenant has no such job.
        IllegalMove: it has been restored or refused.
    """
    if cancel(session, and_(Job.id == job_id, Job.tenant_id == tenant_id)):
        audit.record(session, "job_cancelled", job_id, tenant_id=tenant_id)
        return
    state = session.scalar(select(Job.state).where(Job.id == job_id, Job.tenant_id == tenant_id))
    if state is None:
        raise NotFound("There is no such photo.")
    if state is not State.CANCELLED:
        raise IllegalMove(f"This photo is already {state}.")


def cancel(session: Session, chosen: ColumnElement[bool]) -> int:
    """Cancel the chosen jobs that have not ended. Returns how many."""
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
    attempts.close(session, Outcome.CANCELLED, and_(chosen, Job.state == State.CANCELLED))
    return len(cancelled)


def retry_job(session: Session, tenant_id: uuid.UUID, job_id: uuid.UUID) -> bool:
    """Give one quarantined job another three attempts. Returns whether it was quarantined."""
    if not retry(session, and_(Job.id == job_id, Job.tenant_id == tenant_id)):
        return False
    audit.record(session, "job_retried", job_id, tenant_id=tenant_id)
    return True


def retry(session: Session, chosen: ColumnElement[bool]) -> int:
    """Return the chosen jobs that are quarantined to ready, with a fault count of zero. Returns how many."""
    retried = session.scalars(
        update(Job)
        .where(chosen, Job.state == State.QUARANTINED)
        .values(state=State.READY, faults=0, not_before=now(), reason_code=None, reason=None)
        .returning(Job.id),
        execution_options=NO_SYNC,
    )
    return len(retried.all())
