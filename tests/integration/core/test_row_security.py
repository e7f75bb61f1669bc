"""The second lock on PostgreSQL: a query that forgets its filter returns nothing of another institution."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
from sqlalchemy import delete, func, insert, select, text, update
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.orm import Session
from tests import servers
from tests.conftest import run_server
from tests.servers import Server

import retint.audit_tables
import retint.catalogue_tables
import retint.store_tables  # noqa: F401  its tables, too
from retint import accounts, audit, batches, database, row_security
from retint.catalogue_tables import SearchEntry
from retint.columns import new_id
from retint.jobs import changes, tallies
from retint.recipes import Recipe
from retint.services import Services
from retint.settings import Settings
from retint.tables import Batch, Job, Photo, Table, Tally, Tenant, User

OF_THE_HOUSE = {
    "alembic_version",
    "fleets",
    "leaders",
    "recipes",
    "sign_in_failures",
    "store_identity",
    "sweeps",
    "totals",
    "workers",
}
"""Tables that belong to no institution. A new one must be added here deliberately."""


@dataclass(frozen=True)
class House:
    """Two institutions in one database, each with a person, a batch and a photo."""

    services: Services
    ids: dict[str, UUID]

    def of(self, name: str | None) -> Services:
        return self.services.for_tenant(None if name is None else self.ids[name])


@pytest.fixture
def house(postgresql_url: str, tmp_path: Path) -> Iterator[House]:
    yield from open_house(postgresql_url, tmp_path)


def open_house(url: str, folder: Path) -> Iterator[House]:
    services = Services.connect(Settings(data=folder / "data", database_url=url))
    ids = {}
    with services.begin() as session:
        for name in ("museum", "archive"):
            ids[name] = tenant_id = accounts.get_or_create_tenant(session, name).id
            accounts.create_user(session, tenant_id, f"jo@{name}.example")
    made = House(services, ids)
    for name in ids:
        with made.of(name).begin() as session:
            deposit(session, ids[name], f"{name}.jpg")
    yield made
    services.engine.dispose()


def deposit(session: Session, tenant_id: UUID, name: str) -> Job:
    batch = batches.open(session, tenant_id, name, Recipe.model_validate({}))
    session.add(photo := Photo(tenant_id=tenant_id, sha256=name, size=1))
    session.flush()
    return changes.add_job(session, batch, photo, name)


def test_every_table_is_an_institutions_and_guarded_or_the_houses(house: House) -> None:
    with house.services.read() as session:
        guarded = set(session.scalars(text("SELECT tablename FROM pg_policies WHERE policyname = 'retint_tenant'")))
        enforced = set(session.scalars(text("SELECT relname FROM pg_class WHERE relrowsecurity")))
    assert guarded == enforced
    assert guarded | OF_THE_HOUSE == set(Table.metadata.tables) | {"alembic_version"}
    assert not guarded & OF_THE_HOUSE


def test_a_query_without_its_filter_returns_nothing_of_another_institution(house: House) -> None:
    for name, other in (("museum", "archive"), ("archive", "museum")):
        with house.of(name).read() as session:
            assert session.scalars(select(Batch.name)).all() == [f"{name}.jpg"]
            assert session.scalars(select(Job.name)).all() == [f"{name}.jpg"]
            assert session.scalars(select(User.email)).all() == [f"jo@{name}.example"]
            assert session.scalars(select(Tenant.name)).all() == [name]
            assert session.get(Tenant, house.ids[other]) is None
            assert session.scalar(select(func.sum(Tally.n))) == 1
            for table in Table.metadata.tables.values():
                if "tenant_id" in table.columns and table.name != "search_entries":
                    assert set(session.scalars(select(table.c.tenant_id))) <= {house.ids[name]}, table.name


def test_nobody_and_the_house_see_nothing_and_everything(house: House) -> None:
    with house.of(None).read() as session:
        assert not session.scalars(select(Batch)).all()
        assert not session.scalars(select(User)).all()
        with pytest.raises(ProgrammingError, match="permission denied"):
            session.scalars(text("SELECT address FROM sign_in_failures"))
    with house.of("museum").for_house().read() as session:
        assert len(session.scalars(select(Batch)).all()) == 2


def test_what_is_written_for_another_institution_is_refused(house: House) -> None:
    theirs = house.ids["archive"]
    with pytest.raises(ProgrammingError, match="row-level security"), house.of("museum").begin() as session:
        session.execute(insert(Photo).values(tenant_id=theirs, sha256="x", size=1))
    with pytest.raises(ProgrammingError, match="row-level security"), house.of("museum").begin() as session:
        session.execute(update(Batch).values(tenant_id=theirs))
    with pytest.raises(ProgrammingError, match="row-level security"), house.of("museum").begin() as session:
        audit.record(session, "batch_paused", "x", tenant_id=theirs)
    with house.of("museum").begin() as session:
        assert session.execute(update(Batch).values(priority=9)).rowcount == 1  # type: ignore[attr-defined]
        assert session.execute(delete(SearchEntry)).rowcount == 1  # type: ignore[attr-defined]
    with house.services.read() as session:
        assert session.scalars(select(Batch.priority).order_by(Batch.name)).all() == [0, 9]


def test_the_role_changes_neither_the_record_nor_the_house(house: House) -> None:
    forbidden = (
        "UPDATE audit_entries SET actor = 'x'",
        "DELETE FROM audit_entries",
        "DELETE FROM audit_addresses",
        "UPDATE fleets SET wanted = 0",
        "INSERT INTO tallies (batch_id, stage, state, n) SELECT id, 'ingest', 'ready', 1 FROM batches",
        "ALTER TABLE jobs DISABLE ROW LEVEL SECURITY",
        "DROP TABLE tokens",
    )
    for statement in forbidden:
        with pytest.raises(ProgrammingError, match=r"denied|must be owner"), house.of("museum").begin() as session:
            session.execute(text(statement))


def test_triggers_count_what_the_role_deposits(house: House) -> None:
    with house.of("museum").begin() as session:
        batch_id = deposit(session, house.ids["museum"], "b.jpg").batch_id
    with house.of("museum").read() as session:
        assert tallies.count_jobs(session, [batch_id])[batch_id].total == 1
    with house.of("archive").read() as session:
        assert tallies.count_jobs(session, [batch_id])[batch_id].total == 0


def check_that_nothing_leaks(house: House) -> None:
    """Let many threads share few connections, each for one institution or for nobody."""

    def ask(number: int) -> bool:
        name = ("museum", "archive", None)[number % 3]
        asking = house.services if number % 5 == 0 else house.of(name)
        expected = 2 if number % 5 == 0 else int(name is not None)
        if number % 7 == 0:  # a request that fails
            with suppress(ZeroDivisionError), asking.begin() as session:
                session.execute(text("SELECT 1"))
                raise ZeroDivisionError
        with asking.read() as session:
            names = session.scalars(select(Batch.name)).all()
        return len(names) == expected and (number % 5 == 0 or name is None or names == [f"{name}.jpg"])

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(ask, range(300)))


def test_the_pool_hands_no_institution_on(house: House) -> None:
    check_that_nothing_leaks(house)


def test_pgbouncer_hands_no_institution_on(
    request: pytest.FixtureRequest, postgresql_server: Server, postgresql_url: str, tmp_path: Path
) -> None:
    def start(folder: Path) -> Server:
        return servers.start_pgbouncer(folder, postgresql_server, 2)

    for pgbouncer in run_server(start, request):
        url = postgresql_url.replace(f":{postgresql_server.port}/", f":{pgbouncer.port}/")
        for house in open_house(f"{url}?pgbouncer=true", tmp_path):
            check_that_nothing_leaks(house)


def test_an_owner_who_may_not_make_roles_is_told_what_to_do(postgresql_server: Server, postgresql_url: str) -> None:
    """As on a PostgreSQL that somebody else runs: the owner of the tables is no superuser."""
    name = postgresql_url.rpartition("/")[2]
    address = f"postgresql://retint@127.0.0.1:{postgresql_server.port}/{name}"
    with psycopg.connect(address, autocommit=True) as admin:
        admin.execute("DROP SCHEMA public CASCADE")
        admin.execute("CREATE ROLE plain LOGIN")
        admin.execute("CREATE SCHEMA public AUTHORIZATION plain")
        engine = database.connect(postgresql_url.replace("retint@", "plain@"))
        database.migrate(engine)
        with engine.connect() as connection:
            assert not row_security.is_ready(connection)
        # What `row_security.HOW` says.
        admin.execute("GRANT retint_portal TO plain")
        database.migrate(engine)
        with engine.connect() as connection:
            assert row_security.is_ready(connection)
        engine.dispose()
        admin.execute("DROP OWNED BY plain")
        admin.execute("DROP ROLE plain")


def test_sqlite_has_no_second_lock(sqlite_url: str, tmp_path: Path) -> None:
    services = Services.connect(Settings(data=tmp_path / "data", database_url=sqlite_url))
    with services.begin() as session:
        tenant_id = accounts.get_or_create_tenant(session, "museum").id
    with services.for_tenant(new_id()).read() as session:
        assert session.get(Tenant, tenant_id) is not None
    services.engine.dispose()
