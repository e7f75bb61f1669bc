"""A job takes another one's place, on each database."""

import threading
import uuid

import pytest
from sqlalchemy import select
from tests.integration.conftest import Site

from retint import batches, chains, recipes
from retint.errors import IllegalMove, InvalidPhoto, NotFound
from retint.jobs import changes, tallies
from retint.jobs.leases import Done
from retint.lifecycle import STAGES, Stage, State
from retint.tables import Batch, Job, StoredRecipe

KEEP = recipes.parse({"colorizer": "keep"})


def restore(site: Site, *job_ids: uuid.UUID) -> None:
    for stage in STAGES:
        facts = {"sha256": stage.value} if stage is Stage.RENDER else {}
        site.settle(*[(lease, Done({}, facts)) for lease in site.claim(list(job_ids), stage)])


def replace(site: Site, batch: Batch, job_id: uuid.UUID, recipe: recipes.Recipe | None = None) -> Job:
    with site.services.begin() as session:
        return changes.replace_job(session, batch.tenant_id, job_id, recipe)


def test_the_new_job_is_listed_and_counted_in_the_place_of_the_old_one(site: Site) -> None:
    batch = site.add_batch()
    job_ids = site.add_jobs("a.jpg", "b.jpg", batch=batch)
    restore(site, *job_ids)
    new = replace(site, batch, job_ids[0], KEEP)
    assert (new.name, new.photo_id, new.replaces) == ("a.jpg", site.get_job(job_ids[0]).photo_id, job_ids[0])
    assert (site.get_job(job_ids[0]).state, site.get_job(job_ids[0]).replaced_by) == (State.RESTORED, new.id)
    counts = site.read_counts(batch.id)
    assert (counts.total, counts.restored, counts.ready) == (2, 1, 1)
    with site.services.begin() as session:
        tallies.fold(session)
        listed = batches.list_jobs_page(session, batch.tenant_id, batch.id)
        restored = batches.list_jobs_page(session, batch.tenant_id, batch.id, state=State.RESTORED)
    assert [job.id for job in listed] == [job_ids[1], new.id]
    assert [job.id for job in restored] == [job_ids[1]]
    assert site.read_counts(batch.id).by == site.count_rows(batch.id)


def test_it_goes_through_its_own_recipe_and_the_next_one_keeps_it(site: Site) -> None:
    batch = site.add_batch()
    [job_id] = site.add_jobs("a.jpg", batch=batch)
    restore(site, job_id)
    second = replace(site, batch, job_id, KEEP)
    [lease] = site.claim([second.id])
    assert lease.recipe == KEEP
    site.settle((lease, InvalidPhoto("no")))
    third = replace(site, batch, second.id)
    with site.services.begin() as session:
        assert chains.get_recipe(session, third) == KEEP
        assert session.scalars(select(StoredRecipe.hash)).all() == [KEEP.hash]
    site.settle((site.claim([third.id])[0], InvalidPhoto("no")))
    fourth = replace(site, batch, third.id, recipes.parse({}))
    assert fourth.recipe_hash is None, "it is the batch's"


def test_a_chain_is_told_from_each_of_its_jobs(site: Site) -> None:
    batch, other = site.add_batch(), site.add_batch("archive")
    [job_id, alone] = site.add_jobs("a.jpg", "b.jpg", batch=batch)
    restore(site, job_id)
    second = replace(site, batch, job_id)
    restore(site, second.id)
    third = replace(site, batch, second.id)
    expected = [job_id, second.id, third.id]
    with site.services.read() as session:
        for each in expected:
            assert [link.job_id for link in chains.load(session, batch.tenant_id, each)] == expected
        earlier = chains.load_earlier(session, [third.id, alone])
        with pytest.raises(NotFound):
            chains.load(session, other.tenant_id, job_id)
    assert {newest: [(link.job_id, link.result_sha256) for link in links] for newest, links in earlier.items()} == {
        third.id: [(job_id, "render"), (second.id, "render")]
    }


def test_only_what_has_ended_is_replaced_and_only_once(site: Site) -> None:
    batch, other = site.add_batch(), site.add_batch("archive")
    running, refused = site.add_jobs("a.jpg", "b.jpg", batch=batch)
    site.settle((site.claim([refused])[0], InvalidPhoto("no")))
    with pytest.raises(IllegalMove, match="This photo is ready"):
        replace(site, batch, running)
    with pytest.raises(NotFound):
        replace(site, other, refused)
    new = replace(site, batch, refused)
    with pytest.raises(IllegalMove, match=f"place: {new.id}"):
        replace(site, batch, refused)
    with site.services.begin() as session:
        assert changes.replace_jobs(session, other.id, [new.id]) == []
        changes.close_batch(session, batch.tenant_id, batch.id)
    with pytest.raises(IllegalMove, match="cancelled"):
        replace(site, batch, new.id)


def test_a_quarantined_job_is_cancelled_first(site: Site) -> None:
    batch = site.add_batch()
    [job_id] = site.add_many_jobs(1, batch, State.QUARANTINED)
    replace(site, batch, job_id)
    assert site.get_job(job_id).state is State.CANCELLED
    assert site.read_counts(batch.id).by == {(Stage.INGEST, State.READY): 1}


def test_of_many_who_replace_a_job_at_once_one_does(site: Site) -> None:
    batch = site.add_batch()
    job_ids = site.add_many_jobs(20, batch, State.REFUSED)
    added: list[uuid.UUID] = []
    start = threading.Barrier(4)

    def work() -> None:
        start.wait()
        with site.services.begin() as session:
            added.extend(job.id for job in changes.replace_jobs(session, batch.id, job_ids))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(added) == len(set(added)) == 20
    assert site.read_counts(batch.id).by == {(Stage.INGEST, State.READY): 20}
