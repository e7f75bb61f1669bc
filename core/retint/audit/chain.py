"""The chain of an institution's entries: each carries the hash of the one before, so that no row changes unseen.

The hash of an entry is the SHA-256 of its canonical form: the JSON object of its values with the names of
`canonical_values`, ASCII only, keys sorted, no spaces. The first entry follows 64 zeros. Whoever has an export can
check it with a few lines of any language, also where addresses are left out: the form has a salted digest of them.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from retint.audit_tables import AuditAddress, AuditChain, AuditEntry

BEGIN: Final = "0" * 64
"""What the first entry of a chain follows."""
PAGE: Final = 2000
"""Entries that are read at a time."""


@dataclass(frozen=True)
class Break:
    """Where a chain is not what was written."""

    tenant_id: UUID
    number: int
    """The first entry that does not fit."""
    reason: str
    """A sentence."""


@dataclass(frozen=True)
class Verified:
    """What a check of a chain found."""

    tenant_id: UUID
    entries: int
    hash: str
    """Of the last entry. Kept elsewhere, it shows later that nobody wrote the whole chain anew."""
    broken: list[Break]


def canonical_values(entry: AuditEntry) -> dict[str, Any]:
    """Return the values of an entry that its hash covers, as JSON has them."""
    return {
        "action": entry.action,
        "actor": entry.actor,
        "address_digest": entry.address_digest,
        "after": entry.after,
        "at": entry.at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "before": entry.before,
        "number": entry.number,
        "previous": entry.previous,
        "subject": entry.subject,
        "tenant_id": str(entry.tenant_id),
        "token": entry.token,
        "user_id": None if entry.user_id is None else str(entry.user_id),
    }


def hash_entry(entry: AuditEntry) -> str:
    """Return the SHA-256 of an entry's canonical form, in hex."""
    form = json.dumps(canonical_values(entry), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(form.encode()).hexdigest()


def digest_address(address: str, salt: str) -> str:
    """Return what the chain knows of an address: the SHA-256 of the salt and it, in hex."""
    return hashlib.sha256(f"{salt}{address}".encode()).hexdigest()


def append(entries: list[AuditEntry], number: int, previous: str, at: datetime | None = None) -> str:
    """Number new entries of one chain, and hash them. Returns the hash of the last one.

    Args:
        entries: the entries, with all values but `number`, `previous` and `hash`.
        number: how many there are in the chain.
        previous: the hash of the last of these.
        at: when they were made; None to keep what each says.
    """
    for count, entry in enumerate(entries, 1):
        entry.at, entry.number, entry.previous = at or entry.at, number + count, previous
        previous = entry.hash = hash_entry(entry)
    return previous


def see_one_moment(session: Session) -> None:
    """Let all that a transaction reads be of one moment, while others write; before it reads anything."""
    if session.get_bind().dialect.name == "postgresql":
        session.connection(execution_options={"isolation_level": "REPEATABLE READ"})


def verify(session: Session, tenant_id: UUID) -> Verified:
    """Check every entry of a chain against its hash, the one before, the chain's end and its address.

    After an entry that does not fit, the check goes on with what the next one says it follows. Where others write
    meanwhile, the transaction must see one moment (see `see_one_moment`).
    """
    broken: list[Break] = []
    number, previous = 0, BEGIN
    end = session.get(AuditChain, tenant_id)
    for entry, address in _read(session, tenant_id):
        if reason := _find_fault(entry, address, number, previous):
            broken.append(Break(tenant_id, entry.number, reason))
        number, previous = entry.number, entry.hash
    told = (end.number, end.hash) if end else (0, BEGIN)
    if told[0] > number:
        missing = _name_range(number + 1, told[0])
        broken.append(Break(tenant_id, number + 1, f"{missing} missing: removed at the end."))
    elif told != (number, previous):
        what = "was inserted at the end" if told[0] < number else "is not the one that was written last"
        broken.append(Break(tenant_id, number, f"Entry {number} {what}."))
    return Verified(tenant_id, number, previous, broken)


def _find_fault(entry: AuditEntry, address: AuditAddress | None, number: int, previous: str) -> str | None:
    """Return what is wrong with an entry, in a sentence; `number` and `previous` are of the one before it."""
    if entry.number > number + 1:
        return f"{_name_range(number + 1, entry.number - 1)} missing: removed before entry {entry.number}."
    if hash_entry(entry) != entry.hash:
        return f"Entry {entry.number} was changed: it does not have the hash that was written with it."
    if entry.previous != previous:
        return f"Entry {entry.number} was inserted, or the one before it replaced: it does not follow it."
    if address and digest_address(address.address, address.salt) != entry.address_digest:
        return f"The address of entry {entry.number} was changed."
    return None


def _name_range(first: int, last: int) -> str:
    return f"Entry {first} is" if first == last else f"Entries {first} to {last} are"


def _read(session: Session, tenant_id: UUID) -> Iterator[tuple[AuditEntry, AuditAddress | None]]:
    """Read a chain in its order, each entry with its address."""
    after = -1
    query = (
        select(AuditEntry, AuditAddress)
        .outerjoin(
            AuditAddress,
            (AuditAddress.tenant_id == AuditEntry.tenant_id) & (AuditAddress.number == AuditEntry.number),
        )
        .where(AuditEntry.tenant_id == tenant_id)
        .order_by(AuditEntry.number)
        .limit(PAGE)
    )
    while rows := session.execute(query.where(AuditEntry.number > after)).all():
        after = rows[-1][0].number
        yield from ((row[0], row[1]) for row in rows)
        session.expunge_all()


def list_chains(session: Session) -> list[UUID]:
    """List whose chains there are, also those whose end somebody removed."""
    known = set(session.scalars(select(AuditChain.tenant_id)))
    return sorted(known | set(session.scalars(select(AuditEntry.tenant_id).distinct())))
