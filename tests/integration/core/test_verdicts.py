"""Results are judged, on each database."""

import threading
import uuid
from typing import Any

import pytest
from sqlalchemy import event, select, update
from tests.integration.conftest import Site

from retint import recipes, reports, verdicts
from retint.errors import IllegalMove, InvalidPhoto, InvalidRequest, NotFound
from retint.jobs import changes, tallies
from retint.jobs.leases import Done
from retint.lifecycle import STAGES, Stage, State, Verdict
from retint.tables import Batch, Job, Judgement, User

KEEP = recipes.parse({"colorizer": "keep"})


def restore(site: Site, *job_ids: uuid.UUID, sha256: str = "a" * 64, risks: tuple[float | None, ...] = ()) -> None:
    """Restore jobs as workers would, with these risks."""
    given = dict(zip(job_ids, risks, strict=False))
    for stage in STAGES:
        leases = site.claim(list(job_ids), stage)
        is_last = stage is Stage.RENDER
        ends = [Done({}, {"sha256": sha256, "risk": given.get(lease.job_id)} if is_last else {}) for lease in leases]
        site.settle(*zip(leases, ends, strict=True))


def judge(site: Site, batch: Batch, job_id: uuid.UUID, verdict: Verdict, **seen: Any) -> None:
    values = {"seen_sha256": "a" * 64, "seen_verdict": Verdict.UNJUDGED, **seen}
    with site.services.begin() as session:
        verdicts.judge(session, batch.tenant_id, job_id, verdict, **values)


def add_user(site: Site, batch: Batch, email: str) -> uuid.UUID:
    with site.services.begin() as session:
        user = User(tenant_id=batch.tenant_id, email=email)
        session.add(user)
    return user.id


def list_ids(site: Site, batch: Batch, verdict: Verdict, **page: Any) -> list[uuid.UUID]:
    with site.services.read() as session:
        return [each.job_id for each in verdicts.list_page(session, batch.tenant_id, batch.id, verdict, **page)]


def test_a_verdict_is_written_counted_listed_and_taken_back(site: Site) -> None:
    batch = site.add_batch()
    job_ids = site.add_jobs("a.jpg", "b.jpg", "c.jpg", batch=batch)
    restore(site, *job_ids[:2])
    ana = add_user(site, batch, "ana@museum.example")
    judge(site, batch, job_ids[0], Verdict.APPROVED, note=" Lovely. ", by=ana)
    counts = site.read_counts(batch.id)
    assert counts.verdicts == {Verdict.APPROVED: 1, Verdict.UNJUDGED: 1}
    assert (counts.restored, counts.total) == (2, 3)
    with site.services.begin() as session:
        tallies.fold(session)
    assert site.read_counts(batch.id) == counts
    assert list_ids(site, batch, Verdict.APPROVED) == [job_ids[0]]
    assert list_ids(site, batch, Verdict.UNJUDGED) == [job_ids[1]]
    row = next(iter(reports.read(site.services, batch.tenant_id, batch.id)))
    assert row.said is not None
    assert (row.said.verdict, row.said.note, row.said.by) == (Verdict.APPROVED, "Lovely.", "ana@museum.example")
    judge(site, batch, job_ids[0], Verdict.UNJUDGED, seen_verdict=Verdict.APPROVED)
    assert site.read_counts(batch.id).verdicts == {Verdict.UNJUDGED: 2}
    with site.services.read() as session:
        assert session.scalars(select(Judgement.verdict).order_by(Judgement.id)).all() == ["approved", "unjudged"]


def test_the_riskiest_comes_first_page_by_page(site: Site) -> None:
    batch = site.add_batch()
    job_ids = site.add_jobs(*(f"{number}.jpg" for number in range(7)), batch=batch)
    restore(site, *job_ids, risks=(0.2, None, 0.9, 0.2, None, 0.5, 0.0))
    expected = [job_ids[number] for number in (2, 5, 3, 0, 6, 1, 4)]
    assert list_ids(site, batch, Verdict.UNJUDGED) == expected
    found: list[uuid.UUID] = []
    while page := list_ids(site, batch, Verdict.UNJUDGED, after=found[-1] if found else None, limit=2):
        found += page
    assert found == expected


def test_a_page_of_results_reads_a_few_entries_of_one_index(site: Site) -> None:
    batch = site.add_batch()
    site.add_many_jobs(300, batch, State.RESTORED)
    statements: list[tuple[str, Any]] = []

    def note(_: object, __: object, statement: str, parameters: Any, *___: object) -> None:
        statements.append((statement, parameters))

    event.listen(site.services.engine, "before_cursor_execute", note)
    list_ids(site, batch, Verdict.UNJUDGED, limit=5)
    event.remove(site.services.engine, "before_cursor_execute", note)
    ordered = [each for each in statements if "risk IS" in each[0]]
    assert len(ordered) == 2
    with site.services.engine.begin() as connection:
        explain = "EXPLAIN QUERY PLAN" if connection.dialect.name == "sqlite" else "EXPLAIN"
        if explain == "EXPLAIN":
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
            connection.exec_driver_sql("SET LOCAL enable_bitmapscan = off")
        for statement, parameters in ordered:
            plan = str(connection.exec_driver_sql(f"{explain} {statement}", parameters).all())
            assert "ix_jobs_results" in plan, plan
            assert "Sort" not in plan, plan
            assert "TEMP B-TREE" not in plan, plan


def test_of_two_reviewers_the_second_hears_what_the_first_said(site: Site) -> None:
    batch = site.add_batch()
    [job_id] = site.add_jobs("a.jpg", batch=batch)
    restore(site, job_id)
    ana = add_user(site, batch, "ana@museum.example")
    start, told = threading.Barrier(2), list[str]()

    def work(verdict: Verdict) -> None:
        start.wait()
        try:
            judge(site, batch, job_id, verdict, by=ana)
        except IllegalMove as error:
            told.append(error.message)

    threads = [threading.Thread(target=work, args=[verdict]) for verdict in (Verdict.APPROVED, Verdict.REJECTED)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    verdict = site.get_job(job_id).verdict
    assert len(told) == 1
    assert told[0].startswith(f"ana@museum.example {verdict} this photo at ")
    with site.services.read() as session:
        assert session.scalars(select(Judgement.verdict)).all() == [verdict]


def test_a_verdict_belongs_to_the_result_that_was_looked_at(site: Site) -> None:
    batch, other = site.add_batch(), site.add_batch("archive")
    done, running, refused = site.add_jobs("a.jpg", "b.jpg", "c.jpg", batch=batch)
    restore(site, done)
    site.settle((site.claim([refused])[0], InvalidPhoto("no")))
    with pytest.raises(IllegalMove, match="another result"):
        judge(site, batch, done, Verdict.APPROVED, seen_sha256="b" * 64)
    for job_id in (running, refused):
        with pytest.raises(IllegalMove, match="no result"):
            judge(site, batch, job_id, Verdict.APPROVED)
    with pytest.raises(NotFound):
        judge(site, other, done, Verdict.APPROVED)
    with pytest.raises(InvalidRequest, match="2000 characters"):
        judge(site, batch, done, Verdict.APPROVED, note="x" * 2001)
    with site.services.begin() as session:
        changes.replace_job(session, batch.tenant_id, done)
    with pytest.raises(IllegalMove, match="made anew"):
        judge(site, batch, done, Verdict.APPROVED)
    assert site.get_job(done).verdict is Verdict.UNJUDGED


def test_a_file_has_one_approved_result(site: Site) -> None:
    batch = site.add_batch()
    [first] = site.add_jobs("a.jpg", batch=batch)
    restore(site, first)
    judge(site, batch, first, Verdict.APPROVED)
    with site.services.begin() as session:
        seen: dict[str, Any] = {"seen_sha256": "a" * 64, "seen_verdict": Verdict.APPROVED}
        second = verdicts.rework(session, batch.tenant_id, first, KEEP, note="too blue", **seen)
    assert (second.recipe_hash, second.verdict) == (KEEP.hash, Verdict.UNJUDGED)
    assert site.get_job(first).verdict is Verdict.REWORK
    with site.services.begin() as session:  # as if it had been approved while the other one was made
        session.execute(update(Job).where(Job.id == first).values(verdict=Verdict.APPROVED))
    restore(site, second.id, sha256="b" * 64)
    assert list_ids(site, batch, Verdict.UNJUDGED) == [second.id]
    judge(site, batch, second.id, Verdict.APPROVED, seen_sha256="b" * 64)
    assert site.get_job(first).verdict is Verdict.UNJUDGED
    assert site.read_counts(batch.id).verdicts == {Verdict.APPROVED: 1}
    with site.services.read() as session:
        assert verdicts.load_said(session, [first])[first].note == verdicts.ANOTHER_APPROVED
