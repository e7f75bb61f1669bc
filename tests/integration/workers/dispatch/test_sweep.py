"""The automatic sweep: a process that the leading dispatcher starts and ends."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from functools import partial

import pytest
from sqlalchemy import select, update
from tests.integration.conftest import Site
from tests.integration.core.test_sweeps import leave_orphans, list_keys

from retint import fleets, store_identity, sweeps
from retint.columns import now
from retint.store_tables import StoreIdentity, Sweep
from retint_workers.dispatch import children, sweep
from retint_workers.dispatch.dispatcher import Dispatcher
from retint_workers.dispatch.sweep import SweepProcess

END_S = 30

MakeProcess = Callable[[Site], SweepProcess]


@pytest.fixture
def make_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeProcess]:
    """Make the process of a site, which starts as soon as it is asked to run."""
    monkeypatch.setattr(sweep, "FIRST_S", 0.0)
    monkeypatch.setattr(sweep, "LOOK_S", 0.0)
    made: list[SweepProcess] = []

    def make(site: Site) -> SweepProcess:
        made.append(SweepProcess(site.services))
        return made[-1]

    yield make
    for process in made:
        process.end()


def read_mark(site: Site) -> int:
    with site.services.read() as session:
        return session.scalars(select(StoreIdentity.mark)).one()


def read_row(site: Site) -> Sweep | None:
    with site.services.read() as session:
        return session.get(Sweep, 1)


def wait_until_ended(process: SweepProcess) -> None:
    assert process._child._process
    assert process._child.wait(END_S) == 0


def test_it_sweeps_once_a_day_and_lets_the_mark_grow_after_deposits(site: Site, make_process: MakeProcess) -> None:
    process = make_process(site)
    process.keep_running()
    wait_until_ended(process)
    row, mark = read_row(site), read_mark(site)
    assert row
    assert (row.cursor, row.stopped, mark) == (None, None, 2)
    process.keep_running()
    assert read_mark(site) == mark, "nothing is due, and nothing was deposited"
    site.add_jobs("a.jpg")
    process.keep_running()
    wait_until_ended(process)
    assert read_mark(site) == mark + 1
    with site.services.begin() as session:
        session.execute(update(Sweep).values(started_at=now(-sweeps.ROUND_S - 1)))
    process.keep_running()
    wait_until_ended(process)
    again = read_row(site)
    assert again
    assert again.started_at != row.started_at


def test_it_ends_with_its_dispatcher_whatever_it_waits_for(sqlite_site: Site, make_process: MakeProcess) -> None:
    process = make_process(sqlite_site)
    busy = sqlite3.connect(str(sqlite_site.services.engine.url.database), isolation_level=None)
    busy.execute("BEGIN IMMEDIATE")
    process.keep_running()
    child = process._child._process
    assert child
    time.sleep(2)
    assert child.poll() is None
    began = time.monotonic()
    process.end()
    assert time.monotonic() - began < children.END_S + 1
    assert child.poll() is not None
    busy.close()


def test_a_dispatcher_that_loses_its_lead_ends_its_sweep(
    sqlite_site: Site, dispatcher: Dispatcher, make_process: MakeProcess
) -> None:
    dispatcher._sweep = process = make_process(sqlite_site)
    with sqlite_site.services.begin() as session:
        assert fleets.acquire_lead(session, "dispatcher", "another", 60)
    process.keep_running()
    child = process._child._process
    assert child
    assert dispatcher.tick() == 0
    assert child.poll() is not None


def test_it_goes_on_where_it_was_when_its_dispatcher_ended(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeps, "WINDOW", 4)
    monkeypatch.setattr(sweeps, "sweep", partial(sweeps.sweep, min_age=-sweeps.MIN_AGE))
    orphans = leave_orphans(site, 6)
    sweep.run(site.services, lambda: False)
    row = read_row(site)
    assert row
    assert (row.looked_at, row.cursor is None) == (4, False)
    sweep.run(site.services, lambda: True)
    row = read_row(site)
    assert row
    assert (row.looked_at, row.deleted, row.cursor) == (12, 6, None)
    assert not list_keys(site) & orphans


def test_with_an_older_database_it_waits_for_an_operator_and_says_so(site: Site) -> None:
    store_identity.grow(site.services)
    with site.services.begin() as session:
        session.execute(update(StoreIdentity).values(mark=1))
    sweep.run(site.services, lambda: True)
    row = read_row(site)
    assert row
    assert (row.started_at, row.stopped_code) == (None, "wrong_store")
    assert "older copy" in str(row.stopped)
    store_identity.adopt(site.services)
    sweep.run(site.services, lambda: True)
    row = read_row(site)
    assert row
    assert (row.started_at is not None, row.stopped) == (True, None)
