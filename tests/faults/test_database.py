"""The database"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

import psycopg
from sqlalchemy.engine import make_url
from tests.conftest import Backends
from tests.faults.installation import Installation
from tests.faults.report import fault
from tests.servers import Server

from retint import database

PHOTOS = 24
MANY = 48


@fault(
    "database restarted",
    made={
        "service": "SIGKILL; started again after 3 s",
        "embedded": "another program locks the file for longer than anybody waits for it",
    },
    promise="outcomes wait for the database as long as their leases last; nothing is counted as a photo's fault",
)
def test_a_restarted_database_costs_a_pause(installation: Installation, backends: Backends) -> None:
    installation.start_all()
    installation.deposit(MANY)
    installation.wait_for_done(MANY // 2)
    if backends.database:
        backends.database.kill()
        installation.hold(3)
        backends.database.start()
    else:
        with lock(installation.settings.database):
            installation.hold(database.BUSY_TIMEOUT_S + 5)
    installation.over()
    installation.recover()


@contextmanager
def lock(url: str) -> Iterator[None]:
    """Lock an SQLite database: nobody else can write."""
    with closing(sqlite3.connect(make_url(url).database or "", timeout=60)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield
        connection.rollback()


@fault(
    "database failed over",
    made="every connection is cut and leads to a standby, which can only be read, for 5 s; then back",
    promise="the standby takes no write: everybody waits for one that does",
    missing={"embedded": "SQLite has no standby"},
)
def test_a_read_only_standby_costs_a_pause(installation: Installation, standby: Server, backends: Backends) -> None:
    assert backends.database
    proxy = installation.put_proxy_before("database")
    installation.start_all()
    installation.deposit(MANY)
    installation.wait_for_done(MANY // 2)
    proxy.switch_to(standby.port)
    installation.hold(5)
    proxy.switch_to(backends.database.port)
    installation.over()
    installation.recover()


@fault(
    "database out of connections",
    made="other programs take every connection there is, those of Retint are ended, for 5 s",
    promise="who gets no connection waits",
    missing={"embedded": "SQLite is a file, which any number of processes open"},
)
def test_a_database_without_connections_costs_a_pause(installation: Installation, backends: Backends) -> None:
    assert backends.database
    installation.start_all()
    installation.deposit(MANY)
    installation.wait_for_done(MANY // 2)
    held = take_all_connections(backends.database, make_url(installation.settings.database).database or "")
    installation.hold(5)
    for connection in held:
        connection.close()
    installation.over()
    installation.recover(remark=f"others held {len(held)} connections")


def take_all_connections(server: Server, name: str) -> list["psycopg.Connection[tuple[object, ...]]"]:
    """End the connections to a database, and open others until the server has no more to give."""
    address = f"postgresql://retint@127.0.0.1:{server.port}/postgres"
    first = psycopg.connect(address, autocommit=True)
    held = [first]
    refused = 0
    while refused < 20:
        first.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
        with suppress(psycopg.OperationalError):
            while True:
                held.append(psycopg.connect(address))
        refused += 1
    return held


@fault(
    "database stands still",
    made="every connection stays open and nothing comes through, for 12 s",
    promise="everybody waits, and goes on",
    missing={"embedded": "SQLite is a file: locked, as above, is what comes nearest"},
)
def test_a_database_that_stands_still_costs_a_pause(installation: Installation) -> None:
    proxy = installation.put_proxy_before("database")
    installation.start_all()
    installation.deposit(MANY)
    installation.wait_for_done(MANY // 2)
    with proxy.silent():
        installation.hold(12)
    installation.over()
    installation.recover()
