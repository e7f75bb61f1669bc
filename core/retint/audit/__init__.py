"""The audit record: every change by whom, from where, what before and after.

`record` is called in the transaction of the change itself, and what it is told is written at that transaction's end:
the end of the institution's chain is locked for that moment only, so nobody waits for the rest of another's change.
Either both are kept, the change and its entry, or neither.
"""

import getpass
import secrets
import socket
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from sqlalchemy import insert as insert_rows
from sqlalchemy import update
from sqlalchemy.orm import Session

from retint import database
from retint.audit import chain
from retint.audit.sentences import HOUSE_ACTIONS
from retint.audit_tables import AuditAddress, AuditChain, AuditEntry
from retint.columns import now
from retint.names import show_name

if TYPE_CHECKING:
    from retint.accounts import Identity

HOUSE: Final = UUID(int=0)
"""Stands for the house, where an entry is about no institution."""
MOST_CHARACTERS: Final = 200
"""Most characters of a text in `before` and `after`."""
MOST_VALUES: Final = 20
"""Most values of a list there."""
_PENDING: Final = "retint_audit"


@dataclass(frozen=True)
class Origin:
    """Who makes changes, and from where: set once for each request, and at the start of a command."""

    address: str | None = None
    """The client's network address."""
    identity: "Identity | None" = None
    """The person who is signed in."""
    command: str | None = None
    """Who runs a command, and where; None in the portal."""


_origin: ContextVar[Origin] = ContextVar("origin")
"""Of this request or process; without it Retint itself makes the change."""


def set_origin(origin: Origin) -> None:
    """Say where all changes come from that this request, or this process, makes from now on."""
    _origin.set(origin)


def on_terminal() -> Origin:
    """Return the origin of what a person does by a command on this machine."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        user = "somebody"
    return Origin(command=f"{user} on {socket.gethostname()}")


def record(
    session: Session,
    action: str,
    subject: object,
    identity: "Identity | None" = None,
    *,
    tenant_id: UUID | None = None,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> None:
    """Add an entry, in the transaction of the change itself.

    Args:
        session: the transaction; not within a savepoint.
        action: what was done, such as `batch_paused`; `audit.sentences` says it in words.
        subject: what it was done to: its id, or its name.
        identity: who did it; None for whoever the request, or the command, comes from.
        tenant_id: whose change it is; the person's institution if None. Some actions are always the house's.
        before: what changed, as it was: a few small values, no secrets and no content of files.
        after: the same, as it is now.

    Raises:
        RuntimeError: within a savepoint, whose end may take the change back and leave the entry.
    """
    if session.in_nested_transaction():
        raise RuntimeError("Record an action outside of savepoints.")
    if action in HOUSE_ACTIONS:
        tenant_id = HOUSE
    origin = _origin.get(Origin())
    identity = identity or origin.identity
    entry = AuditEntry(
        tenant_id=tenant_id or (identity.tenant_id if identity else HOUSE),
        user_id=identity.user_id if identity else None,
        actor=clean_text(_name(identity) if identity else origin.command or "Retint"),
        token=identity.token_name if identity else None,
        action=action,
        subject=clean_text(str(subject)),
        before=_shorten(before),
        after=_shorten(after),
    )
    if _PENDING not in session.info:
        session.info[_PENDING] = []
        database.run_at_end(session, _write)
    session.info[_PENDING].append((entry, origin.address))


def _name(identity: "Identity") -> str:
    return identity.email or f"service account {identity.token_name}"


def clean_text(text: str, length: int = 254) -> str:
    """Make a text fit into a column: what nobody sees is written out, the rest is cut."""
    return show_name(text)[:length]


def _shorten(values: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Keep values small, and such that JSON has them."""
    return None if values is None else {name: _shorten_value(value) for name, value in values.items()}


def _shorten_value(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return _shorten(value)
    if isinstance(value, list | tuple | set | frozenset):
        ordered = sorted(value, key=str) if isinstance(value, set | frozenset) else list(value)
        rest = [f"and {len(ordered) - MOST_VALUES} more"] if len(ordered) > MOST_VALUES else []
        return [_shorten_value(each) for each in ordered[:MOST_VALUES]] + rest
    return clean_text(str(value), MOST_CHARACTERS)


def _write(session: Session) -> None:
    """Write what was recorded in this transaction, at its very end."""
    chains: dict[UUID, list[tuple[AuditEntry, str | None]]] = {}
    for entry, address in session.info.pop(_PENDING):
        chains.setdefault(entry.tenant_id, []).append((entry, address))
    session.flush()  # so that the lock below is the last that this transaction waits for
    for tenant_id in sorted(chains):  # the same order everywhere, or two would wait for each other
        _extend(session, tenant_id, chains[tenant_id])


def _extend(session: Session, tenant_id: UUID, pending: list[tuple[AuditEntry, str | None]]) -> None:
    """Lock a chain's end, and let entries follow it."""
    new = database.insert(session, AuditChain).values(tenant_id=tenant_id, number=len(pending), hash=chain.BEGIN)
    locked = new.on_conflict_do_update(
        index_elements=["tenant_id"], set_={"number": AuditChain.number + len(pending)}
    ).returning(AuditChain.number, AuditChain.hash, now())
    number, previous, at = session.execute(locked, execution_options=database.NO_SYNC).one()
    addresses = []
    for entry, address in pending:
        if address:
            salt = secrets.token_hex(16)
            entry.address_digest = chain.digest_address(address, salt)
            addresses.append((entry, {"address": address, "salt": salt}))
    entries = [entry for entry, _ in pending]
    last = chain.append(entries, number - len(pending), previous, at)
    session.execute(insert_rows(AuditEntry), [_column_values(entry) for entry in entries])
    if addresses:
        rows = [{"tenant_id": tenant_id, "number": each.number, "at": each.at, **row} for each, row in addresses]
        session.execute(insert_rows(AuditAddress), rows)
    session.execute(
        update(AuditChain).where(AuditChain.tenant_id == tenant_id).values(hash=last),
        execution_options=database.NO_SYNC,
    )


def _column_values(entry: AuditEntry) -> dict[str, Any]:
    return {column.key: getattr(entry, column.key) for column in AuditEntry.__table__.columns}
