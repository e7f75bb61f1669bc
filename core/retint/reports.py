"""A batch's report: every deposited file exactly once, and what became of it in its newest job."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from sqlalchemy import Row as SqlRow
from sqlalchemy import Select, and_, select

from retint import chains, verdicts
from retint.catalogue_tables import CatalogueRecord
from retint.chains import Link
from retint.lifecycle import Outcome, Stage, State, Verdict
from retint.names import unique_path
from retint.tables import Attempt, Batch, Job, Photo
from retint.tenancy import get_owned
from retint.verdicts import Said

if TYPE_CHECKING:
    from retint.services import Services

CHUNK: Final = 500
"""Rows that are read in one transaction."""


@dataclass(frozen=True)
class ReportRow:
    """One deposited file in a batch's report."""

    job_id: UUID
    photo_id: UUID
    name: str
    size: int
    sha256: str
    state: State
    stage: Stage
    reason_code: str | None
    reason: str | None
    received_at: datetime
    ended_at: datetime | None
    result_name: str | None
    """Path of the result in the batch's zip, safe and unique; None without a result."""
    result_sha256: str | None
    remark: str | None
    """A sentence about the result that people must read, such as that it has no color."""
    notes: list[str]
    """A sentence for each thing that is not as in the original."""
    files: dict[str, str]
    """The result's files: name to key in the store; empty without a result."""
    taken_over_from: UUID | None
    """The job that made the result; None where this one made it."""
    earlier: list[Link]
    """What this job replaces, the oldest first; their results stay."""
    said: Said | None
    """What was said last of the result."""
    title: str | None
    identifier: str | None
    rights: str | None
    catalogued: list[list[str]]
    """The catalogue's columns and what they say of this file, word for word; empty where they say nothing."""


def read(services: "Services", tenant_id: UUID, batch_id: UUID) -> Iterator[ReportRow]:
    """Read a batch's report: every file exactly once, in the order of deposit.

    Reads in short transactions, so that a slow reader of a long report blocks nobody.

    Raises:
        NotFound: no such batch; raised by the call, before the first row is read.
    """
    with services.read() as session:
        get_owned(session, Batch, tenant_id, batch_id)
    return _read_rows(services, tenant_id, batch_id)


def _read_rows(services: "Services", tenant_id: UUID, batch_id: UUID) -> Iterator[ReportRow]:
    taken: set[int] = set()
    after: UUID | None = None
    while True:
        with services.read() as session:
            found = session.execute(_chunk_query(tenant_id, batch_id, after)).all()
            earlier = chains.load_earlier(session, [row.id for row in found if row.replaces])
            said = verdicts.load_said(session, [row.id for row in found if row.verdict is not Verdict.UNJUDGED])
        if not found:
            return
        for row in found:
            yield _make_row(row, earlier.get(row.id, []), said.get(row.id), taken)
        after = found[-1].id


def _chunk_query(tenant_id: UUID, batch_id: UUID, after: UUID | None) -> Select[*tuple[Any, ...]]:
    query = (
        select(
            Job.id,
            Job.photo_id,
            Job.name,
            Job.state,
            Job.stage,
            Job.reason_code,
            Job.reason,
            Job.created_at,
            Job.ended_at,
            Job.replaces,
            Job.verdict,
            Photo.sha256,
            Photo.size,
            Attempt.files,
            Attempt.facts,
            Attempt.source,
            CatalogueRecord.title,
            CatalogueRecord.identifier,
            CatalogueRecord.rights,
            CatalogueRecord.columns.label("catalogued"),
        )
        .outerjoin(CatalogueRecord, CatalogueRecord.id == Job.record_id)
        .join(Photo, Photo.id == Job.photo_id)
        .outerjoin(
            Attempt,
            and_(Attempt.job_id == Job.id, Attempt.stage == Stage.RENDER, Attempt.outcome == Outcome.DONE),
        )
        .where(Job.tenant_id == tenant_id, Job.batch_id == batch_id, Job.replaced_by.is_(None))
        .order_by(Job.id)
        .limit(CHUNK)
    )
    return query if after is None else query.where(Job.id > after)


def _make_row(found: SqlRow[Any], earlier: list[Link], said: Said | None, taken: set[int]) -> ReportRow:
    files: dict[str, str] = (found.files or {}) if found.state is State.RESTORED else {}
    result = files.get("result")
    return ReportRow(
        job_id=found.id,
        photo_id=found.photo_id,
        name=found.name,
        size=found.size,
        sha256=found.sha256,
        state=found.state,
        stage=found.stage,
        reason_code=None if found.state is State.RESTORED else found.reason_code,
        reason=None if found.state is State.RESTORED else found.reason,
        received_at=earlier[0].created_at if earlier else found.created_at,
        ended_at=found.ended_at,
        result_name=None if result is None else unique_path(found.name, PurePosixPath(result).suffix, taken),
        result_sha256=None if result is None else (found.facts or {}).get("sha256"),
        remark=None if result is None else (found.facts or {}).get("colorless"),
        notes=[] if result is None else list((found.facts or {}).get("notes", ())),
        files=files,
        taken_over_from=found.source,
        earlier=earlier,
        said=said,
        title=found.title,
        identifier=found.identifier,
        rights=found.rights,
        catalogued=found.catalogued or [],
    )
