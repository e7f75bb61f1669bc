"""The append-only record of attempts, where more than one kind of move reads or writes it."""

import uuid
from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, bindparam, exists, insert, literal, select
from sqlalchemy.orm import Session

from retint.columns import now
from retint.lifecycle import Outcome, Stage
from retint.tables import Attempt, Job, Table

# The Core table instead of the mapped class where speed counts: SQLAlchemy inserts mapped rows one statement a row.
ATTEMPTS = Table.metadata.tables["attempts"]

_DONE = (
    select(*(ATTEMPTS.c[name] for name in ("job_id", "stage", "files", "facts", "ended_at")))
    .where(ATTEMPTS.c.job_id.in_(bindparam("job_ids", expanding=True)), ATTEMPTS.c.outcome == Outcome.DONE)
    .order_by(ATTEMPTS.c.number)
)


def read_done(
    session: Session, job_ids: Collection[uuid.UUID]
) -> tuple[dict[uuid.UUID, dict[str, str]], dict[uuid.UUID, dict[Stage, dict[str, Any]]], dict[uuid.UUID, datetime]]:
    """Read what the done attempts of jobs left behind.

    Returns:
        By job, the files that were written (name to key in the store), the facts that were found, by stage, and when
        the newest one ended.
    """
    files: dict[uuid.UUID, dict[str, str]] = {}
    facts: dict[uuid.UUID, dict[Stage, dict[str, Any]]] = {}
    ended: dict[uuid.UUID, datetime] = {}
    for row in session.execute(_DONE, {"job_ids": list(job_ids)}) if job_ids else ():
        files.setdefault(row.job_id, {}).update(row.files)
        facts.setdefault(row.job_id, {})[row.stage] = row.facts
        ended[row.job_id] = row.ended_at
    return files, facts, ended


def describe(error: str | None, *, in_full: bool) -> str | None:
    """Describe what went wrong in an attempt: in a sentence; in full with the traceback, if there is one."""
    return error if error is None or in_full else error.partition("\n\n")[0]


def close(session: Session, outcome: Outcome, chosen: ColumnElement[bool]) -> None:
    """Write the newest attempts of jobs that were taken from their workers, as far as they are not written yet."""
    unwritten = ~exists().where(Attempt.job_id == Job.id, Attempt.number == Job.attempt)
    columns = {
        "job_id": Job.id,
        "number": Job.attempt,
        "tenant_id": Job.tenant_id,
        "stage": Job.stage,
        "worker_id": Job.worker_id,
        "started_at": Job.started_at,
        "ended_at": now(),
        "outcome": literal(outcome, Attempt.outcome.type),
        "error": Job.reason,
        "files": literal({}, Attempt.files.type),
        "facts": literal({}, Attempt.facts.type),
        "timings": literal({}, Attempt.timings.type),
    }
    ended = select(*columns.values()).where(chosen, Job.attempt > 0, unwritten)
    session.execute(insert(Attempt).from_select(list(columns), ended))
