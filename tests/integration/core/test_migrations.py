"""The schema changes by migrations alone, on each database."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, inspect, text

from retint import database
from retint.tables import Table


@pytest.fixture
def empty(database_url: str, tmp_path: Path) -> Iterator[Engine]:
    """A database without a schema."""
    engine = database.connect(f"sqlite:///{tmp_path}/empty.db" if "sqlite" in database_url else database_url)
    database.migrate(engine, "base")
    yield engine
    engine.dispose()


def schema_of(engine: Engine) -> set[str]:
    with engine.begin() as connection:
        return set(inspect(connection).get_table_names()) - {"alembic_version"}


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
            else "SELECT count(*) FROM pg_proc WHERE proname LIKE 'jobs_%'"
        )
        assert connection.scalar(text(left)) == 0


def test_what_the_migrations_make_is_what_the_tables_say(empty: Engine) -> None:
    database.migrate(empty)
    with empty.begin() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        assert compare_metadata(context, Table.metadata) == []


def test_processes_that_start_at_once_all_find_the_schema(empty: Engine) -> None:
    def start(_: int) -> None:
        engine = database.connect(empty.url.render_as_string(hide_password=False))
        database.migrate(engine)
        engine.dispose()

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(start, range(3)))
    assert schema_of(empty) == set(Table.metadata.tables)
