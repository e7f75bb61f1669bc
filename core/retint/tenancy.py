"""Access to a tenant's rows: every query that a person can reach goes through these two functions."""

from typing import TypeVar
from uuid import UUID

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from retint.errors import NotFound
from retint.tables import Attempt, Batch, Job, Photo, Token, Upload, User

Owned = TypeVar("Owned", User, Token, Batch, Upload, Photo, Job, Attempt)
Named = TypeVar("Named", User, Token, Batch, Upload, Photo, Job)


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
        raise NotFound(f"There is no such {table.__name__.lower()}.")
    return row
