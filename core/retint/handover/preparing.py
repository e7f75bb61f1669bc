"""How a hand-over is prepared: it is settled which files it has, each is read, then what describes them is written.

A worker does it under a lease, and another one goes on where it has ended. Every file is read once, all its digests
are taken, and what the database knows of it is compared: a file that differs or is missing ends the hand-over, which
says which. Nothing incomplete is handed over.
"""

import hashlib
import json
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import groupby, islice
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from sqlalchemy import delete, func, insert, select, text, update
from sqlalchemy.orm import Session

from retint import reports
from retint.columns import new_id, now
from retint.database import NO_SYNC
from retint.errors import LeaseLost, NotFound
from retint.handover.options import Options
from retint.handover.planning import Kind, Plan, Planned, split
from retint.handover_tables import IS_PREPARING, Handover, HandoverFile, HandoverState
from retint.jobs import attempts
from retint.stores import CHUNK, BlobStore
from retint.tables import Job

if TYPE_CHECKING:
    from retint.services import Services

LEASE_S: Final = 60.0
ROWS: Final = 500
"""Rows that one transaction writes."""
MOST_NAMED: Final = 20
"""Most files that are named where some are damaged."""

Beat = Callable[[], object]
"""Called while bytes move; raises what ends the work."""
MakeAccess = Callable[[HandoverFile], None]
"""Makes a copy for looking at, and puts it into the store under the file's key."""


@dataclass(frozen=True)
class Digests:
    """What is known of bytes once they are read."""

    size: int
    sha256: str
    sha512: str
    crc32: int


def read_digests(store: BlobStore, key: str, beat: Beat) -> Digests:
    """Read a blob once, and take all digests.

    Raises:
        NotFound: there is no such blob.
        StoreUnavailable: the store did not answer.
    """
    sha256, sha512, crc32, size = hashlib.sha256(), hashlib.sha512(), 0, 0
    with store.open(key, progress=beat) as blob:
        while data := blob.read(CHUNK):
            sha256.update(data)
            sha512.update(data)
            crc32 = zlib.crc32(data, crc32)
            size += len(data)
    return Digests(size, sha256.hexdigest(), sha512.hexdigest(), crc32)


def read_record(store: BlobStore, key: str) -> dict[str, Any]:
    """Read a provenance record: what PREMIS tells of it."""
    with store.open(key) as blob:
        return {"networks": json.loads(blob.read()).get("networks", {})}


# ── The lease ────────────────────────────────────────────────────────────────────────────────────────────────────────


def list_due(session: Session) -> list[UUID]:
    """List the hand-overs that nobody prepares, the oldest first."""
    is_due = Handover.deadline.is_(None) | (Handover.deadline < now())
    return list(session.scalars(select(Handover.id).where(text(IS_PREPARING), is_due).order_by(Handover.id)))


def claim(session: Session, handover_id: UUID) -> UUID | None:
    """Take the right to prepare a hand-over; None where another worker has it, or it is prepared."""
    writer = new_id()
    is_due = Handover.deadline.is_(None) | (Handover.deadline < now())
    taken = session.scalar(
        update(Handover)
        .where(Handover.id == handover_id, Handover.state == HandoverState.PREPARING, is_due)
        .values(writer=writer, deadline=now(LEASE_S))
        .returning(Handover.id),
        execution_options=NO_SYNC,
    )
    return writer if taken else None


def extend(session: Session, handover_id: UUID, writer: UUID, **changes: Any) -> None:
    """Keep the right for another minute, and write how far it is.

    Raises:
        LeaseLost: another worker has it, or the hand-over was withdrawn.
    """
    held = session.scalar(
        update(Handover)
        .where(Handover.id == handover_id, Handover.writer == writer, Handover.state == HandoverState.PREPARING)
        .values({"deadline": now(LEASE_S), **changes})
        .returning(Handover.id),
        execution_options=NO_SYNC,
    )
    if held is None:
        raise LeaseLost("The hand-over is prepared by another worker, or was withdrawn.")


# ── The plan ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def plan(services: "Services", handover: Handover, writer: UUID, beat: Beat) -> None:
    """Settle which files a hand-over has: what the batch has now. One that was broken off begins anew."""
    with services.begin() as session:
        extend(session, handover.id, writer)
        session.execute(delete(HandoverFile).where(HandoverFile.handover_id == handover.id))
    made = Plan(handover.tenant_id, handover.id, Options.model_validate(handover.options))
    rows = reports.read(services, handover.tenant_id, handover.batch_id)
    files = 0
    while chunk := list(islice(rows, ROWS)):
        beat()
        with services.begin() as session:
            job_ids = [row.job_id for row in chunk]
            written, *_ = attempts.read_done(session, job_ids)
            withheld = set(session.scalars(select(Job.id).where(Job.id.in_(job_ids), Job.withheld)))
            planned = [
                file
                for row in chunk
                for file in made.list_files(row, written.get(row.job_id, {}), is_withheld=row.job_id in withheld)
            ]
            files += len(planned)
            extend(session, handover.id, writer, files=files)
            _insert(session, handover, planned)
    with services.begin() as session:
        extend(session, handover.id, writer, planned_at=now())


def _insert(session: Session, handover: Handover, planned: list[Planned]) -> None:
    rows = [
        {"id": new_id(), "tenant_id": handover.tenant_id, "handover_id": handover.id, **asdict(file)}
        for file in planned
    ]
    if rows:
        session.execute(insert(HandoverFile), rows)


# ── The files ────────────────────────────────────────────────────────────────────────────────────────────────────────


def read_files(services: "Services", handover: Handover, writer: UUID, beat: Beat, make_access: MakeAccess) -> None:
    """Read every file that was not read yet, and write down its digests.

    Raises:
        Damaged: a file is missing, or has other bytes than when it was deposited or made; all that are so, are named.
    """
    damaged: list[str] = []
    while chunk := _list_unread(services, handover.id):
        for file in chunk:
            record = None
            try:
                if file.kind == Kind.ACCESS:
                    make_access(file)
                found = read_digests(services.store, file.key, beat)
                if file.sha256 is not None and file.sha256 != found.sha256:
                    damaged.append(f"{file.path} has other bytes")
                elif file.kind == Kind.PROVENANCE:
                    record = read_record(services.store, file.key)
            except NotFound:
                damaged.append(f"{file.path} is missing")
                found = Digests(0, "", "", 0)
            _note(services, handover.id, writer, file.id, found, record)
    if damaged:
        raise Damaged(damaged)


def _list_unread(services: "Services", handover_id: UUID) -> list[HandoverFile]:
    unread = select(HandoverFile).where(HandoverFile.handover_id == handover_id, HandoverFile.read_at.is_(None))
    with services.read() as session:
        return list(session.scalars(unread.order_by(HandoverFile.id).limit(ROWS)))


def _note(
    services: "Services",
    handover_id: UUID,
    writer: UUID,
    file_id: UUID,
    found: Digests,
    record: dict[str, Any] | None,
) -> None:
    with services.begin() as session:
        extend(session, handover_id, writer, read=Handover.read + 1, size=Handover.size + found.size)
        change = update(HandoverFile).where(HandoverFile.id == file_id)
        session.execute(change.values(**asdict(found), record=record, read_at=now()), execution_options=NO_SYNC)


class Damaged(NotFound):
    """Files of a hand-over are missing, or have other bytes than when they were deposited or made."""

    code = "damaged_files"
    status = 409

    def __init__(self, files: list[str]) -> None:
        self.files = files
        rest = f", and {len(files) - MOST_NAMED} more" if len(files) > MOST_NAMED else ""
        named = ", ".join(files[:MOST_NAMED])
        super().__init__(f"Not handed over, since {len(files)} files are not sound: {named}{rest}.")


# ── The bags ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def fill_bags(services: "Services", handover: Handover, writer: UUID) -> int:
    """Put the files into bags, those of a photo together; return how many bags there are."""
    most = Options.model_validate(handover.options).bag_bytes
    bag = 0
    jobs_in_bags = split(_measure_jobs(services, handover.id), most)
    while chunk := list(islice(jobs_in_bags, ROWS)):
        with services.begin() as session:
            extend(session, handover.id, writer)
            for bag, jobs in groupby(chunk, key=lambda pair: pair[1]):
                ids = [job_id for job_id, _ in jobs]
                mine = (HandoverFile.handover_id == handover.id, HandoverFile.job_id.in_(ids))
                session.execute(update(HandoverFile).where(*mine).values(bag=bag), execution_options=NO_SYNC)
    return max(bag, 1)


def _measure_jobs(services: "Services", handover_id: UUID) -> Iterator[tuple[UUID, int]]:
    after: UUID | None = None
    while True:
        query = select(HandoverFile.job_id, func.sum(HandoverFile.size)).where(HandoverFile.handover_id == handover_id)
        query = query.where(HandoverFile.job_id.is_not(None)).group_by(HandoverFile.job_id)
        query = query.order_by(HandoverFile.job_id).limit(ROWS)
        with services.read() as session:
            found = session.execute(query if after is None else query.where(HandoverFile.job_id > after)).all()
        if not found:
            return
        yield from ((row[0], int(row[1] or 0)) for row in found if row[0])
        after = found[-1][0]
