"""Deletes orphans: files in the store that no row names, left behind by those who died between file and row."""

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from uuid import UUID

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from retint.lifecycle import STAGES, Outcome, State
from retint.services import Services
from retint.stores import Blob
from retint.tables import Attempt, Job, Photo

AGE = timedelta(days=1)
"""What is younger may still get its row."""
CHUNK = 500

UUID_PATTERN = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
KEY = re.compile(
    rf"tenants/{UUID_PATTERN}/photos/(?P<photo>{UUID_PATTERN})/"
    rf"(?:original|jobs/(?P<job>{UUID_PATTERN})/(?:{'|'.join(STAGES)})-(?P<attempt>\d+)/.+)"
)

log = structlog.get_logger()


def sweep(services: Services, age: timedelta = AGE, *, dry_run: bool = False) -> Iterator[list[str]]:
    """Look through the whole store, a chunk a step; yields the orphans of each chunk, deleted unless it is a dry run.

    A key of another form is nobody's orphan and stays.

    Raises:
        Transient: the store or the database did not answer.
    """
    blobs = iter(services.store.list("tenants/"))
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
    keys = {blob.key: match for blob in blobs if (match := KEY.fullmatch(blob.key))}
    job_ids = {UUID(match["job"]) for match in keys.values() if match["job"]}
    photo_ids = {UUID(match["photo"]) for match in keys.values() if not match["job"]}
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

    def is_orphan(key: str, match: re.Match[str]) -> bool:
        if not match["job"]:
            return UUID(match["photo"]) not in photos
        return key not in named and (UUID(match["job"]), int(match["attempt"])) not in running

    return [key for key, match in keys.items() if is_orphan(key, match)]
