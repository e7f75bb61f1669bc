"""Each check of a promise sees when the promise is broken."""

from collections.abc import Callable
from uuid import uuid4

import pytest
from sqlalchemy import delete, insert, select, text, update
from tests.faults.entry_point import plain_file
from tests.faults.installation import Installation

from retint.jobs.attempts import ATTEMPTS
from retint.jobs.leases import Done
from retint.lifecycle import STAGES, Outcome, Stage, State
from retint.stores import keys
from retint.tables import Attempt, Job, Photo, Tally
from retint_workers import scratch

pytestmark = pytest.mark.parametrize("backends", ["service", "embedded"], indirect=True)


@pytest.fixture
def restored(installation: Installation) -> Installation:
    """An installation in which two photographs were restored, without processes."""
    site = installation.site
    job_ids = installation.deposit(2)
    sha256 = {job_id: one.sha256 for job_id, one in zip(job_ids, installation.inputs, strict=True)}
    for stage in STAGES:
        for lease in site.claim(job_ids, stage):
            key = lease.file_key("file")
            site.services.store.put(key, plain_file(stage, sha256[lease.job_id]))
            site.settle((lease, Done({str(stage): key})))
    installation.check_promises(State.RESTORED)
    return installation


def lose_a_job(installation: Installation) -> None:
    with installation.site.services.begin() as session:
        job_id = session.scalars(select(Job.id).limit(1)).one()
        session.execute(delete(Attempt).where(Attempt.job_id == job_id))
        session.execute(delete(Job).where(Job.id == job_id))


def leave_a_job_in_quarantine(installation: Installation) -> None:
    with installation.site.services.begin() as session:
        session.scalars(select(Job).limit(1)).one().state = State.QUARANTINED


def deposit_twice(installation: Installation) -> None:
    with installation.site.services.begin() as session:
        job = session.scalars(select(Job).limit(1)).one()
        session.add(Job(tenant_id=job.tenant_id, batch_id=job.batch_id, photo_id=job.photo_id, name="again"))


def lose_an_attempt(installation: Installation) -> None:
    with installation.site.services.begin() as session:
        session.delete(session.scalars(select(Attempt).where(Attempt.stage == Stage.COLORIZE).limit(1)).one())


def do_a_stage_twice(installation: Installation) -> None:
    with installation.site.services.begin() as session:
        session.execute(text("DROP INDEX uq_attempts_done"))
        row = session.execute(select(ATTEMPTS).limit(1)).mappings().one()
        session.execute(insert(ATTEMPTS), {**row, "number": 99})


def take_over_from_a_job_that_did_not_make_it(installation: Installation) -> None:
    with installation.site.services.begin() as session:
        session.scalars(select(Attempt).where(Attempt.stage == Stage.RENDER).limit(1)).one().source = uuid4()


def lose_a_result(installation: Installation) -> None:
    with installation.site.services.read() as session:
        files = session.scalars(select(Attempt.files).where(Attempt.stage == Stage.RENDER).limit(1)).one()
    installation.site.services.store.delete(files.values())


def lose_an_original(installation: Installation) -> None:
    with installation.site.services.read() as session:
        key = session.scalars(select(Photo).limit(1)).one().original_key
    installation.site.services.store.delete([key])


def leave_an_orphan(installation: Installation) -> None:
    key = keys.attempt_file(uuid4(), uuid4(), uuid4(), Stage.RENDER, 1, "file")
    installation.site.services.store.put(key, b"nobody's")


def leave_a_scratch_folder(installation: Installation) -> None:
    (installation.folder / "tmp" / f"{scratch.PREFIX}dead").mkdir()


def change_an_original(installation: Installation) -> None:
    with installation.site.services.read() as session:
        key = session.scalars(select(Photo).limit(1)).one().original_key
    installation.site.services.store.put(key, b"other bytes")


def miscount(installation: Installation) -> None:
    with installation.site.services.begin() as session:
        session.execute(update(Tally).where(Tally.n > 0).values(n=Tally.n + 1))


def mix_up_a_result(installation: Installation) -> None:
    with installation.site.services.read() as session:
        files = session.scalars(select(Attempt.files).where(Attempt.outcome == Outcome.DONE).limit(1)).one()
    for key in files.values():
        installation.site.services.store.put(key, plain_file(Stage.RENDER, "another photo"))


@pytest.mark.parametrize(
    ("spoil", "promise"),
    [
        (lose_a_job, "one outcome for each input"),
        (leave_a_job_in_quarantine, "one outcome for each input"),
        (deposit_twice, "one outcome for each input"),
        (lose_an_attempt, "one result for each recipe"),
        (do_a_stage_twice, "one result for each recipe"),
        (take_over_from_a_job_that_did_not_make_it, "one result for each recipe"),
        (lose_a_result, "no file lost"),
        (lose_an_original, "no file lost"),
        (leave_an_orphan, "no orphan that stays"),
        (leave_a_scratch_folder, "no scratch folder left"),
        (change_an_original, "no original changed"),
        (miscount, "counts are rows"),
        (mix_up_a_result, "results are of their originals"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_broken_promise_is_seen(restored: Installation, spoil: Callable[[Installation], None], promise: str) -> None:
    spoil(restored)
    with pytest.raises(AssertionError, match=promise):
        restored.check_promises(State.RESTORED)
