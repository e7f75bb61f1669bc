"""The connection to the database, and one transaction."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import ExceptionContext, make_url
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from retint import row_security
from retint.errors import Transient

BUSY_TIMEOUT_S = 20
"""How long SQLite waits for another writer before it gives up."""

READ_ONLY = "postgresql_readonly"
"""Execution option of a read-only connection; PostgreSQL then refuses writes."""

READ_ONLY_STATES = frozenset({"25006", "0A000"})
"""PostgreSQL's codes of a change that a transaction which only reads, or a standby, refuses; the second answers the
`BEGIN READ WRITE` of a connection that has only read before."""

NO_SYNC = {"synchronize_session": False}
"""Execution options of a statement that changes rows which no mapped object in the session shows."""

MIGRATION_LOCK = 0x52455449
"""Key of PostgreSQL's advisory lock that a migration holds."""

MIGRATION_WAIT_S = 0.2
"""Pause before the lock is asked for again."""

LOCK_TIMEOUT_S = 4
"""A migration that cannot have a table at once gives up, instead of making everybody wait behind it."""

STATEMENT_TIMEOUT_S = 5
"""Longest statement of a migration, except for steps that hold nobody up."""

IDLE_TRANSACTION_S = 60
"""PostgreSQL ends a transaction in which nothing happens for so long."""

AT_END = "retint_at_end"
"""Where a session keeps what `run_at_end` was told."""

POOL_TIMEOUT_S = 10
"""How long a thread waits for one of the process's connections."""


class DatabaseUnavailable(Transient):
    """The database did not answer."""

    code = "database_unavailable"


def connect(url: str, connections: int = 4) -> Engine:
    """Make the engine for `postgresql+psycopg://…` or `sqlite:///…`; see `migrate` for the schema.

    Args:
        url: `?pgbouncer=true` at its end avoids what PgBouncer's pools of transactions do not support: startup options
            and prepared statements.
        connections: most connections to PostgreSQL at the same time; a quarter of them stays open.
    """
    address = make_url(url)
    # Parameters are hidden in errors, which are logged: names of files are among them.
    if address.get_backend_name() != "sqlite":
        has_pgbouncer = address.query.get("pgbouncer") == "true"
        direct = {"options": f"-c idle_in_transaction_session_timeout={IDLE_TRANSACTION_S * 1000}"}
        kept = max(1, connections // 4)
        engine = create_engine(
            address.difference_update_query(["pgbouncer"]),
            pool_pre_ping=True,
            hide_parameters=True,
            pool_size=kept,
            max_overflow=connections - kept,
            pool_timeout=POOL_TIMEOUT_S,
            connect_args={"connect_timeout": 5} | ({"prepare_threshold": None} if has_pgbouncer else direct),
        )
        event.listen(engine, "handle_error", _leave_standby)
        event.listen(engine, "begin", row_security.narrow)
        return engine
    if address.database:
        Path(address.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(
        address, hide_parameters=True, connect_args={"timeout": BUSY_TIMEOUT_S, "isolation_level": None}
    )
    event.listen(engine, "connect", _configure_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _leave_standby(context: ExceptionContext) -> None:
    """Close connections to a server that takes no changes: after a fail-over another one does."""
    is_read_only = context.connection is not None and context.connection.get_execution_options().get(READ_ONLY)
    if not is_read_only and getattr(context.original_exception, "sqlstate", None) in READ_ONLY_STATES:
        context.is_disconnect = True


def _begin_sqlite(connection: Connection) -> None:
    # The driver's own BEGIN is DEFERRED: two transactions that read and then write would deadlock.
    is_read_only = connection.get_execution_options().get(READ_ONLY)
    connection.exec_driver_sql(f"PRAGMA query_only={bool(is_read_only)}")
    connection.exec_driver_sql("BEGIN" if is_read_only else "BEGIN IMMEDIATE")


def _configure_sqlite(connection: Any, _: object) -> None:
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def migrate(engine: Engine, revision: str | None = None, *, finish: bool = True) -> bool:
    """Migrate the schema. Processes that do so at the same time wait for each other.

    A migration that is marked with `FINISHES` takes away what the version before needs.

    Args:
        engine: see `connect`.
        revision: `base`, or a revision's id, older or newer than the present; the newest one if None.
        finish: also run the migrations that finish, which an empty database gets in any case.

    Returns:
        Whether the schema is the newest one; False where migrations that finish are left.

    Raises:
        DatabaseUnavailable: the database did not answer, or a table was locked for too long.
    """
    config = Config()
    config.set_main_option("script_location", "retint_migrations:.")
    with _translate_errors(), connect_to_migrate(engine) as connection:
        present = MigrationContext.configure(connection).get_current_revision()
        if engine.dialect.name == "postgresql":
            connection.commit()  # each migration begins a transaction of its own
        script = ScriptDirectory.from_config(config)
        newest = script.get_current_head()
        target = revision or (newest if finish or present is None else _last_before_finish(script, present))
        config.attributes["connection"] = connection
        is_newer = target is not None and target not in {"base", *_list_revisions(script, "base", present)}
        if target == present:
            pass
        elif is_newer:
            with keep_triggers(connection):
                command.upgrade(config, target or "head")
        else:
            if engine.dialect.name == "postgresql":
                row_security.remove(connection)
            command.downgrade(config, target or "base")
        if target != "base" and engine.dialect.name == "postgresql":
            row_security.apply(connection)
        return target == newest


def read_revision(engine: Engine) -> str | None:
    """Return the revision of the schema; None where there is no schema yet.

    Raises:
        DatabaseUnavailable: the database did not answer.
    """
    with _translate_errors(), engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def _list_revisions(script: ScriptDirectory, lower: str, upper: str | None) -> list[str]:
    """List the revisions between two, the newest first; `upper` included."""
    return [found.revision for found in script.iterate_revisions(upper, lower)] if upper else []


def _last_before_finish(script: ScriptDirectory, present: str) -> str:
    """Return the last revision that can be reached without one that finishes."""
    target = present
    for revision in reversed(_list_revisions(script, present, script.get_current_head())):
        if getattr(script.get_revision(revision).module, "FINISHES", False):
            return target
        target = revision
    return target


@contextmanager
def connect_to_migrate(engine: Engine) -> Iterator[Connection]:
    """Open a connection for migrations, one at a time on each database.

    On SQLite it holds one transaction, in which foreign keys are not enforced: a table that is made anew would take
    the rows with it that refer to it. They are checked before the end.
    """
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            _lock_migrations(connection)
            # Of the session, since each migration is a transaction of its own.
            connection.exec_driver_sql(f"SET lock_timeout = '{LOCK_TIMEOUT_S}s'")
            connection.exec_driver_sql(f"SET statement_timeout = '{STATEMENT_TIMEOUT_S}s'")
            connection.commit()
            try:
                yield connection
            finally:
                connection.invalidate()  # closed, with all that is set here
            return
        # A pragma has no effect within a transaction, and SQLAlchemy begins one by itself.
        raw: Any = connection.connection.driver_connection
        raw.execute("PRAGMA foreign_keys=OFF")
        try:
            with connection.begin():
                yield connection
                broken = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
                if broken:
                    raise RuntimeError(f"The migration broke {len(broken)} references between tables.")
        finally:
            connection.invalidate()


@contextmanager
def keep_triggers(connection: Connection) -> Iterator[None]:
    """Let no migration lose triggers: SQLite drops them with a table that is only made anew with other columns.

    Raises:
        RuntimeError: a trigger is missing afterwards.
    """
    before = _list_triggers(connection)
    yield
    if lost := sorted(before - _list_triggers(connection)):
        raise RuntimeError(f"The migration lost the triggers {', '.join(lost)}: it must create them again.")


def _list_triggers(connection: Connection) -> set[str]:
    """List the triggers of an SQLite database; none of another one."""
    if connection.dialect.name != "sqlite":
        return set()
    return set(connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'trigger'").scalars())


def _lock_migrations(connection: Connection) -> None:
    """Take PostgreSQL's lock for migrations; its session keeps it.

    Asks again and again: an index that is built concurrently waits for every statement, also for one that waits for
    this lock.
    """
    while not connection.exec_driver_sql("SELECT pg_try_advisory_lock(%s)", (MIGRATION_LOCK,)).scalar():
        connection.commit()
        time.sleep(MIGRATION_WAIT_S)


@contextmanager
def begin(engine: Engine) -> Iterator[Session]:
    """Open one transaction: committed at the end, rolled back on an exception.

    Raises:
        DatabaseUnavailable: the database did not answer, or was too busy.
    """
    with _translate_errors(), Session(engine, expire_on_commit=False) as session, session.begin():
        yield session
        for act in session.info.pop(AT_END, ()):
            act(session)


def run_at_end(session: Session, act: Callable[[Session], None]) -> None:
    """Run a function as the last thing of a transaction, if it comes to its end."""
    session.info.setdefault(AT_END, []).append(act)


@contextmanager
def read(engine: Engine) -> Iterator[Session]:
    """Open a read-only transaction: on SQLite it waits for no writer, and no writer waits for it.

    Raises:
        DatabaseUnavailable: the database did not answer, or was too busy.
    """
    with begin(engine.execution_options(**{READ_ONLY: True})) as session:
        yield session


def insert(session: Session, table: Any) -> postgresql.Insert:
    """Start an INSERT that may say what happens ON CONFLICT; both databases spell it alike."""
    if session.get_bind().dialect.name == "postgresql":
        return postgresql.insert(table)
    return cast(postgresql.Insert, sqlite.insert(table))


@contextmanager
def _translate_errors() -> Iterator[None]:
    try:
        yield
    except (OperationalError, InterfaceError, PoolTimeout) as error:
        raise DatabaseUnavailable(f"The database did not answer ({_driver_error_name(error)}).") from error
    except DBAPIError as error:
        if not error.connection_invalidated:
            raise
        raise DatabaseUnavailable("The database takes no changes: it is a standby.") from error


def _driver_error_name(error: Exception) -> str:
    return type(getattr(error, "orig", None) or error).__name__
