"""What a person does with jobs: adds, cancels, retries."""

import uuid

from sqlalchemy import ColumnElement, and_, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from retint.columns import now
from retint.database import NO_SYNC
from retint.errors import IllegalMove, NotFound
from retint.jobs import attempts
from retint.lifecycle import FINAL, Outcome, State
from retint.tables import Batch, Job, Photo


def add_job(session: Session, batch: Batch, photo: Photo, name: str) -> Job:
    """Add a deposited file to a batch. Idempotent: the same file under the same name is the same job.

    Raises:
        IllegalMove: the batch is cancelled.
    """
    # The lock orders this against `cancel_batch`: no job enters a batch after its jobs were cancelled.
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


def cancel_batch(session: Session, tenant_id: uuid.UUID, batch_id: uuid.UUID) -> int:
    """Cancel a batch and all of its jobs that have not ended. Returns how many jobs.

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
    attempts.close(session, Outcome.CANCELLED, and_(chosen, Job.state == State.CANCELLED))
    return len(cancelled)


def retry_jobs(
    session: Session,
    tenant_id: uuid.UUID | None,
    *,
    batch_id: uuid.UUID | None = None,
    job_id: uuid.UUID | None = None,
    reason_code: str | None = None,
) -> int:
    """Return quarantined jobs to ready with a fault count of zero: all, or those that match. Returns how many.

    Args:
        session: the transaction.
        tenant_id: whose jobs; None for those of all tenants, which only an operator may ask for.
        batch_id: only this batch's.
        job_id: only this one.
        reason_code: only those that failed for this reason.
    """
    filters = ((Job.tenant_id, tenant_id), (Job.batch_id, batch_id), (Job.id, job_id), (Job.reason_code, reason_code))
    retried = session.scalars(
        update(Job)
        .where(Job.state == State.QUARANTINED, *(column == value for column, value in filters if value is not None))
        .values(state=State.READY, faults=0, not_before=now(), reason_code=None, reason=None)
        .returning(Job.id),
        execution_options=NO_SYNC,
    )
    return len(retried.all())
