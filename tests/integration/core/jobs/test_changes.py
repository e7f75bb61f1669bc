"""Adding, cancelling, pausing and retrying, on each database."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session
from tests.integration.conftest import Site

from retint.columns import now
from retint.errors import IllegalMove, InvalidPhoto, NotFound
from retint.jobs import changes, queueing
from retint.jobs.leases import Done
from retint.lifecycle import Outcome, Stage, State
from retint.tables import Batch, Job, Photo


def test_quarantined_jobs_get_another_three_attempts(site: Site) -> None:
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
        first = _add_photo(session, batch)
        assert changes.add_job(session, batch, first, "a.jpg").id == changes.add_job(session, batch, first, "a.jpg").id
        assert changes.add_job(session, batch, first, "a.jpg").id != changes.add_job(session, batch, first, "b.jpg").id


def _add_photo(session: Session, batch: Batch) -> Photo:
    photo = Photo(tenant_id=batch.tenant_id, sha256="0" * 64, size=1)
    session.add(photo)
    session.flush()
    return photo
