"""Transactions: what a read may do, and a database that takes no changes."""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import psycopg
import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError
from tests.integration.conftest import Site
from tests.servers import Server
from tests.timing import AT_ONCE_S

from retint import database
from retint.database import DatabaseUnavailable
from retint.fleet_tables import Fleet


def test_a_read_changes_nothing(site: Site) -> None:
    with pytest.raises((DBAPIError, DatabaseUnavailable)), site.services.read() as session:
        session.execute(text("INSERT INTO fleets (name, wanted) VALUES ('cpu', 9)"))
    with site.services.begin() as session:
        assert session.scalars(select(Fleet)).all() == []
        session.add(Fleet(name="cpu", wanted=2))
    with site.services.read() as session:
        assert session.get_one(Fleet, "cpu").wanted == 2


def test_reads_wait_for_no_writer(site: Site) -> None:
    def count() -> int:
        with site.services.read() as session:
            return len(session.scalars(select(Fleet)).all())

    with site.services.begin() as writing, ThreadPoolExecutor(1) as pool:
        writing.add(Fleet(name="cpu", wanted=2))
        writing.flush()
        started = time.monotonic()
        assert pool.submit(count).result(timeout=10) == 0
        assert time.monotonic() - started < AT_ONCE_S


def test_a_standby_is_a_database_that_does_not_answer_until_there_is_a_primary_again(postgresql_site: Site) -> None:
    site = postgresql_site
    site.add_batch()
    url = site.services.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(url, autocommit=True) as operator:
        name = site.services.engine.url.database
        operator.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on".encode())
        site.services.engine.dispose()
        with pytest.raises(DatabaseUnavailable, match="standby"):
            site.add_batch()
        with site.services.read() as session:
            assert session.scalars(select(Fleet)).all() == []
        operator.execute("SET default_transaction_read_only = off")
        operator.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only".encode())
    with suppress(DatabaseUnavailable):  # a connection that was made to the standby
        site.add_batch()
    site.add_batch()


@pytest.mark.parametrize("has_read", [False, True], ids=["at once", "after a read"])
def test_a_change_to_a_real_standby_can_be_tried_again(standby: Server, has_read: bool) -> None:
    engine = database.connect(f"postgresql+psycopg://retint@127.0.0.1:{standby.port}/migrated", connections=1)
    if has_read:
        with database.read(engine) as session:
            assert session.scalars(select(Fleet)).all() == []
    with pytest.raises(DatabaseUnavailable, match="takes no changes"), database.begin(engine) as session:
        session.execute(text("DELETE FROM fleets"))
    engine.dispose()
