"""Deletes orphans: files in the store that no row names, left behind by those who died between file and row."""

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

AGE = timedelta(days=1)
"""What is younger may still get its row."""
CHUNK = 500

log = structlog.get_logger()


def sweep(services: Services, age: timedelta = AGE, *, dry_run: bool = False) -> Iterator[list[str]]:
    """Look through the whole store, a chunk a step; yields the orphans of each chunk, deleted unless it is a dry run.

    A key of another form is nobody's orphan and stays.

    Raises:
        Transient: the store or the database did not answer.
    """
    blobs = iter(services.store.list(keys.ROOT))
    while chunk := list(islice(blobs, CHUNK)):
        until = datetime.now(UTC) - age
        old = [blob for blob in chunk if blob.modified_at < until]
        with services.begin() as session:
            orphans = _orphans(session, old)
        if orphans and not dry_run:
            services.store.delete(orphans)
            log.info("orphans_deleted", files=len(orphans))
        yield orphans


def _orphans(session: Session, blobs: Sequence[Blob]) -> list[str]:
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
