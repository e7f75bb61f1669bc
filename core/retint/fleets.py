"""Workers and fleets as the database knows them, and the leases on roles that only one process may have."""

import uuid
from collections import Counter
from datetime import datetime

from sqlalchemy import ColumnElement, SQLColumnExpression, case, func, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from retint import audit, totals
from retint.columns import now
from retint.database import NO_SYNC
from retint.errors import InvalidRequest
from retint.fleet_tables import Fleet
from retint.lifecycle import FIRST_WAIT_S, FLEETS, Mode
from retint.metrics import Counts
from retint.tables import Leader, Worker

LIVE_S = 30.0
"""A worker without a heartbeat for longer is taken for dead, in seconds."""


def register_worker(session: Session, fleet: str, host: str, pid: int, device: str, version: str) -> uuid.UUID:
    """Add the row of a worker that has just started. Returns its id."""
    # A worker with the same process id has ended: the system uses an id again only then.
    _end(session, now(), Worker.host == host, Worker.pid == pid)
    worker = Worker(fleet=fleet, host=host, pid=pid, device=device, version=version)
    session.add(worker)
    session.flush()
    return worker.id


def record_heartbeat(
    session: Session, worker_id: uuid.UUID, activity: str, counts: Counts | None = None, trouble: str | None = None
) -> bool:
    """Record that a worker is alive and what it does.

    Args:
        session: the transaction.
        worker_id: the worker.
        activity: what it does; empty when it is idle.
        counts: all that it has counted since it started.
        trouble: why it claims nothing, a sentence; None for a sound worker.

    Returns:
        Whether the worker may continue. Otherwise it ends after its bundle, and its supervisor starts another.
    """
    beat = (
        update(Worker)
        .where(Worker.id == worker_id, Worker.ended_at.is_(None))
        .values(
            heartbeat_at=now(),
            activity=activity,
            idle_since=None if activity else case((Worker.idle_since.is_(None), now()), else_=Worker.idle_since),
            counters=counts,
            trouble=trouble,
            trouble_since=func.coalesce(Worker.trouble_since, now()) if trouble else None,
        )
        .returning(Worker.restart_at)
    )
    row = session.execute(beat, execution_options=NO_SYNC).one_or_none()
    if row is None and _revive(session, worker_id):
        row = session.execute(beat, execution_options=NO_SYNC).one_or_none()
    # Without its row the worker looks at another database: it must start again and register.
    return row is not None and row.restart_at is None


def _revive(session: Session, worker_id: uuid.UUID) -> bool:
    """Undo `_end` for a worker that was only silent for a while; return whether there was one."""
    revived = session.execute(
        update(Worker)
        .where(Worker.id == worker_id, Worker.ended_at.is_not(None))
        .values(ended_at=None)
        .returning(Worker.counters),
        execution_options=NO_SYNC,
    ).one_or_none()
    if revived:
        totals.add(session, {name: -n for name, n in (revived.counters or {}).items()})
    return revived is not None


def end_worker(session: Session, worker_id: uuid.UUID) -> None:
    """Record that a worker has ended, and add what it has counted to the totals."""
    _end(session, now(), Worker.id == worker_id)


def _end(session: Session, at: SQLColumnExpression[datetime], *conditions: ColumnElement[bool]) -> int:
    """Mark workers as ended that meet conditions, and add their counts to the totals, once. Returns how many."""
    ended = session.scalars(
        update(Worker)
        .where(Worker.ended_at.is_(None), *conditions)
        .values(ended_at=at, activity="")
        .returning(Worker.counters),
        execution_options=NO_SYNC,
    ).all()
    sums = Counter[str]()
    for counts in ended:
        sums.update(counts or {})
    totals.add(session, sums)
    return len(ended)


def list_live(session: Session) -> list[Worker]:
    """List the workers that have not ended and have a recent heartbeat, the oldest first; those in trouble, too."""
    has_heartbeat = Worker.heartbeat_at > now(-LIVE_S)
    return list(
        session.scalars(select(Worker).where(Worker.ended_at.is_(None), has_heartbeat).order_by(Worker.started_at))
    )


def restart_idle(session: Session, fleet: str, idle_s: float) -> list[uuid.UUID]:
    """Ask the workers of a fleet that have been idle for `idle_s` seconds to restart.

    For workers that send heartbeats but receive nothing although messages wait (celery#10302).

    Returns:
        The workers that were asked.
    """
    asked = session.scalars(
        update(Worker)
        .where(
            Worker.fleet == fleet,
            Worker.ended_at.is_(None),
            Worker.restart_at.is_(None),
            Worker.trouble.is_(None),
            Worker.heartbeat_at > now(-LIVE_S),
            Worker.idle_since < now(-idle_s),
        )
        .values(restart_at=now())
        .returning(Worker.id),
        execution_options=NO_SYNC,
    )
    return list(asked)


def end_silent(session: Session) -> int:
    """Mark workers as ended that have had no heartbeat for ten times `LIVE_S`. Returns how many."""
    return _end(session, Worker.heartbeat_at, Worker.heartbeat_at < now(-10 * LIVE_S))


def get_wanted(session: Session) -> dict[str, int]:
    """Return how many workers each fleet should have: the operator's number, or the newest demand; one at first."""
    wanted = dict.fromkeys(FLEETS, 1)
    for fleet in session.scalars(select(Fleet)):
        wanted[fleet.name] = fleet.wanted if fleet.mode is Mode.FIXED or fleet.demand is None else fleet.demand
    return wanted


def set_wanted(session: Session, fleet: str, n: int) -> None:
    """Set how many workers a fleet has, whatever there is to do."""
    before = _describe(session, fleet)
    session.merge(Fleet(name=fleet, mode=Mode.FIXED, wanted=n))
    audit.record(session, "fleet_scaled", fleet, before=before, after={"wanted": n})


def set_limits(session: Session, fleet: str, least: int, most: int, wait_s: float | None = None) -> None:
    """Let a fleet have as many workers as there is demand for, between limits.

    Args:
        session: the transaction.
        fleet: the fleet.
        least: also where there is nothing to do.
        most: however much there is to do.
        wait_s: how long work may wait; None leaves it as it is.

    Raises:
        InvalidRequest: the limits contradict each other.
    """
    if least > most:
        raise InvalidRequest(
            f"The least number of workers, {least}, is larger than the most, {most}. Change one of them."
        )
    before = _describe(session, fleet)
    known = session.get(Fleet, fleet) or Fleet(name=fleet, wanted=1)
    session.add(known)
    known.mode, known.least, known.most = Mode.AUTOMATIC, least, most
    known.wait_s = wait_s if wait_s is not None else known.wait_s or FIRST_WAIT_S
    audit.record(session, "fleet_scaled", fleet, before=before, after=_describe(session, fleet))


def _describe(session: Session, fleet: str) -> dict[str, object]:
    known = session.get(Fleet, fleet)
    if known is None or known.mode is Mode.FIXED:
        return {"wanted": known.wanted if known else 1}
    return {"least": known.least, "most": known.most, "wait_s": known.wait_s}


def acquire_lead(session: Session, role: str, holder: str, lease_s: float) -> bool:
    """Acquire or renew the lease on a role for `lease_s` seconds. Returns whether the holder has it."""
    free = or_(Leader.holder == holder, Leader.until <= now())  # one that was released in this very moment is free
    taken = session.scalar(
        update(Leader)
        .where(Leader.role == role, free)
        .values(holder=holder, until=now(lease_s))
        .returning(Leader.role),
        execution_options=NO_SYNC,
    )
    if taken or session.get(Leader, role):
        return taken is not None
    try:
        with session.begin_nested():
            session.add(Leader(role=role, holder=holder, until=now(lease_s)))
    except IntegrityError:  # another process was faster
        return False
    return True


def release_lead(session: Session, role: str, holder: str) -> None:
    """Release the lease on a role, so that a standby need not wait for its end."""
    session.execute(update(Leader).where(Leader.role == role, Leader.holder == holder).values(until=now()))
