"""A batch's catalogue: imported as a whole, before or after its files, and obeyed."""

import uuid
from typing import Any

import pytest
from sqlalchemy import func, select, update
from tests.integration.conftest import Site

from retint import catalogue, search, verdicts
from retint.catalogue import Import
from retint.catalogue_files import CatalogueRefused
from retint.catalogue_tables import CatalogueRecord
from retint.errors import IllegalMove, InvalidRequest, NotFound
from retint.jobs import changes, long_moves
from retint.jobs.leases import AttemptEnd, Done
from retint.lifecycle import STAGES, Stage, State, Verdict
from retint.recipes import Recipe
from retint.search import Query
from retint.tables import Batch, Job

HEADER = "filename,identifier,title,do_not_colorize,shelf\n"
GRAY = "keep"


def run_import(site: Site, batch: Batch, *rows: str, dry_run: bool = False) -> Import:
    data = (HEADER + "".join(f"{row}\n" for row in rows)).encode()
    return catalogue.import_file(site.services, batch.tenant_id, batch.id, data, dry_run=dry_run)


def titles(site: Site, batch: Batch) -> dict[str, str | None]:
    """Return the title that each file's newest job has."""
    with site.services.read() as session:
        rows = session.execute(
            select(Job.name, CatalogueRecord.title)
            .outerjoin(CatalogueRecord, CatalogueRecord.id == Job.record_id)
            .where(Job.batch_id == batch.id, Job.replaced_by.is_(None))
        )
        return {row.name: row.title for row in rows}


def colorizers(site: Site, job_ids: list[uuid.UUID]) -> list[str]:
    """Return the colorizers that workers would use."""
    return [lease.recipe.colorizer for lease in site.claim(job_ids)]


def run(site: Site, job_ids: list[uuid.UUID], *stages: Stage, **files: str) -> None:
    """Run jobs through stages; colorize writes the files."""
    for stage in stages:
        ended: list[AttemptEnd] = []
        for lease in site.claim(job_ids, stage):
            written = files if stage is Stage.COLORIZE else {"result": "result"} if stage is Stage.RENDER else {}
            ended.append((lease, Done(dict(written), {"sha256": "0" * 64}, {})))
        assert len(site.settle(*ended)) == len(job_ids)


def test_records_find_the_files_that_are_there(site: Site) -> None:
    batch = site.add_batch()
    site.add_jobs("box/1.tif", "box/2.tif", "NM-3.tif", "4.tif", batch=batch)
    done = run_import(site, batch, "box/1.tif,,One,,", "2.TIF,,Two,,", ",nm-3,Three,,", "5.tif,,Five,,")
    assert titles(site, batch) == {"box/1.tif": "One", "box/2.tif": "Two", "NM-3.tif": "Three", "4.tif": None}
    assert [each.sentence for each in done.matching.no_file] == ["5.tif (row 5)"]
    assert [each.sentence for each in done.matching.no_record] == ["4.tif"]
    with site.services.read() as session:
        assert catalogue.match(session, batch.tenant_id, batch.id).told is not None
        assert [each.sentence for each in catalogue.match(session, batch.tenant_id, batch.id).told] == [
            "5.tif (row 5)",
            "4.tif",
        ]
        assert catalogue.count(session, batch.tenant_id, batch.id) == (4, 3)


def test_files_that_come_later_find_their_records(site: Site) -> None:
    batch = site.add_batch()
    run_import(site, batch, "box/1.tif,,One,,", "2.TIF,,Two,,", ",nm-3,Three,x,")
    job_ids = site.add_jobs("box/1.tif", "box/2.tif", "NM-3.tif", "4.tif", batch=batch)
    assert titles(site, batch) == {"box/1.tif": "One", "box/2.tif": "Two", "NM-3.tif": "Three", "4.tif": None}
    assert colorizers(site, job_ids) == ["compact", "compact", GRAY, "compact"]


def test_a_second_file_that_could_be_meant_takes_the_record_from_the_first(site: Site) -> None:
    batch = site.add_batch()
    run_import(site, batch, "1.tif,,One,x,", "x/2.tif,,Two,,")
    [first] = site.add_jobs("a/1.tif", batch=batch)
    site.add_jobs("y/2.tif", batch=batch)
    assert titles(site, batch) == {"a/1.tif": "One", "y/2.tif": "Two"}
    [second] = site.add_jobs("b/1.tif", batch=batch)
    [third] = site.add_jobs("c/1.tif", batch=batch)
    site.add_jobs("x/2.tif", batch=batch)
    nothing = dict.fromkeys(("a/1.tif", "b/1.tif", "c/1.tif", "y/2.tif"))
    assert titles(site, batch) == nothing | {"x/2.tif": "Two"}
    assert colorizers(site, [first, second, third]) == [GRAY] * 3
    with site.services.read() as session:
        ambiguous = catalogue.match(session, batch.tenant_id, batch.id).ambiguous
    assert [each.sentence for each in ambiguous] == ["a/1.tif (row 2)", "b/1.tif (row 2)", "c/1.tif (row 2)"]


def test_a_dry_run_says_the_same_and_changes_nothing(site: Site) -> None:
    batch = site.add_batch()
    site.add_jobs("1.tif", "2.tif", batch=batch)
    told = run_import(site, batch, "1.tif,,One,x,", "3.tif,,Three,,", dry_run=True)
    with site.services.read() as session:
        assert catalogue.count(session, batch.tenant_id, batch.id) == (0, 0)
    done = run_import(site, batch, "1.tif,,One,x,", "3.tif,,Three,,")
    for outcome in (told, done):
        assert (outcome.matching.matched, outcome.matching.forbidden, outcome.kept_gray, outcome.withheld) == (
            1,
            1,
            1,
            0,
        )
        assert [each.sentence for each in outcome.matching.told] == ["3.tif (row 3)", "2.tif"]


def test_another_import_replaces_all_records(site: Site) -> None:
    batch = site.add_batch()
    job_ids = site.add_jobs("1.tif", "2.tif", batch=batch)
    run_import(site, batch, "1.tif,,One,x,", "2.tif,,Two,,")
    before = [site.get_job(job_id).record_id for job_id in job_ids]
    again = run_import(site, batch, "1.tif,,Uno,,red", "3.tif,,Tre,,")
    assert again.replaced == 2
    assert titles(site, batch) == {"1.tif": "Uno", "2.tif": None}
    assert site.get_job(job_ids[0]).record_id == before[0]
    assert colorizers(site, job_ids) == ["compact", "compact"]
    with site.services.read() as session:
        assert catalogue.list_columns(session, batch.tenant_id, batch.id)[-1] == "shelf"
        found = catalogue.find(session, batch.tenant_id, before[0])
        assert found is not None
        assert found.columns[-1] == ["shelf", "red"]
        assert [each.title for each in search.list_page(session, batch.tenant_id, Query("uno"))] == ["Uno"]
        assert search.list_page(session, batch.tenant_id, Query("one")) == []


def test_a_refused_catalogue_leaves_the_one_before(site: Site) -> None:
    batch = site.add_batch()
    run_import(site, batch, "1.tif,,One,,")
    with pytest.raises(CatalogueRefused):
        run_import(site, batch, "2.tif,,Two,,", "2.tif,,Two,,")
    with site.services.read() as session:
        assert catalogue.count(session, batch.tenant_id, batch.id) == (1, 0)


def test_nothing_is_imported_by_others_or_into_what_is_cancelled(site: Site) -> None:
    batch = site.add_batch()
    with pytest.raises(NotFound):
        catalogue.import_file(site.services, site.get_tenant("other"), batch.id, HEADER.encode())
    with site.services.begin() as session:
        long_moves.cancel_batch(session, batch.tenant_id, batch.id)
    with pytest.raises(IllegalMove):
        run_import(site, batch, "1.tif,,One,,")


def test_colors_that_are_forbidden_later_are_not_made(site: Site) -> None:
    batch = site.add_batch()
    ready, ingested, queued = site.add_jobs("1.tif", "2.tif", "3.tif", batch=batch)
    run(site, [ingested, queued], Stage.INGEST)
    with site.services.begin() as session:
        session.execute(update(Job).where(Job.id == ingested).values(state=State.QUARANTINED))
    done = run_import(site, batch, "1.tif,,,x,", "2.tif,,,x,", "3.tif,,,x,")
    assert (done.kept_gray, done.withheld) == (3, 0)
    with site.services.begin() as session:
        assert changes.retry_job(session, batch.tenant_id, ingested)
    assert colorizers(site, [ready]) == [GRAY]
    assert {lease.recipe.colorizer for lease in site.claim([ingested, queued], Stage.COLORIZE)} == {GRAY}


def test_colors_that_are_forbidden_later_are_withheld_and_made_anew_without(site: Site) -> None:
    batch = site.add_batch()
    colored, gray, at_it, under_way, failed = job_ids = site.add_jobs(*"12345", batch=batch)
    run(site, [colored, gray, at_it, under_way], Stage.INGEST)
    run(site, [colored], *STAGES[1:], color="color")
    run(site, [gray], *STAGES[1:])
    run(site, [under_way], Stage.COLORIZE, **{"color-2": "color-2"})
    site.claim([at_it], Stage.COLORIZE)
    with site.services.begin() as session:
        session.execute(update(Job).where(Job.id == failed).values(state=State.REFUSED))
    done = run_import(site, batch, *(f"{name},,,x," for name in "12345"))
    assert (done.kept_gray, done.withheld) == (0, 3)
    jobs = [site.get_job(job_id) for job_id in job_ids]
    assert [job.withheld for job in jobs] == [True, False, True, True, False]
    assert [job.state.value for job in jobs] == ["restored", "restored", "cancelled", "cancelled", "refused"]
    replacing = [job.replaced_by for job in jobs if job.replaced_by]
    assert len(replacing) == 3
    assert colorizers(site, replacing) == [GRAY] * 3
    assert {site.get_job(job_id).record_id for job_id in replacing} == {
        jobs[0].record_id,
        jobs[2].record_id,
        jobs[3].record_id,
    }
    again = run_import(site, batch, *(f"{name},,,x," for name in "12345"))
    assert again.withheld == 0
    with site.services.read() as session:
        assert session.scalar(select(func.count()).where(Job.batch_id == batch.id)) == 8
    run_import(site, batch, *(f"{name},,,," for name in "12345"))
    assert not any(site.get_job(job_id).withheld for job_id in job_ids)


def test_a_photo_that_is_not_to_be_colorized_is_not_by_another_recipe_either(site: Site) -> None:
    batch = site.add_batch()
    run_import(site, batch, "1.tif,,,x,")
    [job_id] = site.add_jobs("1.tif", batch=batch)
    run(site, [job_id], *STAGES)
    with site.services.begin() as session:
        vivid: Any = batch.recipe | {"colorizer": "compact-vivid"}
        replacing = changes.replace_job(session, batch.tenant_id, job_id, Recipe.model_validate(vivid))
    assert colorizers(site, [replacing.id]) == [GRAY]


def test_a_photo_that_any_record_could_forbid_to_colorize_stays_gray_by_every_recipe(site: Site) -> None:
    batch = site.add_batch()
    run_import(site, batch, "1.tif,,,x,")
    job_ids = site.add_jobs("a/1.tif", "b/1.tif", batch=batch)
    assert titles(site, batch) == {"a/1.tif": None, "b/1.tif": None}
    run(site, job_ids, *STAGES)
    vivid = Recipe.model_validate(batch.recipe | {"colorizer": "compact-vivid"})
    seen: dict[str, Any] = {"seen_sha256": "0" * 64, "seen_verdict": Verdict.UNJUDGED}
    with site.services.begin() as session:
        with pytest.raises(InvalidRequest, match="not to be colorized"):
            verdicts.rework(session, batch.tenant_id, job_ids[0], vivid, **seen)
        again = changes.replace_jobs(session, batch.id, job_ids[:1], vivid)
        again.append(verdicts.rework(session, batch.tenant_id, job_ids[1], None, **seen))
    assert colorizers(site, [job.id for job in again]) == [GRAY, GRAY]


def test_names_that_no_index_could_hold_are_taken(site: Site) -> None:
    batch = site.add_batch()
    long = "ü" * 1000 + ".tif"
    site.add_jobs(long, batch=batch)
    run_import(site, batch, f"{long},{'N' * 100_000},{'T' * 100_000},,")
    assert titles(site, batch) == {long: "T" * 100_000}
