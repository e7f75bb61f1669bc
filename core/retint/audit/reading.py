"""Searches the audit record, says its entries in words, and exports a chain."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from sqlalchemy import Select, delete, func, or_, select
from sqlalchemy.orm import Session

from retint import audit
from retint.audit import chain
from retint.audit.sentences import Change, describe, list_changes
from retint.audit_tables import AuditAddress, AuditEntry
from retint.columns import now
from retint.database import NO_SYNC
from retint.tables import Batch, Job, Photo, Tenant, User

if TYPE_CHECKING:
    from retint.services import Services

DAY_S: Final = 86_400.0
PAGE: Final = 1000
"""Entries of an export that are read at a time."""
MOST_NAMED: Final = 200
"""Most batches and photos of a name that entries are searched for."""
ID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True)
class Query:
    """Which entries are wanted."""

    person: str = ""
    """Part of an email, or of who ran a command."""
    action: str = ""
    subject: str = ""
    """An id, or part of a name: of a batch, a photo, a user …"""
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True)
class Subject:
    """What an entry is about."""

    words: str
    kind: str | None = None
    """`batch`, `job` or `trial`, where it has a page."""
    id: UUID | None = None


@dataclass(frozen=True)
class Told:
    """An entry in words."""

    entry: AuditEntry
    subject: Subject
    address: str | None
    """None where there is none, or it is too old to be shown."""

    @property
    def sentence(self) -> str:
        """What was done, as it follows the person's name."""
        return describe(self.entry.action, self.subject.words)

    @property
    def changes(self) -> list[Change]:
        """What it changed."""
        return list_changes(self.entry.before, self.entry.after)


def list_page(
    session: Session, tenant_id: UUID, query: Query, *, address_days: int, before: int | None = None, limit: int = 50
) -> list[Told]:
    """List the newest entries of a chain that a query finds, those before the number `before`.

    Args:
        session: the transaction.
        tenant_id: whose chain; `audit.HOUSE` for the house's.
        query: which entries.
        address_days: addresses that are older are left out.
        before: where the page before ended; None for the first page.
        limit: most entries.
    """
    wanted = _select(session, tenant_id, query)
    if before is not None:
        wanted = wanted.where(AuditEntry.number < before)
    rows = session.execute(_with_address(wanted, address_days).order_by(AuditEntry.number.desc()).limit(limit)).all()
    subjects = _find_subjects(session, [row[0].subject for row in rows])
    return [Told(entry, subjects[entry.subject], address) for entry, address, _ in rows]


def list_actions(session: Session, tenant_id: UUID) -> Sequence[str]:
    """List the actions that a chain has entries of."""
    found: list[str] = []
    following = select(func.min(AuditEntry.action)).where(AuditEntry.tenant_id == tenant_id)
    # From one to the next by the index, instead of through all entries.
    while action := session.scalar(following.where(AuditEntry.action > (found[-1] if found else ""))):
        found.append(action)
    return found


def export(services: "Services", tenant_id: UUID) -> Iterator[str]:
    """Yield a chain as JSON lines, the oldest entry first: what its hashes cover, and the hash (see `chain`).

    `address` and `address_salt`, which are there while addresses are shown, are covered by their digest.
    """
    after = 0
    while True:
        with services.read() as session:
            query = select(AuditEntry).where(AuditEntry.tenant_id == tenant_id, AuditEntry.number > after)
            days = services.settings.audit_address_days
            rows = session.execute(_with_address(query, days).order_by(AuditEntry.number).limit(PAGE)).all()
        for entry, address, salt in rows:
            values: dict[str, Any] = chain.canonical_values(entry) | {"hash": entry.hash}
            yield json.dumps(values | ({"address": address, "address_salt": salt} if address else {})) + "\n"
        if len(rows) < PAGE:
            return
        after = rows[-1][0].number


def forget_addresses(session: Session, days: int) -> int:
    """Delete the addresses of entries that are older than some days. Returns how many; the chains stay whole."""
    is_old = AuditAddress.at < now(-days * DAY_S)
    gone = session.scalars(delete(AuditAddress).where(is_old).returning(AuditAddress.number), execution_options=NO_SYNC)
    forgotten = len(gone.all())
    if forgotten:
        audit.record(session, "addresses_forgotten", f"{days} days ago", after={"addresses": forgotten})
    return forgotten


def count_old_addresses(session: Session, days: int) -> int:
    """Count the addresses that `forget_addresses` would delete."""
    return session.scalar(select(func.count()).where(AuditAddress.at < now(-days * DAY_S))) or 0


def _with_address(query: Select[Any], days: int) -> Select[Any]:
    is_its = (AuditAddress.tenant_id == AuditEntry.tenant_id) & (AuditAddress.number == AuditEntry.number)
    is_shown = AuditAddress.at >= now(-days * DAY_S)
    return query.add_columns(AuditAddress.address, AuditAddress.salt).outerjoin(AuditAddress, is_its & is_shown)


def _select(session: Session, tenant_id: UUID, query: Query) -> Select[Any]:
    wanted = select(AuditEntry).where(AuditEntry.tenant_id == tenant_id)
    if query.person:
        wanted = wanted.where(AuditEntry.actor.icontains(query.person, autoescape=True))
    if query.action:
        wanted = wanted.where(AuditEntry.action == query.action)
    if query.since:
        wanted = wanted.where(AuditEntry.at >= query.since)
    if query.until:
        wanted = wanted.where(AuditEntry.at < query.until)
    text = query.subject.strip()
    if ID.fullmatch(text.lower()):
        return wanted.where(AuditEntry.subject == text.lower())
    if text:
        named = [
            str(each)
            for table in (Batch, Job)
            for each in session.scalars(
                select(table.id)
                .where(table.tenant_id == tenant_id, table.name.icontains(text, autoescape=True))
                .order_by(table.id.desc())
                .limit(MOST_NAMED)
            )
        ]
        wanted = wanted.where(or_(AuditEntry.subject.icontains(text, autoescape=True), AuditEntry.subject.in_(named)))
    return wanted


def _find_subjects(session: Session, texts: list[str]) -> dict[str, Subject]:
    """Say what entries are about: the names of what ids stand for, as they are now."""
    ids = {UUID(text): text for text in texts if ID.fullmatch(text)}
    found = {text: Subject(text) for text in texts}
    for batch in session.execute(select(Batch.id, Batch.name).where(Batch.id.in_(ids))):
        found[ids[batch.id]] = Subject(f"the batch “{batch.name}”", "batch", batch.id)
    for job in session.execute(select(Job.id, Job.name).where(Job.id.in_(ids))):
        found[ids[job.id]] = Subject(f"the photo “{job.name}”", "job", job.id)
    for trial in session.scalars(select(Batch.trial).where(Batch.trial.in_(ids)).distinct()):
        if trial:
            found[ids[trial]] = Subject("a trial", "trial", trial)
    for photo_id in session.scalars(select(Photo.id).where(Photo.id.in_(ids))):
        found[ids[photo_id]] = Subject("an original")
    for table in (User, Tenant):
        name = User.email if table is User else Tenant.name
        for row in session.execute(select(table.id, name.label("name")).where(table.id.in_(ids))):
            found[ids[row.id]] = Subject(row.name)
    return found
