"""Real workers, a real broker, a real dispatcher, each a process of its own; the stages are trivial (`trivial.py`)."""

import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import select
from tests.integration.conftest import Processes, Site, open_site
from tests.servers import Server

from retint import fleets
from retint.lifecycle import STAGES, Outcome, Stage, State
from retint.tables import Attempt, Job, Worker
from retint_workers.dispatch.dispatcher import Dispatcher

MakeProcesses = Callable[[Site], Processes]

EACH_STAGE_ONCE = {(stage, Outcome.DONE): 1 for stage in STAGES}


def assert_restored_once(site: Site, job_ids: list[UUID]) -> None:
    """Each photo is restored, and each of its stages has one committed attempt."""
    site.wait_for(job_ids)
    done = {key: n for key, n in site.count_outcomes(job_ids).items() if key[1] is Outcome.DONE}
    assert done == {key: len(job_ids) for key in EACH_STAGE_ONCE}


def wait_for_workers(site: Site, *fleet_names: str) -> list[Worker]:
    def live() -> list[Worker]:
        with site.services.begin() as session:
            return fleets.list_live(session)

    site.wait_until(lambda: sorted(worker.fleet for worker in live()) == sorted(fleet_names))
    return live()


def test_a_chain_carries_a_bundle_through_both_fleets_by_itself(
    sqlite_site: Site, dispatcher: Dispatcher, make_processes: MakeProcesses
) -> None:
    processes = make_processes(sqlite_site)
    processes.start("worker", "cpu")
    processes.start("worker", "gpu")
    wait_for_workers(sqlite_site, "cpu", "gpu")
    job_ids = sqlite_site.add_many_jobs(4)
    while dispatcher.tick() == 0:
        time.sleep(0.02)
    # The dispatcher does nothing more, and the next links' deadlines have not passed.
    assert_restored_once(sqlite_site, job_ids)
    last = sqlite_site.list_attempts(job_ids[0])[-1]
    assert last.facts["before"] == ["colorize", "defade", "ingest"]
    assert last.files == {"render": f"{job_folder(sqlite_site, job_ids[0])}/render-4/file"}


def job_folder(site: Site, job_id: UUID) -> str:
    job = site.get_job(job_id)
    return f"tenants/{job.tenant_id}/photos/{job.photo_id}/jobs/{job_id}"


def test_every_photo_ends_well_or_with_a_reason(broker_site: Site, make_processes: MakeProcesses) -> None:
    make_processes(broker_site).start_all()
    orders = {
        "refuse@ingest": (State.REFUSED, Stage.INGEST, "invalid_photo", [Outcome.REFUSED]),
        "refuse@render": (State.REFUSED, Stage.RENDER, "invalid_photo", [Outcome.DONE] * 3 + [Outcome.REFUSED]),
        "fault@colorize": (
            State.RESTORED,
            Stage.RENDER,
            None,
            [Outcome.DONE, Outcome.FAULT, Outcome.FAULT, *[Outcome.DONE] * 3],
        ),
        "bug@defade": (State.QUARANTINED, Stage.DEFADE, "bug", [Outcome.DONE] * 2 + [Outcome.FAULT] * 3),
        "forget@render": (State.QUARANTINED, Stage.RENDER, "bug", [Outcome.DONE] * 3 + [Outcome.FAULT] * 3),
    }
    fine = broker_site.add_many_jobs(20)
    job_ids = dict(zip(orders, broker_site.add_jobs(*orders), strict=True))
    assert_restored_once(broker_site, fine)
    for name, (state, stage, code, outcomes) in orders.items():
        broker_site.wait_for([job_ids[name]], state)
        job = broker_site.get_job(job_ids[name])
        assert (job.stage, job.reason_code) == (stage, code), name
        assert [attempt.outcome for attempt in broker_site.list_attempts(job.id)] == outcomes, name
    story = broker_site.list_attempts(job_ids["bug@defade"])[-1].error
    assert story is not None
    assert "Traceback" in story
    assert "ZeroDivisionError: a bug" in story
    assert broker_site.get_job(job_ids["bug@defade"]).reason == "An unexpected error occurred (ZeroDivisionError)."


def test_a_killed_worker_costs_its_photos_one_attempt(broker_site: Site, make_processes: MakeProcesses) -> None:
    processes = make_processes(broker_site)
    processes.start_all()
    [slow] = broker_site.add_jobs("slow@ingest:30")
    broker_site.wait_for([slow], State.RUNNING)
    processes.running[0].kill()
    others = broker_site.add_many_jobs(8)
    with broker_site.services.begin() as session:
        session.get_one(Job, slow).name = "now quick"
    processes.start("worker", "cpu")
    assert_restored_once(broker_site, [slow, *others])
    assert [attempt.outcome for attempt in broker_site.list_attempts(slow)] == [
        Outcome.EXPIRED,
        *[Outcome.DONE] * 4,
    ]


def test_a_killed_worker_costs_no_photo_that_had_ended(sqlite_site: Site, make_processes: MakeProcesses) -> None:
    processes = make_processes(sqlite_site)
    processes.start_all()
    first, *others = sqlite_site.add_jobs(*(f"slow@ingest:0.5{'0' * number}" for number in range(6)))
    sqlite_site.wait_until(lambda: len(sqlite_site.list_attempts(first)) > 0)
    processes.running[0].kill()
    processes.start("worker", "cpu")
    assert_restored_once(sqlite_site, [first, *others])
    assert [attempt.outcome for attempt in sqlite_site.list_attempts(first)] == [Outcome.DONE] * 4
    assert sqlite_site.count_outcomes(others)[Stage.INGEST, Outcome.EXPIRED] >= 1


def test_a_bundle_that_takes_long_goes_back_for_what_is_urgent(
    sqlite_site: Site, make_processes: MakeProcesses
) -> None:
    make_processes(sqlite_site).start_all()
    slow = sqlite_site.add_jobs(*(f"slow@ingest:0.6{'0' * number}" for number in range(8)))
    sqlite_site.wait_until(lambda: sqlite_site.count_states(slow)[State.RUNNING] == 4)
    [urgent] = sqlite_site.add_jobs("urgent", batch=sqlite_site.add_batch("browser", priority=5))
    assert_restored_once(sqlite_site, [*slow, urgent])
    ended_at = sqlite_site.list_attempts(urgent)[0].ended_at
    assert sum(sqlite_site.list_attempts(job_id)[0].ended_at < ended_at for job_id in slow) < 4
    assert set(sqlite_site.count_outcomes(slow)) == set(EACH_STAGE_ONCE), "to go back is no failed attempt"
    assert max(sqlite_site.get_job(job_id).attempt for job_id in slow) > len(STAGES)


def test_a_photo_that_kills_its_worker_is_quarantined_and_takes_no_other_along(
    sqlite_site: Site, make_processes: MakeProcesses
) -> None:
    processes = make_processes(sqlite_site)
    processes.start_all()
    job_ids = sqlite_site.add_jobs("a", "b", "die@ingest", "c", *"defghijklm")
    deadly = job_ids.pop(2)

    def quarantined() -> bool:
        if processes.running[0].poll() is not None:
            processes.running[0] = processes.start("worker", "cpu")
        return sqlite_site.count_states([deadly])[State.QUARANTINED] == 1

    sqlite_site.wait_until(quarantined)
    processes.start("worker", "cpu")
    assert_restored_once(sqlite_site, job_ids)
    assert sqlite_site.get_job(deadly).reason_code == "worker_lost"


def test_the_broker_may_forget_everything_while_it_works(sqlite_site: Site, make_processes: MakeProcesses) -> None:
    make_processes(sqlite_site).start_all()
    job_ids = sqlite_site.add_many_jobs(60)
    client = sqlite_site.services.connect_broker().redis
    for restored in (1, 20, 40):
        sqlite_site.wait_until(lambda restored=restored: sqlite_site.count_states(job_ids)[State.RESTORED] >= restored)  # type: ignore[misc]
        client.flushdb()
    assert_restored_once(sqlite_site, job_ids)


def test_the_broker_may_be_killed_and_lose_its_data(
    sqlite_site: Site, make_processes: MakeProcesses, valkey_server: Server
) -> None:
    make_processes(sqlite_site).start_all()
    job_ids = sqlite_site.add_many_jobs(40)
    sqlite_site.wait_until(lambda: sqlite_site.count_states(job_ids)[State.RESTORED] >= 4)
    valkey_server.kill()
    for path in valkey_server.folder.glob("appendonlydir/*"):
        path.unlink()
    time.sleep(1)
    valkey_server.start()
    assert_restored_once(sqlite_site, job_ids)


def test_messages_may_be_delivered_twice(sqlite_site: Site, make_processes: MakeProcesses) -> None:
    processes = make_processes(sqlite_site)
    job_ids = sqlite_site.add_many_jobs(8)
    sender = sqlite_site.services.connect_broker()
    for _ in range(3):
        sender.send(Stage.INGEST, job_ids[:4])
        sender.send(Stage.INGEST, job_ids)
    for fleet in ("cpu", "cpu", "gpu", "gpu"):
        processes.start("worker", fleet)
    assert_restored_once(sqlite_site, job_ids)
    sqlite_site.wait_until(lambda: not any(sender.count_messages().values()))
    assert_restored_once(sqlite_site, job_ids)


def test_the_database_may_be_away_for_a_while(
    postgresql_site: Site, postgresql_server: Server, make_processes: MakeProcesses
) -> None:
    processes = make_processes(postgresql_site)
    processes.start_all()
    job_ids = [*postgresql_site.add_jobs("slow@render:1"), *postgresql_site.add_many_jobs(40)]
    postgresql_site.wait_until(lambda: postgresql_site.count_states(job_ids)[State.RESTORED] >= 4)
    postgresql_server.kill()
    time.sleep(3)
    postgresql_server.start()
    assert_restored_once(postgresql_site, job_ids)
    assert [process.poll() for process in processes.running] == [None] * 3


@pytest.mark.parametrize("how", ["SIGTERM", "restart"])
def test_a_worker_that_is_told_to_end_finishes_its_bundle(
    sqlite_site: Site, make_processes: MakeProcesses, how: str
) -> None:
    processes = make_processes(sqlite_site)
    processes.start("dispatcher")
    worker = processes.start("worker", "cpu")
    slow, *others = sqlite_site.add_jobs("slow@ingest:2", "a", "b", "c")
    sqlite_site.wait_for([slow], State.RUNNING)
    with sqlite_site.services.begin() as session:
        [row] = fleets.list_live(session)
        if how == "restart":
            session.get_one(Worker, row.id).restart_at = row.started_at
    if how == "SIGTERM":
        worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=30) == 0
    outcomes = sqlite_site.count_outcomes([slow, *others])
    assert outcomes[Stage.INGEST, Outcome.DONE] == outcomes.total() >= 1
    with sqlite_site.services.begin() as session:
        assert fleets.list_live(session) == []
        assert session.scalars(select(Worker.ended_at)).one() is not None


def test_a_worker_can_be_ended_while_the_broker_is_away(
    sqlite_site: Site, make_processes: MakeProcesses, valkey_server: Server
) -> None:
    worker = make_processes(sqlite_site).start("worker", "cpu")
    wait_for_workers(sqlite_site, "cpu")
    valkey_server.kill()
    time.sleep(1)
    worker.send_signal(signal.SIGTERM)
    try:
        assert worker.wait(timeout=20) is not None
    finally:
        valkey_server.start()


def test_one_long_photo_keeps_its_lease_by_its_beats(sqlite_site: Site, make_processes: MakeProcesses) -> None:
    make_processes(sqlite_site).start_all()
    [job_id] = sqlite_site.add_jobs(f"slow@render:{2.5 * sqlite_site.settings.lease_s}")
    assert_restored_once(sqlite_site, [job_id])
    assert len(sqlite_site.list_attempts(job_id)) == len(STAGES)


def test_urgent_photos_are_run_first_at_every_stage(sqlite_site: Site, make_processes: MakeProcesses) -> None:
    sender = sqlite_site.services.connect_broker()
    bulk, urgent = sqlite_site.add_many_jobs(12), sqlite_site.add_many_jobs(1)
    for start in range(0, 12, 2):
        sender.send(Stage.INGEST, bulk[start : start + 2])
    sender.send(Stage.INGEST, urgent, 5)
    processes = make_processes(sqlite_site)
    processes.start("worker", "cpu")
    sqlite_site.wait_until(lambda: sender.count_messages() == {"cpu": 0, "gpu": 7})
    processes.start("worker", "gpu")
    assert_restored_once(sqlite_site, [*bulk, *urgent])
    with sqlite_site.services.begin() as session:
        started = select(Attempt.job_id).where(Attempt.stage == Stage.COLORIZE)
        assert session.scalars(started.order_by(Attempt.started_at).limit(1)).one() == urgent[0]
        ended = select(Job.id).order_by(Job.ended_at).limit(1)
        assert session.scalars(ended).one() == urgent[0]


def test_a_busy_worker_is_not_taken_for_deaf_and_an_idle_one_says_so(
    sqlite_site: Site, make_processes: MakeProcesses
) -> None:
    make_processes(sqlite_site).start_all()
    [job_id] = sqlite_site.add_jobs("slow@ingest:3")
    sqlite_site.wait_for([job_id], State.RUNNING)

    def activities() -> dict[str, str]:
        with sqlite_site.services.begin() as session:
            return {worker.fleet: worker.activity for worker in fleets.list_live(session)}

    sqlite_site.wait_until(lambda: activities().get("cpu") == "ingest × 1")
    sqlite_site.wait_for([job_id])
    sqlite_site.wait_until(lambda: activities() == {"cpu": "", "gpu": ""})


def test_two_installations_on_one_redis_leave_each_others_messages_alone(
    broker_site: Site, migrated_sqlite: Path, make_processes: MakeProcesses, tmp_path: Path
) -> None:
    folder = tmp_path / "second"
    folder.mkdir()
    shutil.copyfile(migrated_sqlite, folder / "retint.db")
    url = f"sqlite:///{folder}/retint.db"
    for second in open_site(broker_site.settings.model_copy(update={"data": folder, "database_url": url})):
        job_ids = {site.settings.data: site.add_many_jobs(40) for site in (broker_site, second)}
        for site in (broker_site, second):
            processes = make_processes(site)
            processes.folder = site.settings.data
            processes.start_all()
        for site in (broker_site, second):
            assert_restored_once(site, job_ids[site.settings.data])
        brokers = [site.services.connect_broker() for site in (broker_site, second)]
        assert brokers[0].prefix != brokers[1].prefix
        names = {name.decode() for name in brokers[0].redis.scan_iter()}
        assert all(name.startswith((brokers[0].prefix, brokers[1].prefix)) for name in names), names
        assert {f"{each.prefix}canary" for each in brokers} <= names
