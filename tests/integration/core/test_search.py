"""Photos are found by the same words on both databases, in the same order."""

import uuid

import pytest
from sqlalchemy import select
from tests.integration.conftest import Site

from retint import catalogue, search
from retint.catalogue_tables import SearchEntry
from retint.errors import NotFound
from retint.jobs import changes
from retint.jobs.leases import Done
from retint.lifecycle import STAGES, State
from retint.search import Query, Sort
from retint.tables import Batch, Job

TWO, TEN, HILL, ODD = "IMG_0002.tif", "IMG_0010.tif", "Hügel am Meer.JPG", "100% 'odd' (a*b) ~t.png"
CSV = '''filename;dc.title;identifier;rights
IMG_0002.tif;Straße nach Köln;NM 1923/45;CC0
IMG_0010.tif;"O'Brien's ""café""";NM 1923/46;https://rightsstatements.org/vocab/InC/1.0/
'''


@pytest.fixture
def batch(site: Site) -> Batch:
    batch = site.add_batch()
    site.add_jobs(f"album/{TWO}", f"album/{TEN}", HILL, ODD, batch=batch)
    catalogue.import_file(site.services, batch.tenant_id, batch.id, CSV.encode())
    return batch


def find(site: Site, batch: Batch, text: str = "", **query: object) -> list[str]:
    with site.services.read() as session:
        found = search.list_page(session, batch.tenant_id, Query(text, **query))  # type: ignore[arg-type]
    return [each.name.rpartition("/")[2] for each in found]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("IMG_0002.tif", {TWO}),
        ("img 00", {TWO, TEN}),
        ("0010", {TEN}),
        ("album tif", {TWO, TEN}),
        ("hugel", {HILL}),
        ("HÜGEL", {HILL}),
        ("hu\u0308g", {HILL}),
        ("strasse koln", {TWO}),
        ("Straße Köl", {TWO}),
        ("NM 1923/46", {TEN}),
        ("o'brien", {TEN}),
        ('"café"', {TEN}),
        ("rightsstatements InC", {TEN}),
        ("cc0", {TWO}),
        ("köln meer", set()),
        ("100%", {ODD}),
        ("(a*b)", {TEN, ODD}),
        ("'odd'", {ODD}),
        ("t", {TWO, TEN, ODD}),
        ("~t", {TWO, TEN, ODD}),
        ("' OR 1=1 --", {TEN}),
        ("img:* | !tif & <->", {TWO, TEN}),
        ('"', set()),
        ("\\", set()),
        ("…", set()),
        ("NEAR AND NOT", set()),
        ("x" * 500, set()),
        ("a " * 250, {TWO, TEN, HILL, ODD}),
    ],
)
def test_words_find_the_same_on_both_databases(site: Site, batch: Batch, text: str, found: set[str]) -> None:
    assert set(find(site, batch, text)) == found
    assert set(find(site, batch, text, batch_id=batch.id)) == found


def test_nothing_of_another_tenant_or_batch_is_found(site: Site, batch: Batch) -> None:
    other, foreign = site.add_batch(), site.add_batch("archive")
    site.add_jobs("IMG_0002.tif", batch=other)
    site.add_jobs("IMG_0002.tif", batch=foreign)
    assert find(site, batch, "img 0002") == [TWO, TWO]
    assert find(site, batch, "img 0002", batch_id=batch.id) == [TWO]
    assert find(site, foreign, "img 0002") == [TWO]
    with site.services.read() as session, pytest.raises(NotFound):
        search.list_page(session, batch.tenant_id, Query(batch_id=foreign.id))


def test_photos_come_in_the_order_that_is_asked_for_page_by_page(site: Site, batch: Batch) -> None:
    with site.services.read() as session:
        names = session.scalars(select(Job.name).where(Job.batch_id == batch.id).order_by(Job.id))
        deposited = [name.rpartition("/")[2] for name in names]
    orders = {Sort.DEPOSITED: deposited, Sort.NEWEST: deposited[::-1], Sort.NAME: [ODD, TWO, TEN, HILL]}
    for sort, order in orders.items():
        seen: list[str] = []
        after: uuid.UUID | None = None
        while True:
            with site.services.read() as session:
                page = search.list_page(session, batch.tenant_id, Query(sort=sort), after=after, limit=3)
            seen += [each.name.rpartition("/")[2] for each in page]
            if len(page) < 3:
                break
            after = page[-1].id
        assert seen == order, sort


def test_states_and_kinds_of_failure_choose(site: Site, batch: Batch) -> None:
    with site.services.begin() as session:
        jobs = {job.name: job for job in session.scalars(select(Job).where(Job.batch_id == batch.id))}
        refused, quarantined = jobs[f"album/{TWO}"], jobs[f"album/{TEN}"]
        refused.state, refused.reason_code = State.REFUSED, "empty"
        quarantined.state = State.QUARANTINED
    assert find(site, batch, "tif", state=State.READY) == []
    assert set(find(site, batch, state=State.READY)) == {ODD, HILL}
    assert find(site, batch, "tif", state=State.REFUSED) == [TWO]
    assert find(site, batch, reason_code="empty") == [TWO]
    assert find(site, batch, reason_code="unknown") == [TEN]


def test_of_a_file_the_newest_job_is_found_and_tries_and_proofs_are_not(site: Site, batch: Batch) -> None:
    [job_id] = site.add_jobs("rework.tif", batch=batch)
    for stage in STAGES:
        site.settle(*((lease, Done({}, {}, {})) for lease in site.claim([job_id], stage)))
    with site.services.begin() as session:
        newest = changes.replace_job(session, batch.tenant_id, job_id).id
    with site.services.read() as session:
        assert [each.id for each in search.list_page(session, batch.tenant_id, Query("rework"))] == [newest]
    for kind in ("trial", "proof_of"):
        hidden = site.add_batch()
        with site.services.begin() as session:
            setattr(session.get_one(Batch, hidden.id), kind, batch.id)
        setattr(hidden, kind, batch.id)
        site.add_jobs("rework.tif", batch=hidden)
    with site.services.read() as session:
        assert len(search.list_page(session, batch.tenant_id, Query("rework"))) == 1
        assert session.scalar(select(SearchEntry.job_id).where(SearchEntry.job_id == job_id)) is None
