"""When a batch has ended, and when some of its photos failed: found by counts, so that no move of a job costs more.

A batch whose end was not told yet has no `told_at`. Whatever makes a photo wait again (a deposit, a retry, another
recipe) is seen by the dispatcher, which queues it: it opens the batch again, and its next end is told, too.

Failures are told together: while a batch runs, at most once in `FAILURES_S`; the rest with its end.
"""

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import exists, func, select, text, update
from sqlalchemy.orm import Session

from retint import notifications
from retint.columns import now
from retint.database import NO_SYNC
from retint.jobs import tallies
from retint.jobs.tallies import Counts
from retint.notifications import kinds
from retint.notifications.mails import MOST_REASONS
from retint.settings import Settings
from retint.tables import Batch, Job, Upload

IS_UNTOLD = "told_at IS NULL"
"""Condition of the index that finds the batches whose end was not told."""
QUIET_S = 60.0
"""A batch has ended when nothing waits or runs, and nothing was added for so long."""
UPLOAD_S = 600.0
"""An upload to which bytes were added during the last so many seconds keeps its batch open."""
UPLOAD_KEPT_S = 7 * 86_400.0
"""`uploads.KEPT_S`: every byte that arrives puts off an upload's end to so long from then."""
FAILURES_S = 900.0


@dataclass(frozen=True)
class News:
    """What is to be told of a batch."""

    batch: Batch
    counts: Counts
    has_ended: bool
    is_told: bool = True
    """Whether people are told; tries, proofs and empty batches end in silence."""

    @property
    def failures(self) -> int:
        """Jobs that were refused or are in quarantine."""
        return self.counts.refused + self.counts.quarantined


def reopen(session: Session, batch_ids: Collection[UUID]) -> None:
    """Open batches again in which photos wait or run."""
    told = Batch.id.in_(batch_ids), Batch.told_at.is_not(None)
    if session.scalar(select(Batch.id).where(*told).limit(1)):
        session.execute(update(Batch).where(*told).values(told_at=None), execution_options=NO_SYNC)


def find_news(session: Session, active: Collection[UUID]) -> list[News]:
    """Find what is to be told, at a cost that grows with the batches whose end was not told yet.

    Args:
        session: the transaction; it may be one that only reads.
        active: the batches in which photos wait or run (see `tallies.list_loads`).
    """
    is_old = (Batch.created_at < now(-QUIET_S)).label("is_old")
    failures_due = (func.coalesce(Batch.failures_told_at, Batch.created_at) < now(-FAILURES_S)).label("failures_due")
    rows = session.execute(select(Batch, is_old, failures_due).where(text(IS_UNTOLD))).all()
    counted = tallies.count_jobs(session, [row.Batch.id for row in rows]) if rows else {}
    news = []
    for row in rows:
        batch, counts = row.Batch, counted[row.Batch.id]
        found = News(batch, counts, batch.id not in active, batch.is_deposit and counts.total > 0)
        if found.has_ended:
            is_due = _is_quiet(session, batch.id) if counts.total else row.is_old
        else:
            is_due = found.failures < batch.told_failures or (found.failures > batch.told_failures and row.failures_due)
        if is_due and (found.has_ended or found.is_told):
            news.append(found)
    return news


def _is_quiet(session: Session, batch_id: UUID) -> bool:
    """Whether nothing was added to a batch lately, and nothing is on its way."""
    newest = select(Job.created_at).where(Job.batch_id == batch_id).order_by(Job.id.desc()).limit(1)
    arriving = exists().where(
        Upload.expires_at > now(UPLOAD_KEPT_S - UPLOAD_S), Upload.batch_id == batch_id, Upload.photo_id.is_(None)
    )
    return bool(session.scalar(select((newest.scalar_subquery() < now(-QUIET_S)) & ~arriving)))


def tell(session: Session, settings: Settings, news: News) -> bool:
    """Write what is to be told of a batch into the outbox; return whether nobody else was faster."""
    batch = news.batch
    new = news.failures - batch.told_failures
    values: dict[str, object] = {"told_failures": news.failures}
    values |= {"told_at": now()} if news.has_ended else {}
    values |= {"failures_told_at": now()} if new > 0 else {}
    untold = text(IS_UNTOLD), Batch.id == batch.id, Batch.told_failures == batch.told_failures
    told = session.scalar(update(Batch).where(*untold).values(values).returning(Batch.id), execution_options=NO_SYNC)
    if told is None or not news.is_told:
        return told is not None
    fields = _describe(session, settings, news)
    if new > 0:
        refused = {"batch", "refused", "quarantined", "reasons"}
        some = {"new": new} | {name: value for name, value in fields.items() if name in refused}
        unless = kinds.BATCH_ENDED if news.has_ended else None
        notifications.tell(
            session, settings, kinds.PHOTO_REFUSED, batch.tenant_id, some, depositor=batch.created_by, unless=unless
        )
    if news.has_ended:
        notifications.tell(session, settings, kinds.BATCH_ENDED, batch.tenant_id, fields, depositor=batch.created_by)
    return True


def _describe(session: Session, settings: Settings, news: News) -> dict[str, object]:
    batch, counts = news.batch, news.counts
    groups = tallies.group_failures(session, batch.tenant_id, batch_id=batch.id)[:MOST_REASONS]
    return {
        "batch": {"id": str(batch.id), "name": batch.name, "url": f"{settings.portal_url}/batches/{batch.id}"},
        "restored": counts.restored,
        "refused": counts.refused,
        "quarantined": counts.quarantined,
        "cancelled": counts.cancelled,
        "reasons": [
            {"code": group.reason_code, "state": group.state, "count": group.count, "sentence": group.reason[:300]}
            for group in groups
        ],
    }
