"""The schema changes by migrations alone, on each database."""

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, inspect, text

import retint.audit_tables
import retint.catalogue_tables
import retint.fleet_tables
import retint.provider_tables
import retint.quota_tables
import retint.store_tables  # noqa: F401  its tables, too
from retint import database
from retint.columns import fingerprint
from retint.tables import Table


@pytest.fixture
def empty(database_url: str, tmp_path: Path) -> Iterator[Engine]:
    """A database without a schema."""
    engine = database.connect(f"sqlite:///{tmp_path}/empty.db" if "sqlite" in database_url else database_url)
    database.migrate(engine, "base")
    yield engine
    engine.dispose()


FIRST_EDITION = "4b0f9ad3c7e8"
"""The schema before phases."""
FINISH = "2b97f3ce5a18"
"""Takes away what only the first edition needs."""
BEFORE_THE_END = "a91c37e5d084"
"""The last schema on which the version before the present one runs."""


def schema_of(engine: Engine) -> set[str]:
    with engine.begin() as connection:
        names = set(inspect(connection).get_table_names()) - {"alembic_version"}
    return {name for name in names if not name.startswith("search_index")}  # SQLite's index of words


def test_up_down_and_up_again(empty: Engine) -> None:
    assert schema_of(empty) == set()
    for _ in range(2):
        database.migrate(empty)
        assert schema_of(empty) == set(Table.metadata.tables)
        database.migrate(empty, "base")
        assert schema_of(empty) == set()
    with empty.begin() as connection:
        left = (
            "SELECT count(*) FROM sqlite_master WHERE type = 'trigger'"
            if empty.dialect.name == "sqlite"
            else "SELECT count(*) FROM pg_proc WHERE proname LIKE 'jobs_%' OR proname LIKE 'quotas_%'"
        )
        assert connection.scalar(text(left)) == 0


# Alembic cannot change an expression of a column, and says so wherever it sees one.
@pytest.mark.filterwarnings("ignore:Computed default on jobs.phase:UserWarning")
def test_what_the_migrations_make_is_what_the_tables_say(empty: Engine) -> None:
    database.migrate(empty)
    with empty.begin() as connection:
        options = {"compare_server_default": True, "include_name": lambda name, *_: "search_index" not in str(name)}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, Table.metadata) == []


def test_processes_that_start_at_once_all_find_the_schema(empty: Engine) -> None:
    def start(_: int) -> None:
        engine = database.connect(empty.url.render_as_string(hide_password=False))
        database.migrate(engine)
        engine.dispose()

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(start, range(3)))
    assert schema_of(empty) == set(Table.metadata.tables)


def add_a_job(engine: Engine, name: str = "a.jpg") -> None:
    """Insert a job and its attempt with the columns that the first edition knows."""
    ids = dict(zip(("tenant", "batch", "photo", "job"), (uuid.uuid4() for _ in range(4)), strict=True))
    values = {key: id_ if engine.dialect.name == "postgresql" else id_.hex for key, id_ in ids.items()}
    values |= {"name": name, "unique": str(ids["tenant"]), "at": "2026-11-01 00:00:00"}
    rows = (
        "tenants (id, name, weight, created_at) VALUES (:tenant, :unique, 1, :at)",
        "batches (id, tenant_id, name, recipe_hash, recipe, priority, created_at)"
        " VALUES (:batch, :tenant, 'batch', 'hash', '{}', 0, :at)",
        "photos (id, tenant_id, sha256, size, created_at) VALUES (:photo, :tenant, 'sha', 1, :at)",
        "jobs (id, tenant_id, batch_id, photo_id, name, stage, state, attempt, tries, not_before, created_at)"
        " VALUES (:job, :tenant, :batch, :photo, :name, 'colorize', 'ready', 1, 0, :at, :at)",
        "attempts (job_id, number, tenant_id, stage, ended_at, outcome, files, facts, timings)"
        " VALUES (:job, 1, :tenant, 'ingest', :at, 'done', '{}', '{}', '{}')",
    )
    with engine.begin() as connection:
        for row in rows:
            connection.execute(text(f"INSERT INTO {row}"), values)


def read_jobs(engine: Engine) -> set[tuple[str, str, bytes]]:
    with engine.begin() as connection:
        return {tuple(row) for row in connection.execute(text("SELECT name, phase, fingerprint FROM jobs"))}


def count_rows(engine: Engine, table: str) -> int:
    with engine.begin() as connection:
        return connection.scalar(text(f"SELECT count(*) FROM {table}")) or 0


def test_jobs_of_the_version_before_get_what_indexes_need(empty: Engine) -> None:
    database.migrate(empty, FIRST_EDITION)
    for name in ("a.jpg", "é.tif"):
        add_a_job(empty, name)
    database.migrate(empty)
    assert read_jobs(empty) == {(name, "ready_colorize", fingerprint(name)) for name in ("a.jpg", "\u00e9.tif")}
    assert count_rows(empty, "attempts") == 2


def test_the_version_before_runs_until_the_migration_is_finished(postgresql_url: str) -> None:
    engine = database.connect(postgresql_url)
    database.migrate(engine, FIRST_EDITION)
    assert database.migrate(engine, finish=False) is False
    add_a_job(engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE jobs SET state = 'running' WHERE state = 'ready'"))
    assert read_jobs(engine) == {("a.jpg", "in_flight", fingerprint("a.jpg"))}
    with engine.begin() as connection:
        indexes = {index["name"] for index in inspect(connection).get_indexes("jobs")}
    assert {"ix_jobs_next", "ix_jobs_due", "ix_jobs_ready", "ix_jobs_in_flight"} <= indexes
    assert database.migrate(engine, finish=True) is True
    engine.dispose()


def test_jobs_that_the_version_before_adds_during_an_upgrade_are_found_in_the_end(empty: Engine) -> None:
    database.migrate(empty, FIRST_EDITION)
    add_a_job(empty, "before.jpg")
    database.migrate(empty, BEFORE_THE_END)
    add_a_job(empty, "during.jpg")
    assert count_rows(empty, "search_entries") == 1
    assert "ix_jobs_phase" in list_indexes(empty)
    database.migrate(empty)
    assert count_rows(empty, "search_entries") == 2
    assert "ix_jobs_phase" not in list_indexes(empty)


def list_indexes(engine: Engine) -> set[str | None]:
    with engine.begin() as connection:
        return {index["name"] for index in inspect(connection).get_indexes("jobs")}


def test_an_index_that_an_interrupted_migration_left_unfinished_is_built_again(postgresql_url: str) -> None:
    engine = database.connect(postgresql_url)
    database.migrate(engine, "5e2c7a9d1f40")
    broken = "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'ix_jobs_phase'::regclass"
    with engine.begin() as connection:
        connection.execute(text("CREATE INDEX ix_jobs_phase ON jobs (name)"))
        connection.execute(text(broken))
    database.migrate(engine, FINISH)
    with engine.begin() as connection:
        found = {index["name"]: index["column_names"] for index in inspect(connection).get_indexes("jobs")}
    assert found["ix_jobs_phase"] == ["batch_id", "phase", "id"]
    engine.dispose()


def test_a_table_that_is_made_anew_takes_nothing_with_it(sqlite_url: str) -> None:
    engine = database.connect(sqlite_url)
    database.migrate(engine, "8c41d6b0e2f7")
    add_a_job(engine)
    triggers = "SELECT name FROM sqlite_master WHERE type = 'trigger'"
    with engine.begin() as connection:
        before = set(connection.scalars(text(triggers)))
    database.migrate(engine, FINISH)
    with engine.begin() as connection:
        assert set(connection.scalars(text(triggers))) == before != set()
    assert count_rows(engine, "attempts") == count_rows(engine, "jobs") == count_rows(engine, "tallies") == 1
    engine.dispose()


def test_a_migration_that_loses_triggers_is_refused(sqlite_url: str) -> None:
    engine = database.connect(sqlite_url)
    database.migrate(engine, FIRST_EDITION)
    add_a_job(engine)
    with pytest.raises(RuntimeError, match="lost the triggers jobs_tally_delete"):
        make_jobs_anew(engine)
    engine.dispose()


def make_jobs_anew(engine: Engine) -> None:
    """Change a column as Alembic does on SQLite: with a new table that takes the old one's place."""
    with (
        database.connect_to_migrate(engine) as connection,
        database.keep_triggers(connection),
        Operations.context(MigrationContext.configure(connection)) as op,
    ):
        with op.batch_alter_table("jobs") as jobs:
            jobs.alter_column("reason", new_column_name="because")
        assert connection.scalar(text("SELECT count(*) FROM attempts")) == 1


BEFORE_PEOPLE = "3e9a7c15d0b8"
"""The schema before roles."""


def add_user(engine: Engine, email: str, *, is_admin: bool) -> uuid.UUID:
    """Insert a user and their token with the columns that the version before knows."""
    user, tenant, token = uuid.uuid4(), uuid.uuid4(), uuid.uuid4()
    shown = str if engine.dialect.name == "postgresql" else lambda id_: id_.hex
    values = {"user": shown(user), "tenant": shown(tenant), "token": shown(token), "email": email, "admin": is_admin}
    rows = (
        "tenants (id, name, weight, created_at) VALUES (:tenant, :email, 1, '2026-11-01 00:00:00')",
        "users (id, tenant_id, email, is_admin, created_at)"
        " VALUES (:user, :tenant, :email, :admin, '2026-11-01 00:00:00')",
        "tokens (id, tenant_id, user_id, name, hash, created_at)"
        " VALUES (:token, :tenant, :user, 'old', :email, '2026-11-01 00:00:00')",
    )
    with engine.begin() as connection:
        for row in rows:
            connection.execute(text(f"INSERT INTO {row}"), values)
    return user


def test_people_get_the_role_that_they_had_and_those_whom_the_version_before_adds_get_it_too(empty: Engine) -> None:
    database.migrate(empty, BEFORE_PEOPLE)
    for name, is_admin in (("admin", True), ("member", False)):
        add_user(empty, name, is_admin=is_admin)
    database.migrate(empty)
    for name, is_admin in (("late admin", True), ("late member", False)):
        add_user(empty, name, is_admin=is_admin)
    with empty.begin() as connection:
        roles = {row.email: row.role for row in connection.execute(text("SELECT email, role FROM users"))}
        tokens = connection.execute(text("SELECT scopes, ends_at FROM tokens")).all()
    assert roles == {"admin": "admin", "member": "member", "late admin": "admin", "late member": "member"}
    assert tokens == [(None, None)] * 4
    with empty.begin() as connection:
        connection.execute(text("UPDATE tokens SET scopes = 'read' WHERE hash = 'member'"))
    database.migrate(empty, BEFORE_PEOPLE)
    assert count_rows(empty, "tokens") == 3, "a token that is not for everything is none in the version before"
