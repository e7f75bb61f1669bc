"""Steps that work on tens of millions of rows while Retint runs. On SQLite, which nobody else uses meanwhile, plainly.

Each step may be interrupted and repeated. Times are limited step by step: a lock that is not to be had at once is given
up, instead of making everybody wait behind it; only work that holds nobody up has no limit.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from uuid import UUID

import sqlalchemy as sa
import structlog
from alembic import op

ROWS = 5000
"""Rows that one transaction of a backfill changes."""

log = structlog.get_logger()


def is_postgresql() -> bool:
    """Whether the database is PostgreSQL; else it is SQLite."""
    return op.get_bind().dialect.name == "postgresql"


def create_index(
    name: str, table: str, columns: Sequence[str], *, where: str | None = None, unique: bool = False
) -> None:
    """Create an index without blocking writers. What an interrupted run left of it is removed first."""
    condition = None if where is None else sa.text(where)
    if not is_postgresql():
        op.create_index(name, table, columns, unique=unique, sqlite_where=condition)
        return
    with _without_transaction():
        found = op.get_bind().scalar(
            sa.text("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:name)"), {"name": name}
        )
        if found:
            return
        if found is False:
            op.drop_index(name, table_name=table, postgresql_concurrently=True)
        log.info("index_is_built", index=name)
        op.create_index(name, table, columns, unique=unique, postgresql_where=condition, postgresql_concurrently=True)


def drop_index(name: str, table: str) -> None:
    """Drop an index, if it is there, without blocking writers."""
    if not is_postgresql():
        op.drop_index(name, table_name=table, if_exists=True)
        return
    with _without_transaction():
        op.drop_index(name, table_name=table, if_exists=True, postgresql_concurrently=True)


def backfill(table: str, assignments: str, missing: str) -> None:
    """Fill columns of the rows that lack them, in the order of their ids, a short transaction for each `ROWS` rows.

    Args:
        table: it has a UUID `id`.
        assignments: SQL after `SET`.
        missing: SQL that tells the rows which still lack them.
    """
    if not is_postgresql():
        op.execute(f"UPDATE {table} SET {assignments} WHERE {missing}")
        return
    following = f"SELECT id FROM {table} WHERE id > :after ORDER BY id LIMIT {ROWS}"
    upper = sa.text(f"SELECT id FROM ({following}) AS following ORDER BY id DESC LIMIT 1")
    change = sa.text(f"UPDATE {table} SET {assignments} WHERE id > :after AND id <= :upto AND {missing}")
    with _without_transaction():
        connection, after, done = op.get_bind(), UUID(int=0), 0
        while upto := connection.scalar(upper, {"after": after}):
            done += connection.execute(change, {"after": after, "upto": upto}).rowcount
            after = upto
            if done and done % (20 * ROWS) < ROWS:
                log.info("rows_filled_in", table=table, rows=done)


@contextmanager
def _without_transaction() -> Iterator[None]:
    """Run statements that commit by themselves and may take their time."""
    with op.get_context().autocommit_block():
        connection = op.get_bind()
        connection.exec_driver_sql("SET statement_timeout = 0")
        connection.exec_driver_sql("SET lock_timeout = 0")
        try:
            yield
        finally:
            connection.exec_driver_sql("RESET statement_timeout")
            connection.exec_driver_sql("RESET lock_timeout")
