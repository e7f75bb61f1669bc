"""Queueing, and taking back what was lost, on each database."""

import uuid
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import update
from tests.integration.conftest import Site

from retint.columns import now
from retint.jobs import queueing
from retint.lifecycle import Outcome, Stage, State
from retint.tables import Job


def test_an_expired_lease_is_reclaimed_and_the_third_quarantines_the_job(site: Site) -> None:
    [job_id], [other] = site.add_jobs("a"), site.add_jobs("b")
    [_] = site.claim([other])
    for faults in (1, 2, 3):
        assert site.claim([job_id], lease_s=-1)
        with site.services.begin() as session:
            assert queueing.reclaim_expired(session).total() == 1
            assert queueing.reclaim_expired(session).total() == 0
        assert site.get_job(job_id).faults == faults
    assert site.get_job(job_id).state is State.QUARANTINED
    assert site.get_job(job_id).reason_code == "worker_lost"
    assert site.get_job(other).state is State.RUNNING
    attempts = site.list_attempts(job_id)
    assert [(attempt.number, attempt.outcome) for attempt in attempts] == [(n, Outcome.EXPIRED) for n in (1, 2, 3)]
    assert all(attempt.worker_id and attempt.started_at for attempt in attempts)


def test_queued_jobs_that_nobody_claims_are_found_when_their_deadline_has_passed(site: Site) -> None:
    batch = site.add_batch()
    job_ids = site.add_many_jobs(3, batch)
    with site.services.begin() as session:
        assert {job.id for job in queueing.queue(session, batch.id, Stage.INGEST, 9, 30)} == set(job_ids)
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


def test_the_oldest_jobs_are_queued_first(site: Site) -> None:
    batch = site.add_batch()
    job_ids = site.add_jobs("a", "b", "c", batch=batch)
    with site.services.begin() as session:
        session.execute(update(Job).where(Job.id == job_ids[2]).values(not_before=now(-60.0)))
        taken = [job.id for job in queueing.queue(session, batch.id, Stage.INGEST, 2, 30)]
    assert taken == [job_ids[2], job_ids[0]]


def test_dispatchers_that_queue_at_once_take_different_jobs(site: Site) -> None:
    batch = site.add_batch()
    site.add_many_jobs(40, batch)

    def take(_: int) -> list[uuid.UUID]:
        with site.services.begin() as session:
            return [job.id for job in queueing.queue(session, batch.id, Stage.INGEST, 10, 30)]

    with ThreadPoolExecutor(4) as pool:
        taken = [job_id for part in pool.map(take, range(4)) for job_id in part]
    assert len(taken) == len(set(taken)) == 40
