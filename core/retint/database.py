"""The connection to the database, and one transaction."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from retint.errors import Transient

BUSY_TIMEOUT_S = 20
"""How long SQLite waits for another writer before it gives up."""

READ_ONLY = "postgresql_readonly"
"""Execution option of a read-only connection; PostgreSQL then refuses writes."""

NO_SYNC = {"synchronize_session": False}
"""Execution options of a statement that changes rows which no mapped object in the session shows."""

MIGRATION_LOCK = 0x52455449
"""Key of PostgreSQL's advisory lock that a migration holds."""


class DatabaseUnavailable(Transient):
    """The database did not answer."""

    code = "database_unavailable"


def connect(url: str) -> Engine:
    """Make the engine for `postgresql+psycopg://…` or `sqlite:///…`; see `migrate` for the schema."""
    address = make_url(url)
    if address.get_backend_name() != "sqlite":
        return create_engine(
            address,
            pool_pre_ping=True,
            pool_size=4,
            max_overflow=16,
            connect_args={"connect_timeout": 5, "options": "-c idle_in_transaction_session_timeout=60000"},
        )
    if address.database:
        Path(address.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(address, connect_args={"timeout": BUSY_TIMEOUT_S, "isolation_level": None})
    event.listen(engine, "connect", _configure_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _begin_sqlite(connection: Connection) -> None:
    # The driver's own BEGIN is DEFERRED: two transactions that read and then write would deadlock.
    is_read_only = connection.get_execution_options().get(READ_ONLY)
    connection.exec_driver_sql("BEGIN" if is_read_only else "BEGIN IMMEDIATE")


def _configure_sqlite(connection: Any, _: object) -> None:
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def migrate(engine: Engine, revision: str = "head") -> None:
    """Migrate the schema to a revision. Processes that do so at the same time wait for each other.

    Args:
        engine: see `connect`.
        revision: `head`, `base`, or a revision's id; one that is older than the present means a downgrade.

    Raises:
        DatabaseUnavailable: the database did not answer, or a table was locked for too long.
    """
    config = Config()
    config.set_main_option("script_location", "retint_migrations:.")
    step = command.upgrade if revision == "head" else command.downgrade
    with _translate_errors(), engine.begin() as connection:
        if engine.dialect.name == "postgresql":  # SQLite's BEGIN IMMEDIATE is this lock
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
        config.attributes["connection"] = connection
        step(config, revision)


@contextmanager
def begin(engine: Engine) -> Iterator[Session]:
    """Open one transaction: committed at the end, rolled back on an exception.

    Raises:
        DatabaseUnavailable: the database did not answer, or was too busy.
    """
    with _translate_errors(), Session(engine, expire_on_commit=False) as session, session.begin():
        yield session


@contextmanager
def read(engine: Engine) -> Iterator[Session]:
    """Open a read-only transaction: on SQLite it waits for no writer, and no writer waits for it.

    Raises:
        DatabaseUnavailable: the database did not answer, or was too busy.
    """
    with begin(engine.execution_options(**{READ_ONLY: True})) as session:
        yield session


@contextmanager
def _translate_errors() -> Iterator[None]:
    try:
        yield
    except (OperationalError, InterfaceError, PoolTimeout) as error:
        raise DatabaseUnavailable(f"The database did not answer ({_driver_error_name(error)}).") from error


def _driver_error_name(error: Exception) -> str:
    return type(getattr(error, "orig", None) or error).__name__
