"""What is here is not computed again: a job takes over the same tenant's result, and never a wrong one."""

import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update
from tests.integration.conftest import Site

from retint import recipes
from retint.columns import now
from retint.jobs import changes, long_moves, queueing, takeovers
from retint.jobs.leases import Done
from retint.lifecycle import STAGES, Outcome, Stage, State
from retint.recipes import Recipe
from retint.tables import Batch, Job, Photo, StoredRecipe

RECIPE = recipes.parse({})


def hash_making(recipe: Recipe = RECIPE, **weights: str) -> str | None:
    return recipes.hash_making(recipe, recipes.find_weights(recipe, Path("nowhere")) | weights)


def add_photo(site: Site, tenant: str = "museum") -> Photo:
    with site.services.begin() as session:
        photo = Photo(tenant_id=site.get_tenant(tenant), sha256=uuid.uuid4().hex * 2, size=1)
        session.add(photo)
    return photo


def add_job(site: Site, batch: Batch, photo: Photo, name: str = "a.jpg") -> uuid.UUID:
    with site.services.begin() as session:
        return changes.add_job(session, batch, photo, name).id


def restore(site: Site, job_id: uuid.UUID, made_with: str | None, risk: float | None = 0.25) -> None:
    """Run a job through all stages as a worker would."""
    for stage in STAGES:
        [lease] = site.claim([job_id], stage)
        making = made_with if stage is Stage.RENDER else None
        facts = {"sha256": "f" * 64, "stage": stage, "risk": risk}
        assert site.settle((lease, Done({str(stage): lease.file_key("file")}, facts, {"work": 1.0}, making)))
    assert site.get_job(job_id).state is State.RESTORED


def make_result(site: Site, photo: Photo, tenant: str = "museum", made_with: str | None = None) -> uuid.UUID:
    job_id = add_job(site, site.add_batch(tenant), photo)
    restore(site, job_id, made_with or hash_making())
    return job_id


def take_over(site: Site, batch: Batch, limit: int = 100, recipe: Recipe = RECIPE, imported: Path | None = None) -> int:
    with site.services.begin() as session:
        return takeovers.take_over(session, batch.tenant_id, batch.id, recipe, limit, imported or site.settings.weights)


def test_a_job_takes_over_the_files_and_facts_of_a_result_that_is_here(site: Site) -> None:
    photo = add_photo(site)
    source = make_result(site, photo)
    batch = site.add_batch()
    job_id = add_job(site, batch, photo, "the same again.jpg")
    assert take_over(site, batch) == 1
    job = site.get_job(job_id)
    assert (job.stage, job.state, job.made_with) == (Stage.RENDER, State.RESTORED, None)
    assert job.risk == site.get_job(source).risk == 0.25
    assert job.ended_at is not None
    own, others = site.list_attempts(job_id), site.list_attempts(source)
    assert [(each.stage, each.files, each.facts) for each in own] == [
        (each.stage, each.files, each.facts) for each in others
    ]
    assert {each.source for each in own} == {source}
    assert {each.source for each in others} == {None}
    assert [each.number for each in own] == [1, 2, 3, 4]
    assert all(each.seconds == 0 and each.timings == {} and each.worker_id is None for each in own)
    assert site.read_counts(batch.id).restored == 1
    assert site.read_counts(batch.id).by == site.count_rows(batch.id)


def test_known_and_unknown_risks_are_taken_over_together(site: Site) -> None:
    photos, batch = [add_photo(site) for _ in range(3)], site.add_batch()
    for photo, risk in zip(photos, (0.25, None, 0.75), strict=True):
        restore(site, add_job(site, site.add_batch(), photo), hash_making(), risk)
    taken = [add_job(site, batch, photo) for photo in photos[:2]]
    assert take_over(site, batch) == 2
    assert [site.get_job(job_id).risk for job_id in taken] == [0.25, None]
    alone = add_job(site, batch, photos[1], "b.jpg")
    assert take_over(site, batch) == 1
    assert site.get_job(alone).risk is None


def test_a_job_that_took_over_is_no_source_itself_but_its_source_is(site: Site) -> None:
    photo = add_photo(site)
    source = make_result(site, photo)
    for _ in range(2):
        batch = site.add_batch()
        job_id = add_job(site, batch, photo)
        assert take_over(site, batch) == 1
        assert {each.source for each in site.list_attempts(job_id)} == {source}


def test_a_result_of_another_tenant_is_never_taken_over(site: Site) -> None:
    photo = add_photo(site)
    make_result(site, photo)
    batch = site.add_batch("another museum")
    with site.services.begin() as session:  # no deposit makes such a row: photos are a tenant's own
        job = Job(tenant_id=batch.tenant_id, batch_id=batch.id, photo_id=photo.id, name="a.jpg")
        session.add(job)
    assert take_over(site, batch) == 0
    assert site.get_job(job.id).state is State.READY


@pytest.mark.parametrize(
    "other",
    [
        {"region": "whole"},
        {"region": [[0.1, 0.1, 0.5, 0.5]]},
        {"strength": 0.5},
        {"colorizer": "keep"},
        {"colorizer_settings": {"gain": 2.0}},
        {"invert": True},
    ],
)
def test_another_recipe_or_region_is_computed(site: Site, other: dict[str, Any]) -> None:
    photo = add_photo(site)
    make_result(site, photo)
    recipe = recipes.parse(other)
    batch = site.add_batch(recipe=recipe)
    add_job(site, batch, photo)
    assert take_over(site, batch, recipe=recipe) == 0


def test_another_photo_is_computed_and_so_is_one_whose_making_is_not_known(site: Site) -> None:
    photo = add_photo(site)
    restore(site, add_job(site, site.add_batch(), photo), None)
    make_result(site, add_photo(site))
    batch = site.add_batch()
    add_job(site, batch, photo)
    assert take_over(site, batch) == 0


def test_weights_that_were_replaced_under_the_same_name_make_another_result(site: Site, tmp_path: Path) -> None:
    photo = add_photo(site)
    make_result(site, photo)
    batch = site.add_batch()
    job_id = add_job(site, batch, photo)
    (tmp_path / "compact.toml").write_text(f'sha256 = "{"e" * 64}"\n')
    (tmp_path / "compact.safetensors").write_bytes(b"other weights")
    assert take_over(site, batch, imported=tmp_path) == 0
    newer = make_result(site, photo, made_with=hash_making(compact="e" * 64))
    assert take_over(site, batch, imported=tmp_path) == 1
    assert {each.source for each in site.list_attempts(job_id)} == {newer}


def test_where_the_weights_are_not_known_nothing_is_taken_over() -> None:
    recipe = recipes.parse({"colorizer": "artistic"})
    assert hash_making(recipe) is None
    assert hash_making(recipe, artistic="a" * 64) is not None
    assert hash_making(recipes.parse({"colorizer": "keep", "defader": "keep"})) is not None


def test_another_version_of_the_pipeline_makes_another_result(monkeypatch: pytest.MonkeyPatch) -> None:
    before = hash_making()
    monkeypatch.setattr(recipes, "__version__", "99")
    assert hash_making() != before


def test_a_job_with_a_recipe_of_its_own_takes_over_what_that_recipe_made(site: Site) -> None:
    photo, gray = add_photo(site), recipes.parse({"colorizer": "keep"})
    colored = make_result(site, photo)
    kept = make_result(site, photo, made_with=hash_making(gray))
    batch = site.add_batch()
    job_ids = [add_job(site, batch, photo, name) for name in ("colored", "kept", "of a recipe that is gone")]
    with site.services.begin() as session:
        session.add(StoredRecipe(hash=gray.hash, recipe=gray.model_dump()))
        session.execute(update(Job).where(Job.id == job_ids[1]).values(recipe_hash=gray.hash))
        session.execute(update(Job).where(Job.id == job_ids[2]).values(recipe_hash="0" * 64))
    assert take_over(site, batch) == 2
    sources = [{each.source for each in site.list_attempts(job_id)} for job_id in job_ids]
    assert sources == [{colored}, {kept}, set()]


def test_only_jobs_that_have_not_begun_take_over(site: Site) -> None:
    photo = add_photo(site)
    batch = site.add_batch()
    names = ("begun", "running", "waits out its backoff", "new")
    begun, running, later, new = (add_job(site, batch, photo, name) for name in names)
    [lease] = site.claim([begun])
    site.settle((lease, Done()))
    site.claim([running])
    make_result(site, photo)
    with site.services.begin() as session:
        session.execute(update(Job).where(Job.id == begun).values(state=State.READY))
        session.execute(update(Job).where(Job.id == later).values(not_before=now(60.0)))
    assert take_over(site, batch) == 1
    assert site.get_job(new).state is State.RESTORED
    assert site.count_states([begun, running, later]) == {State.READY: 2, State.RUNNING: 1}


def test_a_job_that_failed_before_takes_over_with_attempts_that_follow(site: Site) -> None:
    photo = add_photo(site)
    batch = site.add_batch()
    job_id = add_job(site, batch, photo)
    site.claim([job_id], lease_s=-1)
    with site.services.begin() as session:
        queueing.reclaim_expired(session)
    make_result(site, photo)
    assert take_over(site, batch) == 1
    outcomes = [(each.number, each.outcome) for each in site.list_attempts(job_id)]
    assert outcomes == [(1, Outcome.EXPIRED), *((n, Outcome.DONE) for n in (2, 3, 4, 5))]
    assert site.get_job(job_id).reason is None


@pytest.mark.parametrize("hold", ["pause", "cancel"])
def test_nothing_of_a_batch_on_hold_is_taken_over(site: Site, hold: str) -> None:
    photo = add_photo(site)
    make_result(site, photo)
    batch = site.add_batch()
    job_id = add_job(site, batch, photo)
    with site.services.begin() as session:
        if hold == "pause":
            session.execute(update(Batch).where(Batch.id == batch.id).values(paused_at=now()))
        else:
            long_moves.cancel_batch(session, batch.tenant_id, batch.id)
    assert take_over(site, batch) == 0
    assert site.get_job(job_id).state is State.READY


def test_dispatchers_that_take_over_at_once_move_each_job_once(site: Site) -> None:
    photos = [add_photo(site) for _ in range(12)]
    for photo in photos:
        make_result(site, photo)
    batch = site.add_batch()
    job_ids = [add_job(site, batch, photo) for photo in photos]
    with ThreadPoolExecutor(4) as pool:
        taken = sum(pool.map(lambda _: take_over(site, batch, 6), range(8)))
    assert taken == 12
    assert site.count_states(job_ids) == {State.RESTORED: 12}
    assert site.count_outcomes(job_ids) == {(stage, Outcome.DONE): 12 for stage in STAGES}


def test_a_worker_that_claims_meanwhile_and_a_takeover_never_both_have_a_job(site: Site) -> None:
    photos = [add_photo(site) for _ in range(20)]
    for photo in photos:
        make_result(site, photo)
    batch = site.add_batch()
    job_ids = [add_job(site, batch, photo) for photo in photos]
    with ThreadPoolExecutor(2) as pool:
        claims = pool.submit(lambda: [site.claim([job_id]) for job_id in reversed(job_ids)])
        taken = sum(take_over(site, batch, 3) for _ in range(10))
        claimed = sum(len(leases) for leases in claims.result())
    taken += take_over(site, batch)
    assert taken + claimed == 20
    assert site.count_states(job_ids)[State.RUNNING] == claimed
    with site.services.read() as session:
        assert set(session.scalars(select(Job.attempt).where(Job.id.in_(job_ids)))) <= {1, len(STAGES)}
