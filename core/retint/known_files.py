"""Files that are deposited by their hashes: the server has their bytes already."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.orm import Session

from retint.jobs import changes, in_flight
from retint.names import clean_name
from retint.photos import find_by_sha256, get_open_batch
from retint.quotas import QuotaExceeded
from retint.tables import Job


@dataclass(frozen=True)
class Added:
    """What became of files that were named by their hashes."""

    jobs: list[Job | None]
    """The job of each, in their order; None for a file whose bytes are not known, or that is left out."""
    left_out: QuotaExceeded | None = None
    """Why some are left out."""


def add(session: Session, tenant_id: UUID, batch_id: UUID, files: Sequence[tuple[str, str]]) -> Added:
    """Add files to a batch, each a name and the SHA-256 of its bytes, whose bytes the tenant has deposited before.

    Where a quota allows only some of them, the first are added.

    Raises:
        NotFound: no such batch.
        IllegalMove: the batch was cancelled.
        InvalidRequest: no name, or a name that is too long.
    """
    batch = get_open_batch(session, tenant_id, batch_id)
    known = find_by_sha256(session, tenant_id, {sha256 for _, sha256 in files})
    cleaned = [(known.get(sha256), clean_name(name)) for name, sha256 in files]
    admitted = in_flight.admit(session, batch, [(photo_id, name) for photo_id, name in cleaned if photo_id])
    jobs = dict(zip(admitted.files, changes.add_jobs(session, batch, admitted.files), strict=True))
    by_file = [jobs.get((photo_id, name)) if photo_id else None for photo_id, name in cleaned]
    return Added(by_file, QuotaExceeded(admitted.shortage) if admitted.shortage else None)
