"""What a person asks of many jobs: written down first, then carried out in chunks.

Whoever asks carries out what fits into a moment; the dispatcher does the rest, also after a crash. Each chunk is a
transaction of its own, so a million jobs hold up nobody.
"""

import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import Select, select, text, update
from sqlalchemy.orm import Session

from retint import audit, records
from retint.columns import now
from retint.database import NO_SYNC
from retint.errors import IllegalMove, InvalidRequest, NotFound, Transient
from retint.jobs import changes, in_flight
from retint.lifecycle import ACTIVE, FINAL, State, Verdict, phases_of
from retint.recipes import Recipe
from retint.tables import IS_FAILED, IS_NEWEST, Batch, Job, LongMove, StoredRecipe

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
    audit.record(session, "batch_cancelled", batch_id, tenant_id=tenant_id)
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
    after = {"batch": batch_id, "reason": reason_code or "any"}
    if tenant_id is None:
        audit.record(session, "faults_retried", reason_code or "all", after=after)
    else:
        audit.record(session, "failures_retried", batch_id or reason_code or "all", tenant_id=tenant_id, after=after)
    return _add(session, LongMove(kind="retry", tenant_id=tenant_id, batch_id=batch_id, reason_code=reason_code))


@dataclass(frozen=True)
class Selection:
    """Which jobs of a batch are run again: those that have ended; cancelled ones only where the state says so."""

    state: State | None = None
    verdict: Verdict | None = None
    """Only restored ones with this verdict."""
    reason_code: str | None = None
    """Only those that failed for this reason."""


def run_again(
    session: Session, tenant_id: uuid.UUID, batch_id: uuid.UUID, chosen: Selection, recipe: Recipe | None = None
) -> uuid.UUID:
    """Let new jobs take the places of a batch's jobs that have ended by now. Returns the move, see `carry_out`.

    Args:
        session: the transaction.
        tenant_id: whose batch it is.
        batch_id: the batch.
        chosen: which of its jobs.
        recipe: what they go through, checked by the caller; None for the recipe that each has.

    Raises:
        NotFound: the tenant has no such batch.
        IllegalMove: it is cancelled, or photos of it are being run again already.
        InvalidRequest: jobs in this state have not ended.
    """
    if chosen.state in ACTIVE:
        raise InvalidRequest(f"A photo that is {chosen.state} has not ended: it cannot be run again.")
    # The lock lets one of two that ask at once wait, and see the other's move.
    batch = session.scalar(select(Batch).where(Batch.id == batch_id, Batch.tenant_id == tenant_id).with_for_update())
    if batch is None:
        raise NotFound("There is no such batch.")
    changes.refuse_cancelled(batch.cancelled_at)
    if find_run_again(session, batch_id) is not None:
        raise IllegalMove("Photos of this batch are being run again already. Wait until all have begun.")
    stored = None if recipe is None else records.store_recipe(session, recipe)
    fields = {"state": chosen.state, "verdict": chosen.verdict, "reason_code": chosen.reason_code}
    after = {"recipe": None if recipe is None else recipe.model_dump(), **fields}
    audit.record(session, "batch_run_again", batch_id, tenant_id=tenant_id, after=after)
    return _add(session, LongMove(kind="again", tenant_id=tenant_id, batch_id=batch_id, recipe_hash=stored, **fields))


def run_refused_again(session: Session, tenant_id: uuid.UUID, reason_code: str | None = None) -> list[uuid.UUID]:
    """Run an institution's refused photos again, each with the recipe that it has. Returns a move for each batch.

    Batches that are cancelled, or whose photos are being run again already, are left alone.
    """
    refused = select(Job.batch_id).where(text(IS_FAILED), Job.tenant_id == tenant_id, Job.phase == State.REFUSED.value)
    if reason_code is not None:
        refused = refused.where(Job.reason_code == reason_code)
    moves = []
    chosen = Selection(State.REFUSED, reason_code=reason_code)
    for batch_id in session.scalars(refused.distinct().order_by(Job.batch_id)).all():
        with suppress(IllegalMove):
            moves.append(run_again(session, tenant_id, batch_id, chosen))
    return moves


def find_run_again(session: Session, batch_id: uuid.UUID) -> LongMove | None:
    """Find the move that runs photos of a batch again, if it has not ended yet."""
    is_open = (LongMove.ended_at.is_(None), LongMove.batch_id == batch_id, LongMove.kind == "again")
    return session.scalar(select(LongMove).where(*is_open).limit(1))


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


def carry_out_all(services: "Services", move_ids: Sequence[uuid.UUID]) -> tuple[int, bool]:
    """Carry out as much of some moves as fits into a moment; the dispatcher does the rest.

    Returns:
        How many jobs have moved, and whether that is all.
    """
    began, moved, is_complete = time.monotonic(), 0, True
    for move_id in move_ids:
        left_s = MOMENT_S - (time.monotonic() - began)
        if left_s <= 0:
            return moved, False
        move = carry_out(services, move_id, left_s)
        moved, is_complete = moved + move.moved, is_complete and move.ended_at is not None
    return moved, is_complete


def list_open(session: Session) -> list[uuid.UUID]:
    """List the moves that are not carried out yet, the oldest first."""
    return list(session.scalars(select(LongMove.id).where(LongMove.ended_at.is_(None)).order_by(LongMove.id)))


def advance(session: Session, move_id: uuid.UUID) -> bool:
    """Move the next jobs, `CHUNK` at most. Returns whether there may be more, and nobody else is at it.

    Where photos are run again, only as many as the tenant's quota allows: the rest waits until others have ended.
    """
    move = session.scalar(
        select(LongMove).where(LongMove.id == move_id, LongMove.ended_at.is_(None)).with_for_update(skip_locked=True)
    )
    if move is None:
        return False
    is_pointless = _is_pointless(session, move)
    limit = CHUNK if is_pointless else _limit(session, move)
    if limit <= 0:
        return False
    job_ids = [] if is_pointless else session.scalars(_select_next(move).limit(limit)).all()
    moved = _carry_out_chunk(session, move, job_ids) if job_ids else 0
    is_over = len(job_ids) < limit
    session.execute(
        update(LongMove)
        .where(LongMove.id == move_id)
        .values(moved=LongMove.moved + moved, ended_at=now() if is_over else None),
        execution_options=NO_SYNC,
    )
    return not is_over


def _limit(session: Session, move: LongMove) -> int:
    """Return how many jobs may be moved now."""
    if move.kind != "again" or move.tenant_id is None:
        return CHUNK
    room = in_flight.count_room(session, move.tenant_id)
    return CHUNK if room is None else min(room, CHUNK)


def _is_pointless(session: Session, move: LongMove) -> bool:
    """Whether the batch was cancelled after somebody asked to run its photos again."""
    if move.kind != "again":
        return False
    cancelled = select(Batch.cancelled_at).where(Batch.id == move.batch_id).with_for_update(read=True)
    return session.scalar(cancelled) is not None


def _carry_out_chunk(session: Session, move: LongMove, job_ids: Sequence[uuid.UUID]) -> int:
    chosen = Job.id.in_(job_ids)
    if move.kind == "cancel":
        return changes.cancel(session, chosen)
    if move.kind == "retry" or move.batch_id is None:
        return changes.retry(session, chosen)
    stored = session.scalar(select(StoredRecipe.recipe).where(StoredRecipe.hash == move.recipe_hash))
    recipe = None if stored is None else Recipe.model_validate(stored)
    return len(changes.replace_jobs(session, move.batch_id, job_ids, recipe))


def _select_ended(move: LongMove) -> Select[uuid.UUID]:
    """Select jobs that are to be run again; those that took another one's place meanwhile were added later."""
    states = [State.RESTORED, State.REFUSED, State.QUARANTINED] if move.state is None else [move.state]
    if move.verdict is not None:
        states = [State.RESTORED]
    phases = [phase for state in states for phase in phases_of(state)]
    query = select(Job.id).where(
        text(IS_NEWEST), Job.batch_id == move.batch_id, Job.phase.in_(phases), Job.created_at <= move.created_at
    )
    if move.verdict is not None:
        query = query.where(Job.verdict == move.verdict)
    return query if move.reason_code is None else query.where(Job.reason_code == move.reason_code)


def _select_next(move: LongMove) -> Select[uuid.UUID]:
    """Select jobs that the move has not reached: those it has moved are in another phase."""
    if move.kind == "cancel":
        return select(Job.id).where(text(IS_NEWEST), Job.batch_id == move.batch_id, Job.phase.in_(_OPEN_PHASES))
    if move.kind == "again":
        return _select_ended(move)
    # A job that failed again since then keeps its new failure.
    query = select(Job.id).where(
        text(IS_FAILED), Job.phase == State.QUARANTINED.value, Job.started_at <= move.created_at
    )
    if move.batch_id is not None:
        query = query.where(Job.batch_id == move.batch_id)
    if move.tenant_id is not None:
        query = query.where(Job.tenant_id == move.tenant_id)
    return query if move.reason_code is None else query.where(Job.reason_code == move.reason_code)
