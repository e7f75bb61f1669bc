"""Orphans are deleted. What a row names or may name, and what the database does not know, is not."""

import shutil
import sqlite3
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import delete, update
from tests.conftest import Backends
from tests.integration.conftest import Site, open_site

from retint import accounts, fleets, recipes, store_identity, sweeps, uploads
from retint.columns import now
from retint.errors import IllegalMove, InvalidPhoto
from retint.jobs import changes, queueing, takeovers
from retint.jobs.leases import Done, Lease
from retint.lifecycle import STAGES, Stage, State
from retint.services import Services
from retint.settings import Settings
from retint.store_identity import WrongStore
from retint.store_tables import Sweep
from retint.stores import keys
from retint.sweeps import Findings, Kept
from retint.tables import Attempt, Job, Photo, Upload

AT_ONCE = timedelta(seconds=-60)


@pytest.fixture
def stored_site(backends: Backends, tmp_path: Path) -> Iterator[Site]:
    """A site on each database and each store."""
    yield from open_site(Settings(data=tmp_path / "data", **backends.values))


def put_blob(site: Site, key: str) -> str:
    site.services.store.put(key, b"bytes")
    return key


def list_keys(site: Site) -> set[str]:
    return {blob.key for blob in site.services.store.list(keys.ROOT)}


def sweep_all(site: Site, **options: Any) -> Findings:
    *_, findings = sweeps.sweep(site.services, **{"min_age": AT_ONCE, **options})
    return findings


def preview_all(site: Site, min_age: timedelta = AT_ONCE) -> Findings:
    *_, findings = sweeps.preview(site.services, min_age)
    return findings


def read_row(site: Site) -> Sweep:
    with site.services.read() as session:
        return session.get_one(Sweep, 1)


def settle_done(site: Site, lease: Lease) -> str:
    key = put_blob(site, lease.file_key("proxy.png"))
    site.settle((lease, Done({"proxy": key})))
    return key


def leave_orphans(site: Site, count: int) -> set[str]:
    """Add jobs, each with one named file and one that an attempt left which expired."""
    job_ids = site.add_jobs(*(f"{number}" for number in range(count)))
    orphans = {put_blob(site, lease.file_key("proxy.png")) for lease in site.claim(job_ids, lease_s=-1)}
    with site.services.begin() as session:
        queueing.reclaim_expired(session)
    for lease in site.claim(job_ids):
        settle_done(site, lease)
    return orphans


def test_only_old_files_that_no_row_can_name_are_deleted(stored_site: Site) -> None:
    site = stored_site
    orphans = leave_orphans(site, 1)
    kept = list_keys(site) - orphans
    [lease] = site.claim(site.add_jobs("running"))
    [refused] = site.claim(site.add_jobs("refused"))
    orphans.add(put_blob(site, refused.file_key("proxy.png")))
    site.settle((refused, InvalidPhoto("not a photograph")))
    stranger = uuid.uuid4()
    reasons = {
        put_blob(site, lease.file_key("proxy.png")): Kept.UNFINISHED,
        put_blob(site, lease.original_key): Kept.NAMED,
        put_blob(site, keys.original(lease.tenant_id, stranger)): Kept.UNKNOWN_ORIGINAL,
        put_blob(
            site, keys.attempt_file(lease.tenant_id, stranger, stranger, Stage.RENDER, 1, "a.tif")
        ): Kept.UNKNOWN_JOB,
        put_blob(
            site, keys.attempt_file(lease.tenant_id, stranger, lease.job_id, Stage.RENDER, 1, "a")
        ): Kept.UNKNOWN_JOB,
        put_blob(site, "tenants/notes.txt"): Kept.OTHER,
    }
    kept |= reasons.keys()
    assert preview_all(site, sweeps.MIN_AGE).orphans == 0
    assert sweep_all(site, min_age=sweeps.MIN_AGE).deleted == 0
    foreseen = preview_all(site)
    assert (foreseen.orphans, foreseen.orphan_bytes, foreseen.deleted) == (2, 10, 0)
    assert list_keys(site) == kept | orphans
    found = sweep_all(site)
    assert (found.looked_at, found.orphans, found.deleted, found.stopped) == (9, 2, 2, None)
    assert found.kept == {
        Kept.NAMED: 2,
        Kept.UNFINISHED: 1,
        Kept.UNKNOWN_ORIGINAL: 1,
        Kept.UNKNOWN_JOB: 2,
        Kept.OTHER: 1,
    }
    assert all(reasons.get(key) in (reason, None) for reason, key in found.examples.items())
    assert list_keys(site) == kept
    row = read_row(site)
    assert (row.cursor, row.looked_at, row.deleted, row.stopped) == (None, 9, 2, None)
    assert row.kept == found.kept


def restore_with_files(site: Site, job_id: uuid.UUID, made_with: str) -> set[str]:
    """Restore a job, each of whose stages leaves a file; return the files, with a zoom of the result."""
    written = set()
    for stage in STAGES:
        [lease] = site.claim([job_id], stage)
        key = put_blob(site, lease.file_key("result.tif"))
        name = "result" if stage is Stage.RENDER else str(stage)
        site.settle((lease, Done({name: key}, made_with=made_with if stage is Stage.RENDER else None)))
        written.add(key)
    return written | {put_blob(site, keys.zoom(key, "zoom"))}


def test_a_file_stays_while_any_job_that_took_it_over_names_it(stored_site: Site) -> None:
    site, recipe = stored_site, recipes.parse({})
    made_with = recipes.hash_making(recipe, recipes.find_weights(recipe))
    assert made_with
    [source] = site.add_jobs("a")
    with site.services.begin() as session:
        photo = session.get_one(Photo, session.get_one(Job, source).photo_id)
    files = restore_with_files(site, source, made_with)
    batch = site.add_batch()
    with site.services.begin() as session:
        taker = changes.add_job(session, batch, photo, "b").id
        assert takeovers.take_over(session, batch.tenant_id, batch.id, recipe, 9, site.settings.weights) == 1
    assert sweep_all(site).deleted == 0
    assert list_keys(site) == files
    with site.services.begin() as session:  # as a deletion of the source would leave it
        session.execute(delete(Attempt).where(Attempt.job_id == source))
    assert sweep_all(site).deleted == 0
    assert list_keys(site) == files
    with site.services.begin() as session:
        session.execute(delete(Attempt).where(Attempt.job_id == taker))
    assert sweep_all(site).deleted == len(files)


def test_a_zoom_is_kept_with_the_result_that_it_shows(stored_site: Site) -> None:
    site = stored_site
    [job_id] = site.add_jobs("a")
    for stage in STAGES[:-1]:
        [lease] = site.claim([job_id], stage)
        site.settle((lease, Done()))
    [expired] = site.claim([job_id], Stage.RENDER, lease_s=-1)
    with site.services.begin() as session:
        queueing.reclaim_expired(session)
    [lease] = site.claim([job_id], Stage.RENDER)
    results = [put_blob(site, each.file_key("result.tif")) for each in (expired, lease)]
    orphans, kept = (
        {result, *(put_blob(site, keys.zoom(result, name)) for name in ("zoom", "zoom-3"))} for result in results
    )
    site.settle((lease, Done({"result": results[1]})))
    orphans.add(put_blob(site, lease.file_key("zoom.txt")))
    assert sweep_all(site).deleted == len(orphans)
    assert list_keys(site) == kept


def test_files_that_a_later_attempt_may_need_are_kept_until_their_job_has_ended(site: Site) -> None:
    [lease] = site.claim(site.add_jobs("a"), lease_s=-1)
    segment = put_blob(site, lease.file_key("reels-1/0.mkv"))
    later = put_blob(site, lease.file_key("x").replace("ingest-1", "render-1"))
    for state in (State.READY, State.QUEUED, State.RUNNING, State.QUARANTINED):
        with site.services.begin() as session:
            session.execute(update(Job).values(state=state))
        assert sweep_all(site).deleted == 0
    with site.services.begin() as session:
        session.execute(update(Job).values(state=State.READY, stage=Stage.COLORIZE))
    assert sweep_all(site).deleted == 1
    assert list_keys(site) == {later}
    with site.services.begin() as session:
        session.execute(update(Job).values(state=State.CANCELLED))
    assert sweep_all(site).deleted == 1
    assert segment not in list_keys(site)


def restore_photos(site: Site, count: int) -> None:
    """Restore photos as far as their first stage."""
    for _ in range(count):
        [lease] = site.claim(site.add_jobs("a.jpg"))
        put_blob(site, lease.original_key)
        settle_done(site, lease)


def dump(services: Services, folder: Path) -> str:
    """Copy the database; return the copy's address."""
    services.engine.dispose()
    url = services.engine.url
    if url.get_backend_name() == "sqlite":
        with sqlite3.connect(str(url.database)) as database:
            database.execute("VACUUM INTO ?", (f"{folder}/dump.db",))
        database.close()
        return f"sqlite:///{folder}/dump.db"
    with psycopg.connect(host=url.host, port=url.port, user=url.username, dbname="postgres", autocommit=True) as server:
        server.execute(f"CREATE DATABASE {url.database}_dump TEMPLATE {url.database}".encode())
    return url.set(database=f"{url.database}_dump").render_as_string()


@pytest.fixture
def connect_to(stored_site: Site) -> Iterator[Callable[..., Services]]:
    """Connect to what the site's settings name, except for what is given."""
    made: list[Services] = []

    def connect(**other: Any) -> Services:
        made.append(Services.connect(stored_site.settings.model_copy(update=other)))
        made[-1].store.prepare()
        return made[-1]

    yield connect
    for services in made:
        services.engine.dispose()


def refuse_to_sweep(services: Services) -> str:
    """Sweep; return what was refused."""
    with pytest.raises(WrongStore) as refused:
        list(sweeps.sweep(services, min_age=AT_ONCE))
    return refused.value.message


def test_nothing_is_deleted_with_a_lost_or_wrong_database(
    stored_site: Site, connect_to: Callable[..., Services], migrated_sqlite: Path, tmp_path: Path
) -> None:
    """`retint.db` was lost, RETINT_DATABASE_URL is wrong, or a second installation has the same bucket."""
    restore_photos(stored_site, 5)
    stored = list_keys(stored_site)
    shutil.copyfile(migrated_sqlite, tmp_path / "new.db")
    new = connect_to(database_url=f"sqlite:///{tmp_path}/new.db")
    assert "database is new, and the store belongs to another one: restore the dump" in refuse_to_sweep(new)
    elsewhere = connect_to(database_url=f"sqlite:///{tmp_path}/new.db", store_url=f"file://{tmp_path}/elsewhere")
    store_identity.verify(elsewhere)
    assert "The store belongs to another database: correct" in refuse_to_sweep(new)
    assert "The store belongs to another database: correct" in refuse_to_sweep(
        connect_to(store_url=f"file://{tmp_path}/elsewhere")
    )
    assert list_keys(stored_site) == stored


def test_nothing_is_deleted_with_an_older_dump_of_the_database(
    stored_site: Site, connect_to: Callable[..., Services], tmp_path: Path
) -> None:
    site = stored_site
    restore_photos(site, 5)
    [half_done] = site.add_jobs("half done")
    older = connect_to(database_url=dump(site.services, tmp_path))
    [lease] = site.claim([half_done])
    settle_done(site, lease)
    restore_photos(site, 5)
    store_identity.grow(site.services)
    stored = list_keys(site)
    assert "which is an older copy" in refuse_to_sweep(older)
    assert list_keys(site) == stored
    store_identity.adopt(older)
    found = sweep_all(Site(older))
    assert (found.deleted, found.stopped) == (0, None)
    assert found.kept == {Kept.NAMED: 10, Kept.UNKNOWN_ORIGINAL: 5, Kept.UNKNOWN_JOB: 5, Kept.UNFINISHED: 1}
    assert list_keys(site) == stored


def test_a_round_goes_on_where_it_was(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeps, "WINDOW", 4)
    orphans = leave_orphans(site, 10)
    steps = sweeps.sweep(site.services, min_age=AT_ONCE)
    assert [next(steps).looked_at, next(steps).looked_at] == [4, 8]
    steps.close()
    row = read_row(site)
    assert (row.cursor, row.looked_at, row.deleted) == (sorted(list_keys(site) | orphans)[7], 8, len(orphans) - 6)
    with site.services.read() as session:
        assert sweeps.is_due(session)
    found = sweep_all(site, go_on=True)
    assert (found.looked_at, found.deleted, found.kept) == (20, 10, {Kept.NAMED: 10})
    row = read_row(site)
    assert (row.cursor, row.looked_at, row.deleted) == (None, 20, 10)
    with site.services.begin() as session:
        assert not sweeps.is_due(session)
        session.execute(update(Sweep).values(started_at=now(-sweeps.ROUND_S - 1)))
        assert sweeps.is_due(session)
    assert sweep_all(site).looked_at == 10


def test_a_sweep_that_would_delete_much_stops_and_waits_for_an_operator(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeps, "MANY_JOBS", 2)
    monkeypatch.setattr(sweeps, "WINDOW", 8)
    with pytest.raises(IllegalMove, match="has not stopped"):
        sweep_all(site, accept_many=True)
    leave_orphans(site, 2)
    assert sweep_all(site).deleted == 2
    orphans = leave_orphans(site, 8)
    before = list_keys(site)
    sentence = (
        "Files of 3 of 5 jobs would be deleted behind tenants/, more than 5%: look at them with `retint admin swe"
    )
    assert str(preview_all(site).stopped).startswith(sentence)
    found = sweep_all(site)
    assert (found.deleted, list_keys(site)) == (0, before)
    assert str(found.stopped).startswith(sentence)
    row = read_row(site)
    assert (row.stopped, row.stopped_code, row.cursor) == (found.stopped, "too_many", None)
    with site.services.read() as session:
        assert not sweeps.is_due(session)
    with pytest.raises(IllegalMove, match="Files of 3 of 5 jobs would be deleted"):
        sweep_all(site, go_on=True)
    found = sweep_all(site, go_on=True, accept_many=True)
    assert (found.deleted, found.stopped) == (8, None)
    assert list_keys(site) == before - orphans
    assert read_row(site).stopped is None


def test_many_files_of_one_job_are_not_much(site: Site) -> None:
    [lease] = site.claim(site.add_jobs("film"))
    for number in range(40):
        put_blob(site, lease.file_key(f"reels-1/{number}.mkv"))
    site.settle((lease, InvalidPhoto("not a film")))
    assert sweep_all(site).deleted == 40


def test_one_process_sweeps_at_a_time(site: Site) -> None:
    leave_orphans(site, 1)
    first = sweeps.sweep(site.services, min_age=AT_ONCE)
    next(first)
    with pytest.raises(IllegalMove, match="Another process sweeps"):
        sweep_all(site)
    first.close()
    assert sweep_all(site).stopped is None


def test_a_sweep_whose_lease_was_taken_over_deletes_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeps, "WINDOW", 2)
    monkeypatch.setattr(sweeps, "LEASE_S", 0.0)
    leave_orphans(site, 3)
    steps = sweeps.sweep(site.services, min_age=AT_ONCE)
    next(steps)
    before = list_keys(site)
    with site.services.begin() as session:
        assert fleets.acquire_lead(session, sweeps.ROLE, "another", 60)
    with pytest.raises(IllegalMove, match="Another process sweeps"):
        next(steps)
    assert list_keys(site) == before


def test_rests_of_uploads_are_kept_as_long_as_these(stored_site: Site) -> None:
    site, old = stored_site, stored_site.services
    with site.services.begin() as session:
        tenant_id = accounts.get_or_create_tenant(session, "museum").id
    kept, ended = (uploads.open(old, tenant_id, 5) for _ in range(2))
    keys_of_rests = [put_blob(site, f"{keys.rests(keys.original(tenant_id, upload.id))}3") for upload in (kept, ended)]
    with site.services.begin() as session:
        session.execute(update(Upload).where(Upload.id == ended.id).values(expires_at=now(-1.0)))
    findings = sweep_all(site)
    assert list_keys(site) == {keys_of_rests[0]}
    assert (findings.deleted, findings.kept[Kept.NAMED]) == (1, 1)
