"""Workers, fleets and the lead, on each database."""

from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

from sqlalchemy import text, update
from tests.integration.conftest import Site

from retint import fleets, totals
from retint.columns import now
from retint.tables import Leader, Total, Worker


def register(site: Site, fleet: str = "cpu", pid: int = 7) -> UUID:
    with site.services.begin() as session:
        return fleets.register_worker(session, fleet, "host", pid, "cpu (2 cores)", "1.0")


def test_a_worker_is_idle_until_it_says_otherwise(site: Site) -> None:
    worker_id = register(site)
    with site.services.begin() as session:
        [worker] = fleets.list_live(session)
        idle_since = worker.idle_since
        assert idle_since
        assert fleets.record_heartbeat(session, worker_id, "")
    with site.services.begin() as session:
        assert session.get_one(Worker, worker_id).idle_since == idle_since
        fleets.record_heartbeat(session, worker_id, "ingest × 16")
    with site.services.begin() as session:
        worker = session.get_one(Worker, worker_id)
        assert (worker.idle_since, worker.activity) == (None, "ingest × 16")
        fleets.record_heartbeat(session, worker_id, "")
    with site.services.begin() as session:
        worker = session.get_one(Worker, worker_id)
        assert worker.idle_since is not None
        assert worker.idle_since > idle_since


def test_a_worker_that_ended_or_fell_silent_is_not_live(site: Site) -> None:
    ended, silent, live = (register(site, pid=pid) for pid in (1, 2, 3))
    with site.services.begin() as session:
        fleets.end_worker(session, ended)
        session.execute(update(Worker).where(Worker.id == silent).values(heartbeat_at=now(-fleets.LIVE_S - 1)))
        assert [worker.id for worker in fleets.list_live(session)] == [live]
        assert fleets.end_silent(session) == 0
        session.execute(update(Worker).where(Worker.id == silent).values(heartbeat_at=now(-11 * fleets.LIVE_S)))
        assert fleets.end_silent(session) == 1


def test_a_worker_that_was_taken_for_dead_and_beats_is_live_again(site: Site) -> None:
    worker_id = register(site, pid=9)
    other = register(site, pid=9)  # on another machine of the same name
    with site.services.begin() as session:
        assert [worker.id for worker in fleets.list_live(session)] == [other]
        assert fleets.record_heartbeat(session, worker_id, "")
    with site.services.begin() as session:
        assert {worker.id for worker in fleets.list_live(session)} == {worker_id, other}


def test_a_worker_tells_its_trouble_and_since_when(site: Site) -> None:
    worker_id = register(site)
    with site.services.begin() as session:
        session.execute(update(Worker).values(idle_since=now(-60.0)))
        assert fleets.record_heartbeat(session, worker_id, "", trouble="The disk is full.")
    with site.services.begin() as session:
        [worker] = fleets.list_live(session)
        since = worker.trouble_since
        assert (worker.trouble, since is not None) == ("The disk is full.", True)
        assert fleets.restart_idle(session, "cpu", 30) == [], "it is idle for a reason"
        fleets.record_heartbeat(session, worker_id, "", trouble="The store did not answer.")
    with site.services.begin() as session:
        [worker] = fleets.list_live(session)
        assert (worker.trouble, worker.trouble_since) == ("The store did not answer.", since)
        fleets.record_heartbeat(session, worker_id, "")
    with site.services.begin() as session:
        [worker] = fleets.list_live(session)
        assert (worker.trouble, worker.trouble_since) == (None, None)


def test_a_new_worker_with_the_number_of_a_dead_one_replaces_it(site: Site) -> None:
    register(site, pid=9)
    second = register(site, pid=9)
    with site.services.begin() as session:
        assert [worker.id for worker in fleets.list_live(session)] == [second]


def test_only_workers_of_the_fleet_that_idled_long_are_told_to_restart(site: Site) -> None:
    deaf, fresh, busy, other = (register(site, fleet, pid) for pid, fleet in enumerate(("cpu", "cpu", "cpu", "gpu")))
    with site.services.begin() as session:
        idle = Worker.id.in_([deaf, other])
        session.execute(update(Worker).where(idle).values(idle_since=now(-60.0)))
        fleets.record_heartbeat(session, busy, "render × 1")
        assert fleets.restart_idle(session, "cpu", 30) == [deaf]
        assert fleets.restart_idle(session, "cpu", 30) == []
        assert not fleets.record_heartbeat(session, deaf, "")
        assert fleets.record_heartbeat(session, fresh, "")


def test_a_worker_that_nobody_knows_is_told_to_start_anew(site: Site) -> None:
    with site.services.begin() as session:
        assert not fleets.record_heartbeat(session, site.get_tenant("no worker"), "")


def test_one_worker_of_each_fleet_is_wanted_until_somebody_says_otherwise(site: Site) -> None:
    with site.services.begin() as session:
        assert fleets.get_wanted(session) == {"cpu": 1, "gpu": 1}
        fleets.set_wanted(session, "gpu", 3)
        fleets.set_wanted(session, "gpu", 0)
        assert fleets.get_wanted(session) == {"cpu": 1, "gpu": 0}


def test_one_leads_until_it_steps_down_or_its_lease_runs_out(site: Site) -> None:
    with site.services.begin() as session:
        assert fleets.acquire_lead(session, "dispatcher", "a", 60)
        assert not fleets.acquire_lead(session, "dispatcher", "b", 60)
        assert fleets.acquire_lead(session, "dispatcher", "a", 60)
        assert fleets.acquire_lead(session, "another role", "b", 60)
        fleets.release_lead(session, "dispatcher", "b")
        assert not fleets.acquire_lead(session, "dispatcher", "b", 60)
        fleets.release_lead(session, "dispatcher", "a")
    with site.services.begin() as session:
        assert fleets.acquire_lead(session, "dispatcher", "b", 60)
        session.execute(update(Leader).where(Leader.role == "dispatcher").values(until=now(-1.0)))
        assert fleets.acquire_lead(session, "dispatcher", "a", 60)


def test_of_many_that_want_to_lead_at_once_one_does(site: Site) -> None:
    def try_to_lead(name: str) -> bool:
        with site.services.begin() as session:
            return fleets.acquire_lead(session, "dispatcher", name, 60)

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(try_to_lead, "abcdef")) == 1


def read_totals(site: Site) -> dict[str, float]:
    with site.services.read() as session:
        return totals.read(session)


def test_counts_of_workers_are_kept_when_they_end_each_once(site: Site) -> None:
    ended, silent, replaced, live = (register(site, pid=pid) for pid in (1, 2, 3, 4))
    for worker_id in (ended, silent, replaced, live):
        with site.services.begin() as session:
            fleets.record_heartbeat(session, worker_id, "", {"photos": 1.0})
    with site.services.begin() as session:
        fleets.record_heartbeat(session, live, "", {"photos": 2.5, "faults": 1})
    assert read_totals(site) == {"photos": 5.5, "faults": 1}
    with site.services.begin() as session:
        fleets.end_worker(session, ended)
        session.execute(update(Worker).where(Worker.id == silent).values(heartbeat_at=now(-11 * fleets.LIVE_S)))
    register(site, pid=3)
    for _ in range(2):
        with site.services.begin() as session:
            fleets.end_silent(session)
            fleets.end_worker(session, ended)
    assert read_totals(site) == {"photos": 5.5, "faults": 1}
    with site.services.read() as session:
        assert session.get_one(Total, "photos").n == 3


def test_a_worker_that_was_taken_for_dead_goes_on_counting(site: Site) -> None:
    worker_id = register(site)
    with site.services.begin() as session:
        fleets.record_heartbeat(session, worker_id, "", {"photos": 3})
        fleets.end_worker(session, worker_id)
    with site.services.begin() as session:
        assert fleets.record_heartbeat(session, worker_id, "ingest × 1", {"photos": 4})
        assert [worker.id for worker in fleets.list_live(session)] == [worker_id]
    assert read_totals(site) == {"photos": 4}


def test_a_worker_that_ends_while_its_counts_are_read_is_counted_once(site: Site) -> None:
    worker_ids = [register(site, pid=pid) for pid in range(1, 31)]
    for worker_id in worker_ids:
        with site.services.begin() as session:
            fleets.record_heartbeat(session, worker_id, "", {"photos": 1})

    def end_all() -> None:
        for worker_id in worker_ids:
            with site.services.begin() as session:
                fleets.end_worker(session, worker_id)

    with ThreadPoolExecutor(1) as threads:
        ending = threads.submit(end_all)
        while not ending.done():
            assert read_totals(site) == {"photos": 30}
    ending.result()
    assert read_totals(site) == {"photos": 30}


def test_heartbeats_with_counts_change_no_index(postgresql_site: Site) -> None:
    site = postgresql_site
    worker_id = register(site)
    counts = {f"retint_stage_seconds render {bound}": 1234.5 for bound in range(60)}
    for number in range(50):
        with site.services.begin() as session:
            fleets.record_heartbeat(session, worker_id, f"render × {number % 2}", counts | {"beats": number})
    with site.services.begin() as session:
        session.execute(text("SELECT pg_stat_force_next_flush()"))
    with site.services.read() as session:
        [(updates, hot)] = session.execute(
            text("SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'workers'")
        )
    assert updates >= 50
    assert hot >= 0.95 * updates
