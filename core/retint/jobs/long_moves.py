"""What a person asks of many jobs: written down first, then carried out in chunks.

Whoever asks carries out what fits into a moment; the dispatcher does the rest, also after a crash. Each chunk is a
transaction of its own, so a million jobs hold up nobody.
"""

import time
import uuid
from typing import TYPE_CHECKING, Final

from sqlalchemy import Select, select, text, update
from sqlalchemy.orm import Session

from retint.columns import now
from retint.database import NO_SYNC
from retint.errors import Transient
from retint.jobs import changes
from retint.lifecycle import FINAL, State, phases_of
from retint.tables import IS_FAILED, IS_NEWEST, Job, LongMove

if TYPE_CHECKING:
    from retint.services import Services

CHUNK: Final = 1000
"""Most jobs that one transaction moves."""
MOMENT_S: Final = 2.0
"""How long whoever asks waits for the end."""

_OPEN_PHASES: Final = tuple(phase for state in State if state not in FINAL for phase in phases_of(state))


def cancel_batch(session: Session, tenant_id: uuid.UUID, batch_id: uuid.UUID) -> uuid.UUID:
    """Cancel a batch and its proofs; from now on nothing of it starts.

    Returns:
        The move that ends its jobs, see `carry_out`. Those of its proofs, which are few, end at once.

    Raises:
        NotFound: the tenant has no such batch.
    """
    changes.close_batch(session, tenant_id, batch_id)
    changes.cancel_proofs(session, tenant_id, batch_id)
    return _add(session, LongMove(kind="cancel", tenant_id=tenant_id, batch_id=batch_id))


def retry_failures(
    session: Session,
    tenant_id: uuid.UUID | None,
    *,
    batch_id: uuid.UUID | None = None,
    reason_code: str | None = None,
) -> uuid.UUID:
    """Retry the jobs that are quarantined now. Returns the move that does so, see `carry_out`.

    Args:
        session: the transaction.
        tenant_id: whose jobs; None for those of all tenants, which only an operator may ask for.
        batch_id: only this batch's.
        reason_code: only those that failed for this reason.
    """
    return _add(session, LongMove(kind="retry", tenant_id=tenant_id, batch_id=batch_id, reason_code=reason_code))


def _add(session: Session, move: LongMove) -> uuid.UUID:
    session.add(move)
    session.flush()
    return move.id


def carry_out(services: "Services", move_id: uuid.UUID, within_s: float = MOMENT_S) -> LongMove:
    """Carry out a move, as far as it gets in a moment. Returns how far that is."""
    until = time.monotonic() + within_s
    try:
        while time.monotonic() < until:
            with services.begin() as session:
                if not advance(session, move_id):
                    break
    except Transient:  # it is written down: the dispatcher goes on
        pass
    with services.read() as session:
        return session.get_one(LongMove, move_id)


def list_open(session: Session) -> list[uuid.UUID]:
    """List the moves that are not carried out yet, the oldest first."""
    return list(session.scalars(select(LongMove.id).where(LongMove.ended_at.is_(None)).order_by(LongMove.id)))


def advance(session: Session, move_id: uuid.UUID) -> bool:
    """Move the next jobs, `CHUNK` at most. Returns whether there may be more, and nobody else is at it."""
    move = session.scalar(
        select(LongMove).where(LongMove.id == move_id, LongMove.ended_at.is_(None)).with_for_update(skip_locked=True)
    )
    if move is None:
        return False
    job_ids = session.scalars(_select_next(move).limit(CHUNK)).all()
    chosen = Job.id.in_(job_ids)
    moved = 0
    if job_ids:
        moved = changes.cancel(session, chosen) if move.kind == "cancel" else changes.retry(session, chosen)
    is_over = len(job_ids) < CHUNK
    session.execute(
        update(LongMove)
        .where(LongMove.id == move_id)
        .values(moved=LongMove.moved + moved, ended_at=now() if is_over else None),
        execution_options=NO_SYNC,
    )
    return not is_over


def _select_next(move: LongMove) -> Select[uuid.UUID]:
    """Select jobs that the move has not reached: those it has moved are in another phase."""
    if move.kind == "cancel":
        return select(Job.id).where(text(IS_NEWEST), Job.batch_id == move.batch_id, Job.phase.in_(_OPEN_PHASES))
    # A job that failed again since then keeps its new failure.
    query = select(Job.id).where(
        text(IS_FAILED), Job.phase == State.QUARANTINED.value, Job.started_at <= move.created_at
    )
    if move.batch_id is not None:
        query = query.where(Job.batch_id == move.batch_id)
    if move.tenant_id is not None:
        query = query.where(Job.tenant_id == move.tenant_id)
    return query if move.reason_code is None else query.where(Job.reason_code == move.reason_code)
