"""The sweep: deletes orphans, files in the store that no row names, left by processes that died before the commit."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from retint.lifecycle import Outcome, State
from retint.services import Services
from retint.stores import Blob, keys
from retint.stores.keys import ParsedKey
from retint.tables import Attempt, Job, Photo

MIN_AGE = timedelta(days=1)
"""Younger files are kept: their row may still be committed."""
CHUNK = 500
"""Files that one step looks at."""

log = structlog.get_logger()


def sweep(services: Services, min_age: timedelta = MIN_AGE, *, dry_run: bool = False) -> Iterator[list[str]]:
    """Go through the whole store, one chunk per step; yield the orphans of each chunk, deleted unless it is a dry run.

    Files whose key has another form are never orphans.

    Raises:
        Transient: the store or the database did not answer.
    """
    blobs = iter(services.store.list(keys.ROOT))
    while chunk := list(islice(blobs, CHUNK)):
        until = datetime.now(UTC) - min_age
        old = [blob for blob in chunk if blob.modified_at < until]
        with services.begin() as session:
            orphans = _find_orphans(session, old)
        if orphans and not dry_run:
            services.store.delete(orphans)
            log.info("orphans_deleted", files=len(orphans))
        yield orphans


def _find_orphans(session: Session, blobs: Sequence[Blob]) -> list[str]:
    """Return the keys that belong to no photo, no committed attempt and no running one."""
    parsed = {blob.key: key for blob in blobs if (key := keys.parse(blob.key))}
    job_ids = {key.job_id for key in parsed.values() if key.job_id}
    photo_ids = {key.photo_id for key in parsed.values() if not key.job_id}
    photos = set(session.scalars(select(Photo.id).where(Photo.id.in_(photo_ids))))
    named = {
        key
        for files in session.scalars(
            select(Attempt.files).where(Attempt.job_id.in_(job_ids), Attempt.outcome == Outcome.DONE)
        )
        for key in files.values()
    }
    running = {
        (row.id, row.attempt)
        for row in session.execute(select(Job.id, Job.attempt).where(Job.id.in_(job_ids), Job.state == State.RUNNING))
    }

    def is_orphan(key: str, owner: ParsedKey) -> bool:
        if not owner.job_id:
            return owner.photo_id not in photos
        return key not in named and (owner.job_id, owner.attempt) not in running

    return [key for key, owner in parsed.items() if is_orphan(key, owner)]
