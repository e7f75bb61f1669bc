"""Which photos may be added to those in flight, where a quota limits them.

Under a quota, who adds jobs holds the quota's row, counts by the tallies, and adds what fits: so no two together
exceed it. Workers, which end jobs, wait for nobody.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session

from retint import quotas
from retint.columns import fingerprint
from retint.jobs import tallies
from retint.quotas import Kind, QuotaExceeded, Shortage
from retint.tables import Batch, Job

File = tuple[uuid.UUID, str]
"""A photo and its name in the batch."""


@dataclass(frozen=True)
class Admission:
    """The files that may be added to a batch, in their order, and why the rest is left out."""

    files: Sequence[File]
    shortage: Shortage | None = None

    def require_all(self) -> None:
        """Refuse to add a part of the files.

        Raises:
            QuotaExceeded: some are left out.
        """
        if self.shortage is not None:
            raise QuotaExceeded(self.shortage)


def admit(session: Session, batch: Batch, files: Sequence[File]) -> Admission:
    """Find out which files may be added to a batch now: those that it has, and as many others as the quota allows."""
    room = count_room(session, batch.tenant_id)
    if room is None or not files:
        return Admission(files)
    has = _find_present(session, batch, files)
    new = [file for file in dict.fromkeys(files) if file not in has]
    if len(new) <= room:
        return Admission(files)
    admitted = has | set(new[: max(room, 0)])
    shortage = _measure_shortage(session, batch.tenant_id, len(new), len(new) - max(room, 0))
    return Admission([file for file in files if file in admitted], shortage)


def refuse_full(session: Session, tenant_id: uuid.UUID) -> None:
    """Refuse one more photo where there is no room, before its bytes are sent; `admit` decides.

    Raises:
        QuotaExceeded: as many are in flight as may be.
    """
    limit = quotas.read(session, tenant_id).most_in_flight
    if limit is not None and tallies.count_in_flight(session, tenant_id) >= limit:
        raise QuotaExceeded(_measure_shortage(session, tenant_id, 1, 0))


def refuse_beyond(session: Session, tenant_id: uuid.UUID) -> None:
    """Refuse a photo that this transaction has added, where it is one too many.

    Raises:
        QuotaExceeded: it is.
    """
    room = count_room(session, tenant_id)
    if room is not None and room < 0:
        shortage = _measure_shortage(session, tenant_id, 1, 0)
        raise QuotaExceeded(replace(shortage, used=shortage.used - 1))


def count_room(session: Session, tenant_id: uuid.UUID) -> int | None:
    """Count the photos that may be added now, below zero where the quota was lowered; None where none is set.

    Nobody else adds one before the transaction ends.
    """
    limit = quotas.lock(session, tenant_id)
    return None if limit is None else limit - tallies.count_in_flight(session, tenant_id)


def _find_present(session: Session, batch: Batch, files: Sequence[File]) -> set[File]:
    """Find those of some files that are jobs of the batch already."""
    prints = {(photo_id, fingerprint(name)): (photo_id, name) for photo_id, name in files}
    same = select(Job.photo_id, Job.fingerprint).where(
        Job.batch_id == batch.id, tuple_(Job.photo_id, Job.fingerprint).in_(list(prints))
    )
    return {prints[row.photo_id, row.fingerprint] for row in session.execute(same) if row.fingerprint}


def _measure_shortage(session: Session, tenant_id: uuid.UUID, needs: int, left_out: int) -> Shortage:
    limit = quotas.read(session, tenant_id).most_in_flight or 0
    used = tallies.count_in_flight(session, tenant_id)
    return quotas.name_operators(session, Shortage(Kind.IN_FLIGHT, limit, used, needs, left_out=left_out))
