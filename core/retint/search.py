"""Finds photos of a tenant, in one batch or in all: by words, state and kind of failure, in an order for people.

Tries of trials and proofs are not found, and of a file that went through several jobs the newest is.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from uuid import UUID

from sqlalchemy import Select, or_, select, text, tuple_
from sqlalchemy.orm import Session

from retint import words
from retint.batches import JobSummary, select_summaries
from retint.catalogue_tables import CatalogueRecord, SearchEntry
from retint.errors import NotFound
from retint.lifecycle import State, phases_of
from retint.tables import IS_FAILED, Batch, Job
from retint.tenancy import get_owned

UNKNOWN: Final = "unknown"
"""The kind of failures whose reason was not recorded; see `tallies`."""


class Sort(StrEnum):
    """An order of photos."""

    DEPOSITED = "deposited"
    NEWEST = "newest"
    NAME = "name"


@dataclass(frozen=True)
class Query:
    """Which photos are wanted."""

    text: str = ""
    """Beginnings of words in a file's name, or in the title, the identifier or the rights that its record has."""
    batch_id: UUID | None = None
    state: State | None = None
    reason_code: str | None = None
    """Why it was refused or quarantined."""
    sort: Sort = Sort.NEWEST


@dataclass(frozen=True, kw_only=True)
class Found(JobSummary):
    """A photo in a list of what was found."""

    batch_id: UUID
    batch_name: str
    title: str | None
    identifier: str | None
    rights: str | None


def list_page(
    session: Session, tenant_id: UUID, query: Query, *, after: UUID | None = None, limit: int = 60
) -> list[Found]:
    """List the photos that a query finds, those after the job `after`.

    Raises:
        NotFound: no such batch, or no such job `after`.
    """
    if query.batch_id is not None:
        get_owned(session, Batch, tenant_id, query.batch_id)
    job_ids = session.scalars(_select_ids(session, tenant_id, query, after).limit(limit)).all()
    more = (Batch.id, Batch.name, CatalogueRecord.title, CatalogueRecord.identifier, CatalogueRecord.rights)
    rows = session.execute(
        select_summaries(tenant_id)
        .add_columns(*more)
        .join(Batch, Batch.id == Job.batch_id)
        .outerjoin(CatalogueRecord, CatalogueRecord.id == Job.record_id)
        .where(Job.id.in_(job_ids))
    )
    names = ("batch_id", "batch_name", "title", "identifier", "rights")
    found = {row[0]: Found(*row[:-5], **dict(zip(names, row[-5:], strict=True))) for row in rows}
    return [found[job_id] for job_id in job_ids]


def _select_ids(session: Session, tenant_id: UUID, query: Query, after: UUID | None) -> Select[UUID]:
    entry = SearchEntry
    chosen = select(entry.job_id).where(entry.tenant_id == tenant_id)
    if query.batch_id is not None:
        chosen = chosen.where(entry.batch_id == query.batch_id)
    if query.text.strip():
        chosen = chosen.where(entry.id.in_(words.select_matches(session, tenant_id, query.batch_id, query.text)))
    if query.state is not None or query.reason_code is not None:
        chosen = chosen.join(Job, Job.id == entry.job_id).where(Job.tenant_id == tenant_id)
    if query.state is not None:
        chosen = chosen.where(Job.phase.in_(phases_of(query.state)), Job.state == query.state)
    if query.reason_code is not None:
        is_it = Job.reason_code == query.reason_code
        chosen = chosen.where(
            text(IS_FAILED), or_(is_it, Job.reason_code.is_(None)) if query.reason_code == UNKNOWN else is_it
        )
    last = None if after is None else _get_entry(session, tenant_id, after)
    if query.sort is Sort.NAME:
        chosen = chosen.order_by(entry.sort_name, entry.job_id)
        place = tuple_(entry.sort_name, entry.job_id)
        return chosen if last is None else chosen.where(place > tuple_(last.sort_name, last.job_id))
    if query.sort is Sort.NEWEST:
        chosen = chosen.order_by(entry.job_id.desc())
        return chosen if last is None else chosen.where(entry.job_id < last.job_id)
    chosen = chosen.order_by(entry.job_id)
    return chosen if last is None else chosen.where(entry.job_id > last.job_id)


def _get_entry(session: Session, tenant_id: UUID, job_id: UUID) -> SearchEntry:
    mine = (SearchEntry.tenant_id == tenant_id, SearchEntry.job_id == job_id)
    if entry := session.scalar(select(SearchEntry).where(*mine)):
        return entry
    raise NotFound("There is no such photo.")
