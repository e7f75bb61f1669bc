"""Counts by stage and state agree with the rows, on each database."""

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import delete, event, select, text, true, update
from tests.integration.conftest import Site

from retint.columns import now
from retint.errors import InvalidPhoto, OutOfMemory, RetintError
from retint.jobs import changes, queueing, tallies
from retint.jobs.leases import Done, Lease, claim, settle
from retint.lifecycle import FINAL, STAGES, Stage, State
from retint.tables import Attempt, Batch, Job, Tally


@pytest.mark.parametrize("seed", range(3))
def test_the_tallies_agree_with_the_rows_whatever_moves(site: Site, seed: int) -> None:
    dice = random.Random(seed)
    batches = [site.add_batch(), site.add_batch("archive")]
    job_ids = [job_id for batch in batches for job_id in site.add_many_jobs(12, batch)]
    leases: list[Lease] = []
    ends: list[Done | RetintError] = [Done(), Done(), Done(), InvalidPhoto("no"), OutOfMemory("again")]
    for _ in range(60):
        some = dice.sample(job_ids, 6)
        batch = dice.choice(batches)
        with site.services.begin() as session:
            match dice.randrange(12):
                case 0 | 1:
                    queueing.queue(session, batch.id, dice.choice(STAGES), 4, 30)
                case 2 | 3 | 4:
                    lease_s = dice.choice([60, -1])
                    for stage in STAGES:
                        leases += claim(session, stage, some, None, lease_s)
                case 5 | 6:
                    ended = {lease.job_id: (lease, dice.choice(ends)) for lease in leases}
                    settle(session, list(ended.values()), backoff_s=0.001, requeue_s=30)
                    leases.clear()
                case 7:
                    queueing.reclaim_expired(session)
                case 8:
                    changes.retry(session, true())
                    tallies.fold(session)
                case 9 if (chosen := session.get_one(Job, some[0])).state not in FINAL:
                    changes.cancel_job(session, chosen.tenant_id, chosen.id)
                case 10 | 11:
                    added = changes.replace_jobs(session, batch.id, some)
                    job_ids += [job.id for job in added]
                case _:
                    queueing.unqueue(session, some)
        for each in batches:
            assert site.read_counts(each.id).by == site.count_rows(each.id)
    with site.services.begin() as session:
        session.execute(delete(Attempt))
        session.execute(delete(Job))
        assert tallies.count_jobs(session, [batches[0].id])[batches[0].id].total == 0
    fold(site)
    with site.services.read() as session:
        assert session.scalars(select(Tally)).all() == []


def fold(site: Site) -> None:
    with site.services.begin() as session:
        tallies.fold(session)


@pytest.mark.parametrize("most", [3, tallies.FOLD])
def test_folding_while_others_count_loses_nothing(site: Site, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tallies, "FOLD", most)
    batch = site.add_batch()
    stop = threading.Event()

    def fold_on() -> None:
        while not stop.is_set():
            fold(site)

    def work(_: int) -> None:
        for _ in range(6):
            leases = site.claim(site.add_many_jobs(4, batch))
            site.settle(*[(lease, Done()) for lease in leases])

    folders = [threading.Thread(target=fold_on) for _ in range(2)]
    for thread in folders:
        thread.start()
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(work, range(3)))
    stop.set()
    for thread in folders:
        thread.join()
    assert site.read_counts(batch.id).by == site.count_rows(batch.id) == {(Stage.COLORIZE, State.QUEUED): 72}


def test_many_tallies_are_folded_a_few_at_a_time(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tallies, "FOLD", 3)  # a claim writes two, a deposit one
    batch = site.add_batch()
    for _ in range(4):
        site.claim(site.add_many_jobs(2, batch)[:1])
    numbers = [count_new(site)]
    for _ in range(8):
        fold(site)
        numbers.append(count_new(site))
        assert site.read_counts(batch.id).by == site.count_rows(batch.id)
    assert numbers[-1] == 0
    assert numbers[0] == 0 or 0 < numbers[1] <= numbers[0] - 3  # SQLite has none


def count_new(site: Site) -> int:
    with site.services.read() as session:
        return len(session.scalars(select(Tally).where(Tally.xid > 0)).all())


def test_a_folded_batch_has_few_tallies_however_many_jobs(site: Site) -> None:
    batch = site.add_batch()
    site.claim(site.add_many_jobs(50, batch)[:20])
    fold(site)
    fold(site)
    with site.services.read() as session:
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
    assert groups[0].reason.endswith(" is not a photograph.")
    assert (everywhere[0].count, everywhere[0].batches) == (4, 2)
    assert [group.count for group in here] == [1]


def test_counting_passes_over_tallies_that_an_old_snapshot_keeps(postgresql_site: Site) -> None:
    site, batch = postgresql_site, postgresql_site.add_batch()
    with site.services.engine.connect().execution_options(isolation_level="REPEATABLE READ") as dump:
        dump.execute(text("SELECT count(*) FROM tallies"))  # from here on PostgreSQL keeps what is deleted
        for lease in site.claim(site.add_many_jobs(1000, batch)):
            site.settle((lease, Done()))
        before = measure_counting(site, batch)
        fold(site)
        assert site.read_counts(batch.id).total == 1000
        assert measure_counting(site, batch) < before / 5


def measure_counting(site: Site, batch: Batch) -> int:
    """Return how many pages of the database are read to count a batch."""
    statements: list[tuple[str, Any]] = []

    def note(_: object, __: object, statement: str, parameters: Any, *___: object) -> None:
        statements.append((statement, parameters))

    event.listen(site.services.engine, "before_cursor_execute", note)
    site.read_counts(batch.id)
    event.remove(site.services.engine, "before_cursor_execute", note)
    with site.services.engine.begin() as connection:
        connection.execute(text("SET LOCAL enable_seqscan = off"))  # the table is small
        statement, parameters = next(pair for pair in statements if "FROM tallies" in pair[0])
        explained = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}", parameters)
        plan = explained.scalar_one()[0]["Plan"]
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])
