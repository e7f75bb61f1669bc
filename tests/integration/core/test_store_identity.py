"""Database and store belong together, or nothing is written and nothing is deleted."""

import json
import shutil
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, get_ident
from typing import Any

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session
from tests.conftest import Backends

from retint import store_identity
from retint.errors import Refused, StoreUnavailable
from retint.services import Services
from retint.settings import Settings
from retint.store_identity import WrongStore
from retint.store_tables import StoreIdentity, Sweep
from retint.stores import keys
from retint.tables import Photo, Tenant

Connect = Callable[..., Services]


@pytest.fixture
def values(backends: Backends, tmp_path: Path) -> dict[str, Any]:
    """The settings of a database and a store."""
    return {"data": tmp_path / "data", "store_url": f"file://{tmp_path}/store", **backends.values}


@pytest.fixture
def connect(values: dict[str, Any]) -> Iterator[Connect]:
    """Connect a process to the same database and store as all others of the test, except for what is given."""
    made: list[Services] = []

    def connect(**other: Any) -> Services:
        made.append(Services.connect(Settings(**{**values, **other})))
        made[-1].store.prepare()
        return made[-1]

    yield connect
    for services in made:
        services.engine.dispose()


@pytest.fixture
def other_url(migrated_sqlite: Path, tmp_path: Path) -> str:
    """Another migrated database, which is empty."""
    shutil.copyfile(migrated_sqlite, tmp_path / "other.db")
    return f"sqlite:///{tmp_path}/other.db"


def add_photos(services: Services, count: int, *, with_originals: bool = True) -> list[str]:
    """Add photos; return the keys of their originals."""
    with services.begin() as session:
        session.add(tenant := Tenant(name=uuid.uuid4().hex))
        session.flush()
        photos = [Photo(tenant_id=tenant.id, sha256=uuid.uuid4().hex * 2, size=1) for _ in range(count)]
        session.add_all(photos)
    for photo in photos if with_originals else ():
        services.store.put(photo.original_key, b"original")
    return [photo.original_key for photo in photos]


def read(services: Services) -> tuple[StoreIdentity, dict[str, Any]]:
    """Read the identity from the database and from the store."""
    with services.read() as session:
        row = session.scalars(select(StoreIdentity)).one()
    with services.store.open(keys.IDENTITY) as blob:
        return row, json.loads(blob.read())


def test_an_empty_database_and_an_empty_store_are_joined_once(connect: Connect) -> None:
    first = connect()
    store_identity.verify(first)
    row, blob = read(first)
    assert (str(row.id), row.mark, blob["mark"]) == (blob["id"], 1, 0)
    again = connect()
    store_identity.verify(again)
    assert again.verified.is_set()
    assert (read(again)[0].id, read(again)[1]) == (row.id, blob)


def test_of_processes_that_start_at_once_one_gives_the_id(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    processes = [connect() for _ in range(6)]
    all_have_looked, read_row = Barrier(len(processes), timeout=20), store_identity._read
    looked: set[int] = set()

    def read_at_once(session: Session) -> StoreIdentity | None:
        found = read_row(session)
        if get_ident() not in looked:
            looked.add(get_ident())
            all_have_looked.wait()
        return found

    monkeypatch.setattr(store_identity, "_read", read_at_once)
    with ThreadPoolExecutor(len(processes)) as threads:
        ids = set(threads.map(lambda services: store_identity.identify(services).id, processes))
        list(threads.map(store_identity.verify, processes))
    row, blob = read(processes[0])
    assert ids == {row.id}
    assert str(row.id) == blob["id"]


def test_a_process_that_died_while_it_joined_them_costs_nothing(connect: Connect) -> None:
    services = connect()
    own = store_identity.identify(services)
    store_identity.verify(connect())  # the id was written into the database only
    with services.begin() as session:
        session.execute(update(StoreIdentity).values(mark=0))  # the id was written into both
    store_identity.verify(connect())
    assert (read(services)[0].id, read(services)[0].mark) == (own.id, 1)


def test_after_an_upgrade_a_database_is_joined_with_the_store_that_has_its_originals(connect: Connect) -> None:
    services = connect()
    lost = add_photos(services, 30)[:8]
    services.store.delete(lost)  # some may be lost
    store_identity.verify(services)
    assert read(services)[0].mark == 1


@pytest.mark.parametrize("photos", [1, 30])
def test_after_an_upgrade_a_database_is_not_joined_with_a_store_without_its_originals(
    connect: Connect, photos: int
) -> None:
    services = connect()
    add_photos(services, photos, with_originals=False)
    services.store.put(keys.original(uuid.uuid4(), uuid.uuid4()), b"another's")
    with pytest.raises(WrongStore, match=rf"of only 0 of {min(photos, 20)} photos .* correct RETINT_STORE_URL .*adopt"):
        store_identity.verify(services)
    with pytest.raises(WrongStore):
        store_identity.check(services)


def test_a_new_database_is_not_joined_with_a_full_store(connect: Connect, other_url: str) -> None:
    """`retint.db` was lost before it and the store knew each other."""
    originals = add_photos(connect(), 3)
    new = connect(database_url=other_url)
    with pytest.raises(WrongStore, match=r"knows no photos, but the store has .* restore the dump .*adopt-store"):
        store_identity.verify(new)
    store_identity.adopt(new)
    store_identity.verify(new)
    assert {blob.key for blob in new.store.list(keys.ROOT)} == set(originals)


def test_a_new_database_is_not_joined_with_anothers_store(connect: Connect, other_url: str) -> None:
    """`retint.db` was lost, or two installations have one bucket."""
    first = connect()
    store_identity.verify(first)
    second = connect(database_url=other_url)
    with pytest.raises(WrongStore, match=r"database is new, and the store belongs to another one: restore"):
        store_identity.verify(second)
    assert not second.verified.is_set()
    store_identity.verify(connect())


def test_a_database_is_not_joined_with_anothers_store(connect: Connect, other_url: str, tmp_path: Path) -> None:
    store_identity.verify(connect(database_url=other_url, store_url=f"file://{tmp_path}/other"))
    store_identity.verify(connect())
    for wrong in ({"database_url": other_url}, {"store_url": f"file://{tmp_path}/other"}):
        with pytest.raises(WrongStore, match=r"The store belongs to another database: correct RETINT_STORE_URL or"):
            store_identity.verify(connect(**wrong))


def test_a_database_is_not_joined_with_an_empty_store_after_its_own(connect: Connect, tmp_path: Path) -> None:
    store_identity.verify(connect())
    with pytest.raises(WrongStore, match="not the one of this database, or has lost its identity"):
        store_identity.verify(connect(store_url=f"file://{tmp_path}/empty"))
    assert list((tmp_path / "empty").rglob("*.json")) == []


def test_an_identity_that_cannot_be_read_is_said(connect: Connect) -> None:
    services = connect()
    store_identity.verify(services)
    for damaged in (b"", b"[]", b'{"id": "x", "mark": 1}', b'{"id": 3}', b"\xff"):
        services.store.put(keys.IDENTITY, damaged)
        with pytest.raises(WrongStore, match=r"identity/store.json\) cannot be read"):
            store_identity.verify(services)
    store_identity.adopt(services)
    store_identity.verify(services)


def test_a_store_that_is_away_is_no_mismatch(connect: Connect, tmp_path: Path) -> None:
    services = connect()
    away = Services(services.settings, services.engine, connect(store_url=f"file://{tmp_path}/away").store)
    (tmp_path / "away").rename(tmp_path / "elsewhere")
    with pytest.raises(StoreUnavailable):
        store_identity.verify(away)
    store_identity.verify_at_start(away)
    assert not away.verified.is_set()


def test_a_database_without_a_schema_is_said(connect: Connect, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="retint admin migrate"):
        store_identity.verify(connect(database_url=f"sqlite:///{tmp_path}/empty.db"))


def test_the_mark_grows_in_the_database_first(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    services = connect()
    for _ in range(3):
        store_identity.grow(services)
    row, blob = read(services)
    assert row.mark == blob["mark"] == 4

    def break_off(*_: Any, **__: Any) -> None:
        raise StoreUnavailable("The store did not answer.")

    with monkeypatch.context() as patch:
        patch.setattr(type(services.store), "put", break_off)
        with pytest.raises(StoreUnavailable):
            store_identity.grow(services)
    row, blob = read(services)
    assert (row.mark, blob["mark"]) == (5, 4)
    store_identity.check(services)


def test_an_older_copy_of_the_database_serves_and_does_not_sweep_until_an_operator_says_so(connect: Connect) -> None:
    services = connect()
    store_identity.grow(services)
    dump = read(services)[0].mark
    for _ in range(3):
        store_identity.grow(services)
    with services.begin() as session:
        session.execute(update(StoreIdentity).values(mark=dump))
        session.add(Sweep(id=1, looked_at=0, deleted=0, stopped="…", stopped_code="wrong_store"))
    store_identity.verify(services)
    assert services.verified.is_set()
    with pytest.raises(
        WrongStore, match=rf"older copy \(its mark is {dump}, the store's {dump + 3}\): nothing is swept"
    ):
        store_identity.grow(services)
    before = read(services)
    store_identity.adopt(services)
    row, blob = read(services)
    assert row.id == before[0].id
    assert row.mark == blob["mark"] == dump + 4
    store_identity.grow(services)
    with services.read() as session:
        assert session.get_one(Sweep, 1).stopped is None


def test_what_is_adopted_belongs_to_nobody_else_any_more(connect: Connect, other_url: str) -> None:
    first, second = connect(), connect(database_url=other_url)
    store_identity.verify(first)
    store_identity.adopt(second)
    store_identity.verify(second)
    with pytest.raises(WrongStore, match="belongs to another database"):
        store_identity.verify(first)


def test_processes_of_one_database_share_the_brokers_keys_and_those_of_another_do_not(
    connect: Connect, other_url: str
) -> None:
    first, second = connect(), connect(database_url=other_url)
    assert first.connect_broker().prefix == connect().connect_broker().prefix != second.connect_broker().prefix
