"""Workers and fleets as the database knows them, and which process leads where only one may."""

import uuid

from sqlalchemy import case, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from retint.database import NO_SYNC
from retint.lifecycle import FLEETS
from retint.tables import Fleet, Leader, Worker, now

LIVE_S = 30.0
"""A worker that was silent for longer is taken for dead."""


def register(session: Session, fleet: str, host: str, pid: int, device: str, version: str) -> uuid.UUID:
    """Introduce a worker that has just started."""
    # Whoever had this process number before is gone.
    before = (Worker.host == host, Worker.pid == pid, Worker.ended_at.is_(None))
    session.execute(update(Worker).where(*before).values(ended_at=now(), activity=""))
    worker = Worker(fleet=fleet, host=host, pid=pid, device=device, version=version)
    session.add(worker)
    session.flush()
    return worker.id


def beat(session: Session, worker_id: uuid.UUID, activity: str) -> bool:
    """Say that a worker lives and what it does (nothing: it is idle); tells whether it may go on.

    One that may not ends after its bundle, and whoever started it starts another.
    """
    row = session.execute(
        update(Worker)
        .where(Worker.id == worker_id)
        .values(
            heartbeat_at=now(),
            activity=activity,
            idle_since=None if activity else case((Worker.idle_since.is_(None), now()), else_=Worker.idle_since),
        )
        .returning(Worker.restart_at),
        execution_options=NO_SYNC,
    ).one_or_none()
    # Without a row, the database is another one: start anew under a new name.
    return row is not None and row.restart_at is None


def end(session: Session, worker_id: uuid.UUID) -> None:
    """Say that a worker has ended."""
    session.execute(update(Worker).where(Worker.id == worker_id).values(ended_at=now(), activity=""))


def live(session: Session) -> list[Worker]:
    """List the workers that have not ended and were heard of lately, the longest-serving first."""
    heard = Worker.heartbeat_at > now(-LIVE_S)
    return list(session.scalars(select(Worker).where(Worker.ended_at.is_(None), heard).order_by(Worker.started_at)))


def restart_idle(session: Session, fleet: str, idle_s: float) -> list[uuid.UUID]:
    """Tell the workers of a fleet that have been idle for so long to restart; tells which.

    For workers that beat but take nothing although messages wait (celery#10302).
    """
    told = session.scalars(
        update(Worker)
        .where(
            Worker.fleet == fleet,
            Worker.ended_at.is_(None),
            Worker.restart_at.is_(None),
            Worker.heartbeat_at > now(-LIVE_S),
            Worker.idle_since < now(-idle_s),
        )
        .values(restart_at=now())
        .returning(Worker.id),
        execution_options=NO_SYNC,
    )
    return list(told)


def bury(session: Session) -> int:
    """Mark the workers as ended that were silent for ten times as long as a live one may be; tells how many."""
    buried = session.scalars(
        update(Worker)
        .where(Worker.ended_at.is_(None), Worker.heartbeat_at < now(-10 * LIVE_S))
        .values(ended_at=Worker.heartbeat_at, activity="")
        .returning(Worker.id),
        execution_options=NO_SYNC,
    )
    return len(buried.all())


def hanging(session: Session, host: str, silent_s: float) -> set[int]:
    """Process ids of a host's workers that were silent for so long: their loop stands still, a signal is no use."""
    silent = Worker.heartbeat_at < now(-silent_s)
    return set(session.scalars(select(Worker.pid).where(Worker.host == host, Worker.ended_at.is_(None), silent)))


def wanted(session: Session) -> dict[str, int]:
    """Tell how many workers of each fleet the administrator wants: one, until somebody says otherwise."""
    said = {fleet.name: fleet.wanted for fleet in session.scalars(select(Fleet))}
    return {name: said.get(name, 1) for name in FLEETS}


def set_wanted(session: Session, fleet: str, n: int) -> None:
    """Say how many workers of a fleet are wanted."""
    session.merge(Fleet(name=fleet, wanted=n))


def lead(session: Session, role: str, holder: str, lease_s: float) -> bool:
    """Take or keep the lead in a role for some seconds; tells whether it is the holder's."""
    free = or_(Leader.holder == holder, Leader.until < now())
    took = session.scalar(
        update(Leader)
        .where(Leader.role == role, free)
        .values(holder=holder, until=now(lease_s))
        .returning(Leader.role),
        execution_options=NO_SYNC,
    )
    if took or session.get(Leader, role):
        return took is not None
    try:
        with session.begin_nested():
            session.add(Leader(role=role, holder=holder, until=now(lease_s)))
    except IntegrityError:  # another was quicker
        return False
    return True


def step_down(session: Session, role: str, holder: str) -> None:
    """Give the lead back, so that a standby need not wait."""
    session.execute(update(Leader).where(Leader.role == role, Leader.holder == holder).values(until=now()))
