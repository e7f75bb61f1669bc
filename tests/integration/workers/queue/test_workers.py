"""Real workers, a real broker, a real dispatcher, each a process of its own; the stages are trivial (`trivial.py`)."""

import signal
import time
from collections.abc import Callable
from uuid import UUID

import pytest
from sqlalchemy import select
from tests.integration.conftest import House, Staff
from tests.servers import Server

from retint import broker, fleets
from retint.lifecycle import STAGES, Outcome, Stage, State
from retint.tables import Attempt, Job, Worker
from retint_workers.dispatch.dispatcher import Dispatcher

Hire = Callable[[House], Staff]

EACH_STAGE_ONCE = {(stage, Outcome.DONE): 1 for stage in STAGES}


def assert_restored_once(house: House, job_ids: list[UUID]) -> None:
    """Each photo is restored, and each of its stages has one committed attempt."""
    house.wait_for(job_ids)
    done = {key: n for key, n in house.outcomes(job_ids).items() if key[1] is Outcome.DONE}
    assert done == {key: len(job_ids) for key in EACH_STAGE_ONCE}


def wait_for_workers(house: House, *fleet_names: str) -> list[Worker]:
    def live() -> list[Worker]:
        with house.services.begin() as session:
            return fleets.live(session)

    house.wait_until(lambda: sorted(worker.fleet for worker in live()) == sorted(fleet_names))
    return live()


def test_a_chain_carries_a_bundle_through_both_fleets_by_itself(
    workshop: House, dispatcher: Dispatcher, hire: Hire
) -> None:
    staff = hire(workshop)
    staff.start("worker", "cpu")
    staff.start("worker", "gpu")
    wait_for_workers(workshop, "cpu", "gpu")
    job_ids = workshop.bulk(4)
    while dispatcher.tick() == 0:
        time.sleep(0.02)
    # The dispatcher does nothing more, and the next links' deadlines have not passed.
    assert_restored_once(workshop, job_ids)
    last = workshop.attempts(job_ids[0])[-1]
    assert last.facts["before"] == ["colorize", "defade", "ingest"]
    assert last.files == {"render": f"{job_folder(workshop, job_ids[0])}/render-4/file"}


def job_folder(house: House, job_id: UUID) -> str:
    job = house.job(job_id)
    return f"tenants/{job.tenant_id}/photos/{job.photo_id}/jobs/{job_id}"


def test_every_photo_ends_well_or_with_a_reason(factory: House, hire: Hire) -> None:
    hire(factory).everyone()
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
    fine = factory.bulk(20)
    job_ids = dict(zip(orders, factory.deposit(*orders), strict=True))
    assert_restored_once(factory, fine)
    for name, (state, stage, code, outcomes) in orders.items():
        factory.wait_for([job_ids[name]], state)
        job = factory.job(job_ids[name])
        assert (job.stage, job.reason_code) == (stage, code), name
        assert [attempt.outcome for attempt in factory.attempts(job.id)] == outcomes, name
    story = factory.attempts(job_ids["bug@defade"])[-1].error
    assert story is not None
    assert "Traceback" in story
    assert "ZeroDivisionError: bug@defade" in story
    assert factory.job(job_ids["bug@defade"]).reason == "An unexpected error occurred (ZeroDivisionError)."


def test_a_killed_worker_costs_its_photos_one_attempt(factory: House, hire: Hire) -> None:
    staff = hire(factory)
    staff.everyone()
    [slow] = factory.deposit("slow@ingest:30")
    factory.wait_for([slow], State.RUNNING)
    staff.processes[0].kill()
    others = factory.bulk(8)
    with factory.services.begin() as session:
        session.get_one(Job, slow).name = "now quick"
    staff.start("worker", "cpu")
    assert_restored_once(factory, [slow, *others])
    assert [attempt.outcome for attempt in factory.attempts(slow)] == [Outcome.EXPIRED, *[Outcome.DONE] * 4]


def test_a_killed_worker_costs_no_photo_that_had_ended(workshop: House, hire: Hire) -> None:
    staff = hire(workshop)
    staff.everyone()
    first, *others = workshop.deposit(*(f"slow@ingest:0.5{'0' * number}" for number in range(6)))
    workshop.wait_until(lambda: len(workshop.attempts(first)) > 0)
    staff.processes[0].kill()
    staff.start("worker", "cpu")
    assert_restored_once(workshop, [first, *others])
    assert [attempt.outcome for attempt in workshop.attempts(first)] == [Outcome.DONE] * 4
    assert workshop.outcomes(others)[Stage.INGEST, Outcome.EXPIRED] >= 1


def test_a_bundle_that_takes_long_goes_back_for_what_is_urgent(workshop: House, hire: Hire) -> None:
    hire(workshop).everyone()
    slow = workshop.deposit(*(f"slow@ingest:0.6{'0' * number}" for number in range(8)))
    workshop.wait_until(lambda: workshop.states(slow)[State.RUNNING] == 4)
    [urgent] = workshop.deposit("urgent", batch=workshop.batch("browser", priority=5))
    assert_restored_once(workshop, [*slow, urgent])
    ended_at = workshop.attempts(urgent)[0].ended_at
    assert sum(workshop.attempts(job_id)[0].ended_at < ended_at for job_id in slow) < 4
    assert set(workshop.outcomes(slow)) == set(EACH_STAGE_ONCE), "to go back is no failed attempt"
    assert max(workshop.job(job_id).attempt for job_id in slow) > len(STAGES)


def test_a_photo_that_kills_its_worker_is_quarantined_and_takes_no_other_along(workshop: House, hire: Hire) -> None:
    staff = hire(workshop)
    staff.everyone()
    job_ids = workshop.deposit("a", "b", "die@ingest", "c", *"defghijklm")
    deadly = job_ids.pop(2)

    def quarantined() -> bool:
        if staff.processes[0].poll() is not None:
            staff.processes[0] = staff.start("worker", "cpu")
        return workshop.states([deadly])[State.QUARANTINED] == 1

    workshop.wait_until(quarantined)
    staff.start("worker", "cpu")
    assert_restored_once(workshop, job_ids)
    assert workshop.job(deadly).reason_code == "worker_lost"


def test_the_broker_may_forget_everything_while_it_works(workshop: House, hire: Hire) -> None:
    hire(workshop).everyone()
    job_ids = workshop.bulk(60)
    client = broker.connect(workshop.settings.broker_url).redis
    for restored in (1, 20, 40):
        workshop.wait_until(lambda restored=restored: workshop.states(job_ids)[State.RESTORED] >= restored)  # type: ignore[misc]
        client.flushdb()
    assert_restored_once(workshop, job_ids)


def test_the_broker_may_be_killed_and_lose_its_data(workshop: House, hire: Hire, valkey_server: Server) -> None:
    hire(workshop).everyone()
    job_ids = workshop.bulk(40)
    workshop.wait_until(lambda: workshop.states(job_ids)[State.RESTORED] >= 4)
    valkey_server.kill()
    for path in valkey_server.folder.glob("appendonlydir/*"):
        path.unlink()
    time.sleep(1)
    valkey_server.start()
    assert_restored_once(workshop, job_ids)


def test_messages_may_be_delivered_twice(workshop: House, hire: Hire) -> None:
    staff = hire(workshop)
    job_ids = workshop.bulk(8)
    sender = broker.connect(workshop.settings.broker_url)
    for _ in range(3):
        sender.send(Stage.INGEST, job_ids[:4])
        sender.send(Stage.INGEST, job_ids)
    for fleet in ("cpu", "cpu", "gpu", "gpu"):
        staff.start("worker", fleet)
    assert_restored_once(workshop, job_ids)
    workshop.wait_until(lambda: not any(sender.depth().values()))
    assert_restored_once(workshop, job_ids)


def test_the_database_may_be_away_for_a_while(annex: House, postgresql_server: Server, hire: Hire) -> None:
    staff = hire(annex)
    staff.everyone()
    job_ids = [*annex.deposit("slow@render:1"), *annex.bulk(40)]
    annex.wait_until(lambda: annex.states(job_ids)[State.RESTORED] >= 4)
    postgresql_server.kill()
    time.sleep(3)
    postgresql_server.start()
    assert_restored_once(annex, job_ids)
    assert [process.poll() for process in staff.processes] == [None] * 3


@pytest.mark.parametrize("how", ["SIGTERM", "restart"])
def test_a_worker_that_is_told_to_end_finishes_its_bundle(workshop: House, hire: Hire, how: str) -> None:
    staff = hire(workshop)
    staff.start("dispatcher")
    worker = staff.start("worker", "cpu")
    slow, *others = workshop.deposit("slow@ingest:2", "a", "b", "c")
    workshop.wait_for([slow], State.RUNNING)
    with workshop.services.begin() as session:
        [row] = fleets.live(session)
        if how == "restart":
            session.get_one(Worker, row.id).restart_at = row.started_at
    if how == "SIGTERM":
        worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=30) == 0
    outcomes = workshop.outcomes([slow, *others])
    assert outcomes[Stage.INGEST, Outcome.DONE] == outcomes.total() >= 1
    with workshop.services.begin() as session:
        assert fleets.live(session) == []
        assert session.scalars(select(Worker.ended_at)).one() is not None


def test_a_worker_can_be_ended_while_the_broker_is_away(workshop: House, hire: Hire, valkey_server: Server) -> None:
    worker = hire(workshop).start("worker", "cpu")
    wait_for_workers(workshop, "cpu")
    valkey_server.kill()
    time.sleep(1)
    worker.send_signal(signal.SIGTERM)
    try:
        assert worker.wait(timeout=20) is not None
    finally:
        valkey_server.start()


def test_one_long_photo_keeps_its_lease_by_its_beats(workshop: House, hire: Hire) -> None:
    hire(workshop).everyone()
    [job_id] = workshop.deposit(f"slow@render:{2.5 * workshop.settings.lease_s}")
    assert_restored_once(workshop, [job_id])
    assert len(workshop.attempts(job_id)) == len(STAGES)


def test_urgent_photos_are_run_first_at_every_stage(workshop: House, hire: Hire) -> None:
    sender = broker.connect(workshop.settings.broker_url)
    bulk, urgent = workshop.bulk(12), workshop.bulk(1)
    for start in range(0, 12, 2):
        sender.send(Stage.INGEST, bulk[start : start + 2])
    sender.send(Stage.INGEST, urgent, 5)
    staff = hire(workshop)
    staff.start("worker", "cpu")
    workshop.wait_until(lambda: sender.depth() == {"cpu": 0, "gpu": 7})
    staff.start("worker", "gpu")
    assert_restored_once(workshop, [*bulk, *urgent])
    with workshop.services.begin() as session:
        started = select(Attempt.job_id).where(Attempt.stage == Stage.COLORIZE)
        assert session.scalars(started.order_by(Attempt.started_at).limit(1)).one() == urgent[0]
        ended = select(Job.id).order_by(Job.ended_at).limit(1)
        assert session.scalars(ended).one() == urgent[0]


def test_a_busy_worker_is_not_taken_for_deaf_and_an_idle_one_says_so(workshop: House, hire: Hire) -> None:
    hire(workshop).everyone()
    [job_id] = workshop.deposit("slow@ingest:3")
    workshop.wait_for([job_id], State.RUNNING)

    def activities() -> dict[str, str]:
        with workshop.services.begin() as session:
            return {worker.fleet: worker.activity for worker in fleets.live(session)}

    workshop.wait_until(lambda: activities().get("cpu") == "ingest × 1")
    workshop.wait_for([job_id])
    workshop.wait_until(lambda: activities() == {"cpu": "", "gpu": ""})
