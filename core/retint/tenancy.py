"""Access to a tenant's rows: every query that a person can reach goes through these two functions."""

from typing import Final, TypeVar
from uuid import UUID

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from retint.errors import NotFound
from retint.notification_tables import Notification, Webhook
from retint.provider_tables import Provider, ProviderIdentity
from retint.schema import Table
from retint.tables import Attempt, Batch, BrowserSession, Job, Photo, Token, Upload, User

Owned = TypeVar(
    "Owned",
    User,
    BrowserSession,
    Token,
    Batch,
    Upload,
    Photo,
    Job,
    Attempt,
    Webhook,
    Notification,
    Provider,
    ProviderIdentity,
)
Named = TypeVar(
    "Named", User, BrowserSession, Token, Batch, Upload, Photo, Job, Webhook, Notification, Provider, ProviderIdentity
)
NAMES: Final[dict[type[Table], str]] = {User: "person", BrowserSession: "session", ProviderIdentity: "connection"}
"""What people call a row, where it is not the table's name."""


def select_owned(table: type[Owned], tenant_id: UUID) -> Select[Owned]:
    """Start a query that sees one tenant's rows only."""
    return select(table).where(table.tenant_id == tenant_id)


def get_owned(session: Session, table: type[Named], tenant_id: UUID, row_id: UUID) -> Named:
    """Fetch one row of the tenant.

    Raises:
        NotFound: no such row, or another tenant's: callers cannot tell which.
    """
    row = session.scalar(select_owned(table, tenant_id).where(table.id == row_id))
    if row is None:
        raise NotFound(f"There is no such {NAMES.get(table, table.__name__.lower())}.")
    return row
