"""Every move of a job, on each database: it happens once, or not at all."""

import random
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import delete, event, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from tests.integration.conftest import Site

from retint import recipes
from retint.errors import IllegalMove, InvalidPhoto, NotFound, OutOfMemory, RetintError, StoreUnavailable, Transient
from retint.jobs import changes, queueing, tallies
from retint.jobs.leases import Done, Lease, claim, extend, release, settle
from retint.lifecycle import FINAL, STAGES, Outcome, Stage, State
from retint.tables import Attempt, Batch, Job, Photo, Tally, now
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


def test_a_bundle_is_claimed_in_one_statement_and_settled_in_one_for_those_that_ended_alike(site: Site) -> None:
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


def test_a_message_delivered_twice_claims_nothing_the_second_time(site: Site) -> None:
    job_ids = site.add_many_jobs(3)
    leases = site.claim(job_ids)
    assert site.claim(job_ids) == []
    assert site.settle(*[(lease, Done()) for lease in leases]) == set(job_ids)
    assert site.claim(job_ids) == []


def test_of_workers_that_claim_the_same_bundle_at_once_each_job_has_one(site: Site) -> None:
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
        assert queueing.reclaim_expired(session) == 1
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


def test_of_workers_that_settle_the_same_attempt_at_once_one_does(site: Site) -> None:
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


def test_a_store_that_is_away_quarantines_nothing_however_often_it_is_asked(site: Site) -> None:
    [job_id] = site.add_jobs("a")
    for number in range(1, 6):
        [lease] = site.claim([job_id])
        site.settle((lease, StoreUnavailable("The store did not answer.")))
        job = site.get_job(job_id)
        assert (job.state, job.faults, job.reason_code) == (State.READY, 0, "store_unavailable")
        assert job.not_before > lease.started_at
        assert len(site.list_attempts(job_id)) == number


def test_a_network_that_is_not_here_is_tried_three_times_minutes_apart(site: Site) -> None:
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


def test_what_was_not_begun_goes_back_as_if_nobody_had_had_it(site: Site) -> None:
    begun, ended, lost, left = site.add_jobs("begun", "ended", "lost", "left")
    leases = site.claim([begun, ended, lost, left])
    site.settle((leases[1], Done()))
    site.make_overdue([lost])
    with site.services.begin() as session:
        assert queueing.reclaim_expired(session) == 1
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
    assert site.settle((leases[3], Done())) == set(), "whoever gave it back has no claim any more"
    assert site.settle((again, Done())) == {left}
    assert site.read_counts(job.batch_id).total == 4


def test_quarantined_jobs_get_another_three_tries(site: Site) -> None:
    batch, other = site.add_batch(), site.add_batch("archive")
    job_ids = site.add_many_jobs(2, batch, State.QUARANTINED)
    [theirs] = site.add_many_jobs(1, other, State.QUARANTINED)
    with site.services.begin() as session:
        session.execute(update(Job).values(faults=3))
        session.execute(update(Job).where(Job.id == job_ids[0]).values(reason_code="worker_lost"))
        assert changes.retry_jobs(session, other.tenant_id, batch_id=batch.id) == 0
        assert changes.retry_jobs(session, batch.tenant_id, reason_code="worker_lost") == 1
        assert changes.retry_jobs(session, batch.tenant_id, job_id=job_ids[1]) == 1
        assert changes.retry_jobs(session, batch.tenant_id) == 0
        assert changes.retry_jobs(session, None) == 1
    assert site.count_states([*job_ids, theirs]) == {State.READY: 3}
    assert (site.get_job(theirs).faults, site.get_job(theirs).reason) == (0, None)


def test_an_expired_lease_is_taken_back_and_the_third_quarantines(site: Site) -> None:
    [job_id], [other] = site.add_jobs("a"), site.add_jobs("b")
    [_] = site.claim([other])
    for faults in (1, 2, 3):
        assert site.claim([job_id], lease_s=-1)
        with site.services.begin() as session:
            assert queueing.reclaim_expired(session) == 1
            assert queueing.reclaim_expired(session) == 0
        assert site.get_job(job_id).faults == faults
    assert site.get_job(job_id).state is State.QUARANTINED
    assert site.get_job(job_id).reason_code == "worker_lost"
    assert site.get_job(other).state is State.RUNNING
    attempts = site.list_attempts(job_id)
    assert [(attempt.number, attempt.outcome) for attempt in attempts] == [(n, Outcome.EXPIRED) for n in (1, 2, 3)]
    assert all(attempt.worker_id and attempt.started_at for attempt in attempts)


def test_a_heartbeat_keeps_a_lease(site: Site) -> None:
    leases = site.claim(site.add_many_jobs(3), lease_s=-1)
    with site.services.begin() as session:
        assert len(extend(session, leases, 60)) == 3
        assert queueing.reclaim_expired(session) == 0


def test_queued_jobs_that_nobody_claims_are_found_when_their_deadline_has_passed(site: Site) -> None:
    batch = site.add_batch()
    job_ids = site.add_many_jobs(3, batch)
    with site.services.begin() as session:
        assert {job_id for job_id, _ in queueing.queue(session, batch.id, Stage.INGEST, 9, 30)} == set(job_ids)
        assert queueing.list_overdue(session) == []
    site.make_overdue(job_ids)
    with site.services.begin() as session:
        assert {job_id for job_id, _ in queueing.list_overdue(session)} == set(job_ids)
        queueing.extend_deadlines(session, job_ids[:1], 30)
        assert {job_id for job_id, _ in queueing.list_overdue(session)} == set(job_ids[1:])
        assert queueing.unqueue(session, job_ids[1:]) == 2
        assert queueing.unqueue(session, None) == 1
    assert site.count_states(job_ids) == {State.READY: 3}
    assert site.get_job(job_ids[0]).faults == 0


def test_a_late_message_may_claim_what_the_dispatcher_gave_up(site: Site) -> None:
    job_ids = site.add_many_jobs(2)
    assert site.count_states(job_ids) == {State.READY: 2}
    assert len(site.claim(job_ids)) == 2


def test_the_oldest_jobs_are_queued_first(site: Site) -> None:
    batch = site.add_batch()
    job_ids = site.add_jobs("a", "b", "c", batch=batch)
    with site.services.begin() as session:
        session.execute(update(Job).where(Job.id == job_ids[2]).values(not_before=now(-60.0)))
        taken = [job_id for job_id, _ in queueing.queue(session, batch.id, Stage.INGEST, 2, 30)]
    assert taken == [job_ids[2], job_ids[0]]


def test_dispatchers_that_queue_at_once_take_different_jobs(site: Site) -> None:
    batch = site.add_batch()
    site.add_many_jobs(40, batch)

    def take(_: int) -> list[uuid.UUID]:
        with site.services.begin() as session:
            return [job_id for job_id, _ in queueing.queue(session, batch.id, Stage.INGEST, 10, 30)]

    with ThreadPoolExecutor(4) as pool:
        taken = [job_id for part in pool.map(take, range(4)) for job_id in part]
    assert len(taken) == len(set(taken)) == 40


def test_a_paused_batch_waits_and_goes_on(site: Site) -> None:
    batch = site.add_batch()
    job_ids = site.add_many_jobs(4, batch)
    [running] = site.claim(job_ids[:1])
    with site.services.begin() as session:
        queueing.queue(session, batch.id, Stage.INGEST, 2, 30)
        session.execute(update(Batch).where(Batch.id == batch.id).values(paused_at=now()))
    assert site.claim(job_ids) == []
    assert site.count_states(job_ids) == {State.RUNNING: 1, State.READY: 3}
    assert site.settle((running, Done())) == {running.job_id}
    assert site.claim(job_ids[:1], Stage.COLORIZE) == []
    assert site.get_job(job_ids[0]).state is State.READY
    with site.services.begin() as session:
        session.execute(update(Batch).where(Batch.id == batch.id).values(paused_at=None))
    assert len(site.claim(job_ids[1:])) == 3


def test_a_cancelled_batch_ends_at_once_and_its_workers_write_nothing(site: Site) -> None:
    batch, other = site.add_batch(), site.add_batch()
    job_ids, [elsewhere] = site.add_many_jobs(5, batch), site.add_many_jobs(1, other)
    done, running = site.claim(job_ids[:2])
    site.settle((done, InvalidPhoto("This is not a photograph.")))
    with site.services.begin() as session:
        assert changes.cancel_batch(session, batch.tenant_id, batch.id) == 4
        assert changes.cancel_batch(session, batch.tenant_id, batch.id) == 0
    assert site.settle((running, Done())) == set()
    assert site.claim(job_ids) == []
    assert site.count_states(job_ids) == {State.REFUSED: 1, State.CANCELLED: 4}
    assert [attempt.outcome for attempt in site.list_attempts(running.job_id)] == [Outcome.CANCELLED]
    assert site.list_attempts(job_ids[4]) == []
    assert site.get_job(elsewhere).state is State.READY
    with pytest.raises(IllegalMove):
        site.add_jobs("late.jpg", batch=batch)


def test_one_job_is_cancelled_by_its_tenant_only_and_only_while_it_has_not_ended(site: Site) -> None:
    batch = site.add_batch()
    open_job, refused = site.add_jobs("a", "b", batch=batch)
    [lease] = site.claim([refused])
    site.settle((lease, InvalidPhoto("This is not a photograph.")))
    with pytest.raises(NotFound), site.services.begin() as session:
        changes.cancel_job(session, site.get_tenant("archive"), open_job)
    with pytest.raises(IllegalMove), site.services.begin() as session:
        changes.cancel_job(session, batch.tenant_id, refused)
    with site.services.begin() as session:
        changes.cancel_job(session, batch.tenant_id, open_job)
        changes.cancel_job(session, batch.tenant_id, open_job)
    assert site.get_job(open_job).state is State.CANCELLED
    with pytest.raises(NotFound), site.services.begin() as session:
        changes.cancel_batch(session, site.get_tenant("archive"), batch.id)


def test_cancelling_and_depositing_at_once_leaves_no_job_behind(site: Site) -> None:
    for _ in range(4):
        batch = site.add_batch()
        site.add_many_jobs(20, batch)

        def deposit(number: int, batch: Batch = batch) -> None:
            for part in range(3):
                try:
                    site.add_jobs(f"{number}-{part}", batch=batch)
                except IllegalMove:
                    return

        def cancel(_: int, batch: Batch = batch) -> None:
            with site.services.begin() as session:
                changes.cancel_batch(session, batch.tenant_id, batch.id)

        with ThreadPoolExecutor(4) as pool:
            racing = [pool.submit(work, number) for number, work in enumerate((deposit, deposit, cancel, deposit))]
        for future in racing:
            future.result()
        assert set(site.count_rows(batch.id)) == {(Stage.INGEST, State.CANCELLED)}


def test_a_file_deposited_again_finds_its_job(site: Site) -> None:
    batch = site.add_batch()
    with site.services.begin() as session:
        [first] = house_photo(session, batch)
        assert changes.add_job(session, batch, first, "a.jpg").id == changes.add_job(session, batch, first, "a.jpg").id
        assert changes.add_job(session, batch, first, "a.jpg").id != changes.add_job(session, batch, first, "b.jpg").id


def house_photo(session: Session, batch: Batch) -> list[Photo]:
    photo = Photo(tenant_id=batch.tenant_id, sha256="0" * 64, size=1)
    session.add(photo)
    session.flush()
    return [photo]


def test_a_reason_from_a_hostile_file_is_kept_without_what_no_database_takes(site: Site) -> None:
    [job_id] = site.add_jobs("a")
    [lease] = site.claim([job_id])
    site.settle((lease, InvalidPhoto("The tag \0\ud800 is broken.")))
    assert site.get_job(job_id).reason == "The tag \ufffd? is broken."


@pytest.mark.parametrize("seed", range(3))
def test_the_tallies_agree_with_the_rows_whatever_moves(site: Site, seed: int) -> None:
    dice = random.Random(seed)
    batches = [site.add_batch(), site.add_batch("archive")]
    job_ids = [job_id for batch in batches for job_id in site.add_many_jobs(12, batch)]
    leases: list[Lease] = []
    folded = 0
    ends: list[Done | RetintError] = [Done(), Done(), Done(), InvalidPhoto("no"), OutOfMemory("again")]
    for _ in range(60):
        some = dice.sample(job_ids, 6)
        batch = dice.choice(batches)
        with site.services.begin() as session:
            match dice.randrange(10):
                case 0 | 1:
                    queueing.queue(session, batch.id, dice.choice(STAGES), 4, 30)
                case 2 | 3 | 4:
                    lease_s = dice.choice([60, -1])
                    for stage in STAGES:
                        leases += claim(session, stage, some, None, lease_s)
                case 5 | 6:
                    chosen = {lease.job_id: (lease, dice.choice(ends)) for lease in leases}
                    settle(session, list(chosen.values()), backoff_s=0.001, requeue_s=30)
                    leases.clear()
                case 7:
                    queueing.reclaim_expired(session)
                case 8:
                    changes.retry_jobs(session, None)
                    folded = tallies.fold(session, folded)
                case 9 if site.get_job(some[0]).state not in FINAL:
                    changes.cancel_job(session, batches[job_ids.index(some[0]) // 12].tenant_id, some[0])
                case _:
                    queueing.unqueue(session, some)
        for each in batches:
            assert site.read_counts(each.id).by == site.count_rows(each.id)
    with site.services.begin() as session:
        session.execute(delete(Attempt))
        session.execute(delete(Job))
        assert tallies.count_jobs(session, [batches[0].id])[batches[0].id].total == 0
        tallies.fold(session, 0)
        assert session.scalars(select(Tally)).all() == []


def test_folding_while_others_count_loses_nothing(site: Site) -> None:
    batch = site.add_batch()
    stop = threading.Event()

    def fold() -> None:
        folded = 0
        while not stop.is_set():
            with site.services.begin() as session:
                folded = tallies.fold(session, folded)

    def work(_: int) -> None:
        for _ in range(6):
            leases = site.claim(site.add_many_jobs(4, batch))
            site.settle(*[(lease, Done()) for lease in leases])

    folders = [threading.Thread(target=fold) for _ in range(2)]
    for thread in folders:
        thread.start()
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(work, range(3)))
    stop.set()
    for thread in folders:
        thread.join()
    assert site.read_counts(batch.id).by == site.count_rows(batch.id) == {(Stage.COLORIZE, State.QUEUED): 72}


def test_a_folded_batch_has_few_tallies_however_many_jobs(site: Site) -> None:
    batch = site.add_batch()
    site.claim(site.add_many_jobs(50, batch)[:20])
    with site.services.begin() as session:
        tallies.fold(session, tallies.fold(session, 0))
        assert len(session.scalars(select(Tally)).all()) == 2
    counts = site.read_counts(batch.id)
    assert (counts.total, counts.ready, counts.running, counts.ended) == (50, 30, 20, 0)
    assert counts.at(Stage.INGEST) == 50
    assert counts.at(Stage.INGEST, State.RUNNING) == 20


def test_depths_leave_paused_batches_out_and_tell_the_oldest(site: Site) -> None:
    batch, paused = site.add_batch(), site.add_batch()
    job_ids = site.add_many_jobs(3, batch)
    site.add_many_jobs(2, paused)
    site.claim(job_ids[:1])
    with site.services.begin() as session:
        session.execute(update(Batch).where(Batch.id == paused.id).values(paused_at=now()))
        session.execute(update(Job).where(Job.id == job_ids[2]).values(not_before=now(-100.0)))
        ingest, *others = tallies.measure_depths(session)
    assert (ingest.stage, ingest.ready, ingest.queued, ingest.running) == (Stage.INGEST, 2, 0, 1)
    assert 100 <= ingest.oldest_s < 120
    assert [(depth.ready, depth.oldest_s) for depth in others] == [(0, 0.0)] * 3


def test_failures_are_grouped_by_reason_within_the_tenant(site: Site) -> None:
    batch, other = site.add_batch(), site.add_batch("archive")
    for lease in [*site.claim(site.add_many_jobs(3, batch)), *site.claim(site.add_many_jobs(1, other))]:
        site.settle((lease, InvalidPhoto(f"{lease.name} is not a photograph.")))
    site.add_many_jobs(1, batch, State.QUARANTINED)
    with site.services.begin() as session:
        groups = tallies.group_failures(session, batch.tenant_id)
        everywhere = tallies.group_failures(session, None)
        here = tallies.group_failures(session, other.tenant_id, batch_id=other.id)
    assert [(group.reason_code, group.state, group.count, group.batches) for group in groups] == [
        ("invalid_photo", State.REFUSED, 3, 1),
        ("unknown", State.QUARANTINED, 1, 1),
    ]
    assert groups[0].reason == "0 is not a photograph."
    assert (everywhere[0].count, everywhere[0].batches) == (4, 2)
    assert [group.count for group in here] == [1]
