"""Claiming, extending, releasing and settling, on each database: a move happens once or not at all."""

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import event, update
from sqlalchemy.exc import IntegrityError
from tests.integration.conftest import Site

from retint import recipes
from retint.columns import now
from retint.errors import InvalidPhoto, OutOfMemory, StoreUnavailable, Transient
from retint.jobs import queueing
from retint.jobs.leases import Done, extend, release, settle
from retint.lifecycle import STAGES, Outcome, Stage, State
from retint.tables import Attempt, Job, StoredRecipe
from retint_workers.inference.loading import NetworkUnavailable


def test_a_photo_goes_through_all_stages_and_is_restored(site: Site) -> None:
    recipe = recipes.parse({"strength": 0.5})
    batch = site.add_batch(recipe=recipe)
    [job_id] = site.add_jobs("grandmother.jpg", batch=batch)
    for number, stage in enumerate(STAGES, start=1):
        [lease] = site.claim([job_id], stage)
        assert (lease.attempt, lease.recipe, lease.name) == (number, recipe, "grandmother.jpg")
        assert list(lease.files) == list(STAGES[: number - 1])
        assert lease.facts == {earlier: {"seen by": earlier} for earlier in STAGES[: number - 1]}
        assert lease.file_key("a") == f"{lease.original_key.removesuffix('original')}jobs/{job_id}/{stage}-{number}/a"
        done = Done({stage: lease.file_key("file")}, {"seen by": stage}, {"work": 0.1})
        assert site.settle((lease, done)) == {job_id}
    job = site.get_job(job_id)
    assert (job.stage, job.state) == (Stage.RENDER, State.RESTORED)
    assert job.ended_at
    assert job.deadline is None
    assert [(attempt.stage, attempt.outcome) for attempt in site.list_attempts(job_id)] == [
        (stage, Outcome.DONE) for stage in STAGES
    ]


def test_a_finished_stage_leaves_the_job_queued_for_the_next_link_of_its_chain(site: Site) -> None:
    [job_id] = site.add_jobs("a")
    before = site.get_job(job_id)
    [lease] = site.claim([job_id])
    site.settle((lease, Done()))
    job = site.get_job(job_id)
    assert (job.stage, job.state, job.not_before) == (Stage.COLORIZE, State.QUEUED, before.not_before)
    assert job.deadline
    assert job.started_at
    left = job.deadline - job.started_at
    assert timedelta(seconds=0) < left - timedelta(seconds=site.settings.requeue_s) < timedelta(seconds=20)


def test_a_bundle_is_claimed_in_one_statement_and_settled_in_one_per_outcome(site: Site) -> None:
    job_ids = site.add_many_jobs(16)
    moved: list[str] = []

    def watch(_: object, __: object, statement: str, *rest: object) -> None:
        if "UPDATE jobs" in statement or "INSERT INTO attempts" in statement:
            moved.append(statement)

    event.listen(site.services.engine, "before_cursor_execute", watch)
    leases = site.claim(job_ids)
    outcomes = [Done() if number % 2 else InvalidPhoto("This is not a photograph.") for number in range(16)]
    assert [lease.job_id for lease in leases] == job_ids
    assert site.settle(*zip(leases, outcomes, strict=True)) == set(job_ids)
    assert len(moved) == 4
    assert site.count_states(job_ids) == {State.QUEUED: 8, State.REFUSED: 8}


def test_a_job_has_its_own_recipe_or_that_of_its_batch(site: Site) -> None:
    job_ids = site.add_many_jobs(2)
    own = recipes.parse({"colorizer": "keep"})
    with site.services.begin() as session:
        session.add(StoredRecipe(hash=own.hash, recipe=own.model_dump()))
        session.execute(update(Job).where(Job.id == job_ids[0]).values(recipe_hash=own.hash))
    first, second = site.claim(job_ids)
    assert first.recipe == own
    assert second.recipe != own


def test_a_lease_knows_how_long_its_job_could_have_run_before(site: Site) -> None:
    [job_id] = site.add_jobs("a")

    def make_older(table: type[Job] | type[Attempt], column: str, seconds: float) -> None:
        with site.services.begin() as session:
            session.execute(update(table).values({column: now(-seconds)}))

    make_older(Job, "not_before", 100)
    [lease] = site.claim([job_id])
    assert 100 <= lease.waited_s < 110
    site.settle((lease, OutOfMemory("There was not enough memory.")))
    make_older(Job, "not_before", 20)  # after its backoff
    [lease] = site.claim([job_id])
    assert 20 <= lease.waited_s < 30
    site.settle((lease, Done()))
    make_older(Attempt, "ended_at", 10)
    [lease] = site.claim([job_id], Stage.COLORIZE)
    assert 10 <= lease.waited_s < 20


def test_a_message_delivered_twice_claims_nothing_the_second_time(site: Site) -> None:
    job_ids = site.add_many_jobs(3)
    leases = site.claim(job_ids)
    assert site.claim(job_ids) == []
    assert site.settle(*[(lease, Done()) for lease in leases]) == set(job_ids)
    assert site.claim(job_ids) == []


def test_workers_that_claim_the_same_bundle_at_once_share_its_jobs(site: Site) -> None:
    for _ in range(5):
        job_ids = site.add_many_jobs(16)
        barrier = threading.Barrier(4)

        def race(_: int, job_ids: list[uuid.UUID] = job_ids, barrier: threading.Barrier = barrier) -> list[uuid.UUID]:
            barrier.wait()
            return [lease.job_id for lease in site.claim(job_ids)]

        with ThreadPoolExecutor(4) as pool:
            claimed = [job_id for part in pool.map(race, range(4)) for job_id in part]
        assert sorted(claimed) == sorted(job_ids)


def test_a_stale_worker_writes_nothing(site: Site) -> None:
    [job_id] = site.add_jobs("a")
    [stale] = site.claim([job_id], lease_s=-1)
    with site.services.begin() as session:
        assert queueing.reclaim_expired(session).total() == 1
    [fresh] = site.claim([job_id])
    assert fresh.attempt == stale.attempt + 1
    assert site.settle((stale, Done({"proxy": "stale"}))) == set()
    with site.services.begin() as session:
        assert extend(session, [stale, fresh], 60) == {job_id}
        assert extend(session, [stale], 60) == set()
    assert site.settle((fresh, Done({"proxy": "fresh"}))) == {job_id}
    assert site.settle((fresh, Done({"proxy": "twice"}))) == set()
    assert [(attempt.outcome, attempt.files) for attempt in site.list_attempts(job_id)] == [
        (Outcome.EXPIRED, {}),
        (Outcome.DONE, {"proxy": "fresh"}),
    ]


def test_only_one_of_the_workers_that_settle_an_attempt_at_once_writes(site: Site) -> None:
    leases = site.claim(site.add_many_jobs(16))
    barrier = threading.Barrier(3)

    def race(_: int) -> int:
        barrier.wait()
        return len(site.settle(*[(lease, Done()) for lease in leases]))

    with ThreadPoolExecutor(3) as pool:
        assert sorted(pool.map(race, range(3))) == [0, 0, 16]


def test_the_database_itself_refuses_a_second_done_attempt_of_a_stage(site: Site) -> None:
    [job_id] = site.add_jobs("a")
    [lease] = site.claim([job_id])
    site.settle((lease, Done()))
    twice = Attempt(
        job_id=job_id, number=2, tenant_id=lease.tenant_id, stage=Stage.INGEST, outcome=Outcome.DONE, worker_id=None
    )
    with pytest.raises(IntegrityError), site.services.begin() as session:
        session.add(twice)


def test_a_fault_is_tried_again_after_a_while_and_quarantined_the_third_time(site: Site) -> None:
    [job_id] = site.add_jobs("a")
    for faults in (1, 2):
        [lease] = site.claim([job_id])
        with site.services.begin() as session:
            fault = OutOfMemory("There was not enough memory.")
            settle(session, [(lease, fault)], backoff_s=100, requeue_s=30)
            assert queueing.queue(session, lease.batch_id, Stage.INGEST, 9, 30) == []
        job = site.get_job(job_id)
        assert (job.state, job.stage, job.faults, job.reason_code) == (
            State.READY,
            Stage.INGEST,
            faults,
            "out_of_memory",
        )
        assert 50 * faults <= (job.not_before - lease.started_at).total_seconds() <= 150 * faults + 20
    [lease] = site.claim([job_id])
    site.settle((lease, Transient("The network failed.", code="network_failed")))
    job = site.get_job(job_id)
    assert (job.state, job.reason) == (State.QUARANTINED, "The network failed.")
    assert site.claim([job_id]) == []
    assert [attempt.outcome for attempt in site.list_attempts(job_id)] == [Outcome.FAULT] * 3


def test_an_unavailable_store_quarantines_nothing_however_long_it_lasts(site: Site) -> None:
    [job_id] = site.add_jobs("a")
    for number in range(1, 6):
        [lease] = site.claim([job_id])
        site.settle((lease, StoreUnavailable("The store did not answer.")))
        job = site.get_job(job_id)
        assert (job.state, job.faults, job.reason_code) == (State.READY, 0, "store_unavailable")
        assert job.not_before > lease.started_at
        assert len(site.list_attempts(job_id)) == number


def test_a_missing_network_is_tried_three_times_minutes_apart(site: Site) -> None:
    [job_id] = site.add_jobs("a")
    for number in range(1, 4):
        [lease] = site.claim([job_id])
        with site.services.begin() as session:
            settle(session, [(lease, NetworkUnavailable("There are no weights."))], backoff_s=2, requeue_s=30)
        job = site.get_job(job_id)
        assert (job.faults, job.reason_code) == (number, "network_unavailable")
        if number < 3:
            assert (job.not_before - lease.started_at).total_seconds() >= 30 * number
    assert job.state is State.QUARANTINED


def test_released_jobs_are_ready_again_without_a_fault(site: Site) -> None:
    begun, ended, lost, left = site.add_jobs("begun", "ended", "lost", "left")
    leases = site.claim([begun, ended, lost, left])
    site.settle((leases[1], Done()))
    site.make_overdue([lost])
    with site.services.begin() as session:
        assert queueing.reclaim_expired(session).total() == 1
    before = site.get_job(left).not_before
    with site.services.begin() as session:
        assert release(session, leases[1:]) == 1
    assert [site.get_job(job_id).state for job_id in (begun, ended, lost, left)] == [
        State.RUNNING,
        State.QUEUED,
        State.READY,
        State.READY,
    ]
    job = site.get_job(left)
    assert (job.faults, job.deadline, job.not_before, job.reason_code) == (0, None, before, None)
    assert site.list_attempts(left) == []
    [again] = site.claim([left])
    assert site.settle((leases[3], Done())) == set(), "the released lease is no longer valid"
    assert site.settle((again, Done())) == {left}
    assert site.read_counts(job.batch_id).total == 4


def test_a_heartbeat_keeps_a_lease(site: Site) -> None:
    leases = site.claim(site.add_many_jobs(3), lease_s=-1)
    with site.services.begin() as session:
        assert len(extend(session, leases, 60)) == 3
        assert queueing.reclaim_expired(session).total() == 0


def test_a_late_message_may_claim_what_the_dispatcher_gave_up(site: Site) -> None:
    job_ids = site.add_many_jobs(2)
    assert site.count_states(job_ids) == {State.READY: 2}
    assert len(site.claim(job_ids)) == 2


def test_characters_that_postgresql_refuses_are_replaced_in_a_reason(site: Site) -> None:
    [job_id] = site.add_jobs("a")
    [lease] = site.claim([job_id])
    site.settle((lease, InvalidPhoto("The tag \0\ud800 is broken.")))
    assert site.get_job(job_id).reason == "The tag \ufffd? is broken."
