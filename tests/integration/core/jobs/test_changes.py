"""Adding, cancelling, pausing and retrying, on each database."""

import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session
from tests.integration.conftest import Site

from retint.columns import now
from retint.errors import IllegalMove, InvalidPhoto, NotFound
from retint.jobs import changes, long_moves, queueing
from retint.jobs.leases import Done
from retint.lifecycle import Outcome, Stage, State
from retint.tables import Batch, Job, Photo


def test_quarantined_jobs_get_another_three_attempts(site: Site) -> None:
    batch, other = site.add_batch(), site.add_batch("archive")
    job_ids = site.add_many_jobs(2, batch, State.QUARANTINED)
    [theirs] = site.add_many_jobs(1, other, State.QUARANTINED)
    with site.services.begin() as session:
        session.execute(update(Job).values(faults=3, started_at=now(-60)))
        session.execute(update(Job).where(Job.id == job_ids[0]).values(reason_code="worker_lost"))
        assert not changes.retry_job(session, other.tenant_id, job_ids[1])
        assert changes.retry_job(session, batch.tenant_id, job_ids[1])
        assert not changes.retry_job(session, batch.tenant_id, job_ids[1])
    assert retry(site, other.tenant_id, batch_id=batch.id) == 0
    assert retry(site, batch.tenant_id, reason_code="bug") == 0
    assert retry(site, batch.tenant_id, reason_code="worker_lost") == 1
    assert retry(site, batch.tenant_id) == 0
    assert retry(site, None) == 1
    assert site.count_states([*job_ids, theirs]) == {State.READY: 3}
    assert (site.get_job(theirs).faults, site.get_job(theirs).reason) == (0, None)


def retry(site: Site, tenant_id: uuid.UUID | None, **chosen: Any) -> int:
    with site.services.begin() as session:
        move_id = long_moves.retry_failures(session, tenant_id, **chosen)
    move = long_moves.carry_out(site.services, move_id)
    assert move.ended_at
    return move.moved


def cancel(site: Site, batch: Batch) -> int:
    with site.services.begin() as session:
        move_id = long_moves.cancel_batch(session, batch.tenant_id, batch.id)
    return long_moves.carry_out(site.services, move_id).moved


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
    assert cancel(site, batch) == 4
    assert cancel(site, batch) == 0
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
        long_moves.cancel_batch(session, site.get_tenant("archive"), batch.id)


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

        def end(_: int, batch: Batch = batch) -> None:
            cancel(site, batch)

        with ThreadPoolExecutor(4) as pool:
            racing = [pool.submit(work, number) for number, work in enumerate((deposit, deposit, end, deposit))]
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


def test_many_jobs_are_moved_in_chunks_and_the_dispatcher_ends_what_a_crash_left(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(long_moves, "CHUNK", 10)
    batch = site.add_batch()
    job_ids = site.add_many_jobs(25, batch)
    with site.services.begin() as session:
        move_id = long_moves.cancel_batch(session, batch.tenant_id, batch.id)
        assert long_moves.advance(session, move_id)
    assert site.count_states(job_ids) == {State.CANCELLED: 10, State.READY: 15}
    assert site.claim(job_ids) == []
    with site.services.begin() as session:
        assert long_moves.list_open(session) == [move_id]
        assert long_moves.advance(session, move_id)
        assert not long_moves.advance(session, move_id)
        assert long_moves.list_open(session) == []
    assert site.count_states(job_ids) == {State.CANCELLED: 25}


def test_a_job_that_fails_again_while_others_are_retried_keeps_its_new_failure(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(long_moves, "CHUNK", 2)
    batch = site.add_batch()
    job_ids = site.add_many_jobs(3, batch, State.QUARANTINED)
    with site.services.begin() as session:
        session.execute(update(Job).values(started_at=now(-60)))
        move_id = long_moves.retry_failures(session, batch.tenant_id)
        assert long_moves.advance(session, move_id)
    with site.services.begin() as session:
        again = update(Job).where(Job.state == State.READY).values(state=State.QUARANTINED, started_at=now(1))
        session.execute(again)
    assert long_moves.carry_out(site.services, move_id).moved == 3
    assert site.count_states(job_ids) == {State.QUARANTINED: 2, State.READY: 1}
