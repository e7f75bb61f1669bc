"""Proofs: a few photos of a paused batch through a few recipes; then the batch goes on with one, on each database."""

import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath
from typing import Any

import pytest
from sqlalchemy import select, update
from tests.integration.conftest import Site

from retint import batches, fleets, proofs, recipes, samples
from retint.errors import IllegalMove, InvalidPhoto, InvalidRequest, NotFound, Refused
from retint.jobs import changes, long_moves, queueing, takeovers
from retint.jobs.leases import Done
from retint.lifecycle import STAGES, Stage, State
from retint.proofs import Proof
from retint.recipes import Recipe
from retint.tables import Attempt, Batch, Job, Photo, StoredRecipe

PLAIN, VIVID, GRAY = (recipes.parse({"colorizer": name}) for name in ("compact", "compact-vivid", "keep"))


def open_batch(site: Site, names: Sequence[str] = (), sizes: Sequence[int] = (), **others: Any) -> Batch:
    """Open a paused batch of photos."""
    tenant_id = site.get_tenant("museum")
    with site.services.begin() as session:
        batch = batches.open(session, tenant_id, "a batch", PLAIN, paused=True, **others)
        for number, name in enumerate(names):
            size = sizes[number] if sizes else 1000
            photo = Photo(tenant_id=tenant_id, sha256=uuid.uuid4().hex * 2, size=size)
            session.add(photo)
            session.flush()
            changes.add_job(session, batch, photo, name)
    return batch


def many(count: int) -> list[str]:
    return [f"box/{number:04}.tif" for number in range(count)]


def open_proof(site: Site, batch: Batch, *wanted: Recipe) -> None:
    with site.services.begin() as session:
        proofs.open(session, batch.tenant_id, batch.id, wanted or (PLAIN, VIVID))


def load(site: Site, batch: Batch) -> Proof:
    with site.services.read() as session:
        return proofs.load(session, batch.tenant_id, batch.id)


def release(site: Site, batch: Batch, recipe: Recipe) -> Batch:
    with site.services.begin() as session:
        return proofs.release(session, batch.tenant_id, batch.id, recipe.hash)


def run(site: Site, job_ids: Sequence[uuid.UUID], recipe: Recipe, stages: Sequence[Stage] = STAGES) -> None:
    """Run jobs through stages as workers would."""
    made_with = recipes.hash_making(recipe, recipes.find_weights(recipe))
    for stage in stages:
        leases = site.claim(list(job_ids), stage)
        assert len(leases) == len(job_ids)
        making = made_with if stage is Stage.RENDER else None
        site.settle(*((lease, Done({str(stage): lease.file_key("file")}, {}, {}, making)) for lease in leases))


def job_ids_of(proof: Proof, column: int) -> list[uuid.UUID]:
    return [each.job_id for each in proof.columns[column].tries]


def test_a_proof_shows_the_same_photos_through_each_recipe_and_hides_from_the_batches(site: Site) -> None:
    batch = open_batch(site, many(100))
    open_proof(site, batch)
    proof = load(site, batch)
    assert [column.recipe for column in proof.columns] == [PLAIN, VIVID]
    assert (proof.photos, len(proof.rows), proof.can_begin, proof.is_over) == (100, samples.SAMPLE, True, False)
    assert all(left.photo_id == right.photo_id and left.name == right.name for left, right in proof.rows)
    assert all(column.estimate is None for column in proof.columns)
    with site.services.read() as session:
        assert [each.id for each in batches.list_page(session, batch.tenant_id)] == [batch.id]
        priorities = session.scalars(select(Batch.priority).where(Batch.proof_of == batch.id)).all()
    assert set(priorities) == {8}
    assert site.read_counts(batch.id).ready == 100


def test_the_batch_goes_on_with_the_recipe_that_was_liked_and_takes_over_what_the_proof_has_made(site: Site) -> None:
    batch = open_batch(site, many(40))
    open_proof(site, batch)
    proof = load(site, batch)
    run(site, job_ids_of(proof, 1), VIVID)
    run(site, job_ids_of(proof, 0)[:5], PLAIN)
    released = release(site, batch, VIVID)
    assert (released.recipe_hash, released.paused_at) == (VIVID.hash, None)
    assert Recipe.model_validate(released.recipe) == VIVID
    assert site.count_states(job_ids_of(proof, 0)) == {State.RESTORED: 5, State.CANCELLED: 19}
    with site.services.begin() as session:
        taken = takeovers.take_over(session, batch.tenant_id, batch.id, VIVID, 99, site.settings.weights)
    assert taken == samples.SAMPLE
    counts = site.read_counts(batch.id)
    assert (counts.restored, counts.ready) == (24, 16)
    after = load(site, batch)
    assert (after.can_begin, len(after.columns), after.is_over) == (False, 2, True)


def test_what_the_proof_is_still_making_is_not_begun_a_second_time(site: Site) -> None:
    batch = open_batch(site, many(10))
    open_proof(site, batch)
    job_ids = job_ids_of(load(site, batch), 1)
    run(site, job_ids[:4], VIVID)
    run(site, job_ids[4:7], VIVID, [Stage.INGEST])
    release(site, batch, VIVID)
    with site.services.begin() as session:
        assert takeovers.take_over(session, batch.tenant_id, batch.id, VIVID, 99, site.settings.weights) == 4
        assert queueing.queue(session, batch.id, Stage.INGEST, 99, 60) == []
    assert site.read_counts(batch.id).ready == 6


def test_a_release_again_changes_nothing_and_one_with_another_recipe_is_refused(site: Site) -> None:
    batch = open_batch(site, many(3))
    open_proof(site, batch)
    release(site, batch, VIVID)
    assert release(site, batch, VIVID).recipe_hash == VIVID.hash
    with pytest.raises(IllegalMove, match="runs with the colorizer compact-vivid"):
        release(site, batch, PLAIN)
    with pytest.raises(IllegalMove, match="no proof of this recipe"):
        release(site, batch, GRAY)


def test_of_two_people_who_release_different_recipes_at_once_one_is_refused(site: Site) -> None:
    batch = open_batch(site, many(5))
    open_proof(site, batch)

    def try_release(recipe: Recipe) -> str:
        try:
            return release(site, batch, recipe).recipe_hash
        except IllegalMove as error:
            return error.code

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(try_release, [PLAIN, VIVID, PLAIN, VIVID]))
    with site.services.read() as session:
        kept = session.get_one(Batch, batch.id)
    assert answers.count(kept.recipe_hash) == 2
    assert answers.count("batch_not_paused") == 2
    assert kept.paused_at is None


@pytest.mark.parametrize("state", [State.QUEUED, State.RUNNING, State.RESTORED, State.REFUSED, State.QUARANTINED])
def test_a_batch_that_has_begun_keeps_its_recipe(site: Site, state: State) -> None:
    batch = open_batch(site, many(5))
    open_proof(site, batch)
    with site.services.begin() as session:
        one = select(Job.id).where(Job.batch_id == batch.id).limit(1).scalar_subquery()
        session.execute(update(Job).where(Job.id == one).values(state=state))
    assert not load(site, batch).can_begin
    with pytest.raises(IllegalMove, match="has begun"):
        release(site, batch, VIVID)
    with site.services.read() as session:
        assert session.get_one(Batch, batch.id).recipe_hash == PLAIN.hash


def test_one_that_somebody_resumed_keeps_its_recipe(site: Site) -> None:
    batch = open_batch(site, many(5))
    open_proof(site, batch)
    with site.services.begin() as session:
        batches.resume(session, batch.tenant_id, batch.id)
    with pytest.raises(IllegalMove, match="not paused"):
        release(site, batch, VIVID)


def test_a_cancelled_batch_takes_its_proof_along(site: Site) -> None:
    batch = open_batch(site, many(5))
    open_proof(site, batch)
    job_ids = job_ids_of(load(site, batch), 0)
    with site.services.begin() as session:
        long_moves.cancel_batch(session, batch.tenant_id, batch.id)
    assert site.count_states(job_ids) == {State.CANCELLED: 5}
    assert load(site, batch).columns == []
    with pytest.raises(IllegalMove, match="cancelled"):
        release(site, batch, PLAIN)
    with pytest.raises(IllegalMove, match="cancelled"):
        open_proof(site, batch)


def test_a_proof_opened_twice_is_one_and_one_of_other_recipes_follows_a_discard(site: Site) -> None:
    batch = open_batch(site, many(5))
    open_proof(site, batch)
    open_proof(site, batch, VIVID, PLAIN, PLAIN)
    assert len(load(site, batch).columns) == 2
    with pytest.raises(IllegalMove, match="has a proof already"):
        open_proof(site, batch, GRAY)
    first = job_ids_of(load(site, batch), 0)
    with site.services.begin() as session:
        proofs.discard(session, batch.tenant_id, batch.id)
        proofs.discard(session, batch.tenant_id, batch.id)
    assert site.count_states(first) == {State.CANCELLED: 5}
    open_proof(site, batch, GRAY)
    assert [column.recipe for column in load(site, batch).columns] == [GRAY]


def test_two_people_who_open_a_proof_at_once_have_one(site: Site) -> None:
    batch = open_batch(site, many(5))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: open_proof(site, batch), range(4)))
    assert len(load(site, batch).columns) == 2


@pytest.mark.parametrize("names", [[], ["a.mp4", "b/c.MOV"]])
def test_an_empty_batch_and_one_of_films_have_nothing_to_prove(site: Site, names: list[str]) -> None:
    batch = open_batch(site, names)
    with pytest.raises(IllegalMove, match="nothing to prove"):
        open_proof(site, batch)
    assert load(site, batch).columns == []


def test_what_cannot_be_proved_is_refused(site: Site) -> None:
    batch = open_batch(site, many(3))
    with pytest.raises(InvalidRequest, match="1 to 3"), site.services.begin() as session:
        proofs.open(session, batch.tenant_id, batch.id, [])
    with pytest.raises(InvalidRequest, match="1 to 3"):
        open_proof(site, batch, PLAIN, VIVID, GRAY, recipes.parse({"strength": 0.5}))
    with pytest.raises(InvalidRequest, match="no colorizer"):
        open_proof(site, batch, recipes.parse({"colorizer": "unheard-of"}))
    with pytest.raises(NotFound), site.services.begin() as session:
        proofs.open(session, site.get_tenant("another museum"), batch.id, [PLAIN])
    open_proof(site, batch)
    with pytest.raises(NotFound), site.services.read() as session:
        proofs.load(session, batch.tenant_id, load(site, batch).columns[0].batch_id)
    running = open_batch(site, many(3))
    with site.services.begin() as session:
        batches.resume(session, running.tenant_id, running.id)
    with pytest.raises(IllegalMove, match="not paused"):
        open_proof(site, running)


def test_refused_photos_of_a_proof_are_told_and_hold_up_nothing(site: Site) -> None:
    batch = open_batch(site, many(3))
    open_proof(site, batch)
    run(site, job_ids_of(load(site, batch), 1)[:1], VIVID)
    for column in range(2):
        for lease in site.claim(job_ids_of(load(site, batch), column)):
            site.settle((lease, InvalidPhoto("This is not a photograph.")))
    proof = load(site, batch)
    assert proof.is_over
    assert [each.reason for each in proof.columns[1].tries] == [None, *["This is not a photograph."] * 2]
    assert [column.restored for column in proof.columns] == [0, 1]
    assert proof.columns[0].estimate is None
    assert proof.columns[1].estimate, "no more will be measured"
    assert release(site, batch, VIVID).paused_at is None


def test_the_sample_is_spread_over_folders_types_and_sizes_each_photo_once(site: Site) -> None:
    names = [f"{box}/{number:03}.{'tif' if number % 9 else 'jpg'}" for box in "abcd" for number in range(150)]
    sizes = [10**6 if number % 40 else 10**3 for number in range(len(names))]
    batch = open_batch(site, names, sizes)
    with site.services.begin() as session:
        again = session.scalar(select(Job.photo_id).where(Job.batch_id == batch.id).limit(1))
        changes.add_job(session, batch, session.get_one(Photo, again), "the same under another name.tif")
    with site.services.read() as session:
        chosen = samples.choose(session, session.get_one(Batch, batch.id))
        sizes_of = {row.id: row.size for row in session.execute(select(Photo.id, Photo.size))}
    paths = [PurePosixPath(name) for _, name in chosen]
    assert len({photo_id for photo_id, _ in chosen}) == samples.SAMPLE
    assert {str(path.parent) for path in paths} >= set("abcd")
    assert {path.suffix for path in paths} == {".tif", ".jpg"}
    assert {sizes_of[photo_id] for photo_id, _ in chosen} == {10**3, 10**6}


def test_photos_with_a_recipe_of_their_own_are_not_proved(site: Site) -> None:
    batch = open_batch(site, many(3))
    with site.services.begin() as session:
        session.add(StoredRecipe(hash=GRAY.hash, recipe=GRAY.model_dump()))
        session.execute(
            update(Job).where(Job.batch_id == batch.id, Job.name == "box/0001.tif").values(recipe_hash=GRAY.hash)
        )
    open_proof(site, batch)
    assert [row[0].name for row in load(site, batch).rows] == ["box/0000.tif", "box/0002.tif"]


def test_the_time_of_the_whole_batch_follows_from_what_was_measured(site: Site) -> None:
    batch = open_batch(site, many(1000))
    open_proof(site, batch, PLAIN)
    job_ids = job_ids_of(load(site, batch), 0)
    worker_id, noon = uuid.uuid4(), datetime(2026, 11, 30, 12, tzinfo=UTC)
    run(site, job_ids, PLAIN)
    with site.services.begin() as session:
        for number, job_id in enumerate(job_ids):
            # Two bundles of 12 at each stage: the first takes a minute longer, since it loads the network.
            begin, loads = (noon, 60) if number < 12 else (noon + timedelta(hours=1), 0)
            for stage, seconds in zip(STAGES, (12, 24, 6, 36), strict=True):
                session.execute(
                    update(Attempt)
                    .where(Attempt.job_id == job_id, Attempt.stage == stage)
                    .values(worker_id=worker_id, started_at=begin, ended_at=begin + timedelta(seconds=loads + seconds))
                )
        for fleet, count in (("cpu", 2), ("gpu", 1)):
            for pid in range(count):
                fleets.register_worker(session, fleet, fleet, pid, "none", "1")
    estimate = load(site, batch).columns[0].estimate
    assert estimate
    assert estimate.photo_s == pytest.approx({"cpu": 4.0, "gpu": 2.5}, abs=0.01)
    assert estimate.total_s == pytest.approx({"cpu": 4000, "gpu": 2500}, rel=0.01)
    assert estimate.wall_s == pytest.approx(2500, rel=0.01)


def test_without_workers_and_without_measurements_the_time_is_not_known(site: Site) -> None:
    batch = open_batch(site, many(20))
    open_proof(site, batch, PLAIN)
    job_ids = job_ids_of(load(site, batch), 0)
    run(site, job_ids[:5], PLAIN)
    assert load(site, batch).columns[0].estimate is None
    run(site, job_ids[5:], PLAIN)
    estimate = load(site, batch).columns[0].estimate
    assert estimate
    assert estimate.wall_s is None
    again = open_batch(site)
    with site.services.begin() as session:
        files = [
            (row.photo_id, row.name)
            for row in session.execute(select(Job.photo_id, Job.name).where(Job.batch_id == batch.id))
        ]
        changes.add_jobs(session, session.get_one(Batch, again.id), files)
    open_proof(site, again, PLAIN)
    with site.services.begin() as session:
        proof_id = proofs.load(session, again.tenant_id, again.id).columns[0].batch_id
        takeovers.take_over(session, again.tenant_id, proof_id, PLAIN, 99, site.settings.weights)
    column = load(site, again).columns[0]
    assert (column.restored, column.estimate, column.is_taken_over) == (20, None, True)


def test_a_push_that_goes_on_after_a_release_finds_its_batch(site: Site) -> None:
    batch = open_batch(site, many(3), idempotency_key="the folder")
    open_proof(site, batch)
    release(site, batch, VIVID)
    assert open_batch(site, idempotency_key="the folder").id == batch.id
    unproved = open_batch(site, idempotency_key="another folder")
    with pytest.raises(Refused), site.services.begin() as session:
        batches.open(session, unproved.tenant_id, "a batch", VIVID, idempotency_key="another folder")


def test_the_recipes_that_are_suggested_differ_in_the_colorizer_alone() -> None:
    own = recipes.parse({"colorizer_settings": {"gain": 1.5}, "strength": 0.5})
    suggested = proofs.suggest_recipes(own)
    assert suggested[0] == own
    assert [each.colorizer for each in suggested] == ["compact", "compact-vivid"]
    assert all(each.strength == 0.5 for each in suggested)
    assert suggested[1].colorizer_settings == {}
