"""Photos of a batch are run again in chunks, on each database."""

import uuid
from typing import Any

import pytest
from sqlalchemy import select, update
from tests.integration.conftest import Site

from retint import chains, recipes
from retint.columns import now
from retint.errors import IllegalMove, InvalidRequest, NotFound
from retint.jobs import changes, long_moves
from retint.jobs.long_moves import Selection
from retint.lifecycle import Stage, State, Verdict
from retint.tables import Batch, Job

KEEP = recipes.parse({"colorizer": "keep"})


def ask(site: Site, batch: Batch, chosen: Selection, **values: Any) -> uuid.UUID:
    with site.services.begin() as session:
        return long_moves.run_again(session, batch.tenant_id, batch.id, chosen, **values)


def run_again(site: Site, batch: Batch, chosen: Selection, **values: Any) -> int:
    return long_moves.carry_out(site.services, ask(site, batch, chosen, **values)).moved


def count_replaced(site: Site, job_ids: list[uuid.UUID]) -> int:
    return sum(site.get_job(job_id).replaced_by is not None for job_id in job_ids)


@pytest.fixture
def batch(site: Site) -> Batch:
    """A batch with jobs of each state: 4 restored, 3 refused, 2 in quarantine, 1 ready, 1 cancelled."""
    batch = site.add_batch()
    numbers = {
        State.RESTORED: 4,
        State.REFUSED: 3,
        State.QUARANTINED: 2,
        State.READY: 1,
        State.CANCELLED: 1,
    }
    for state, count in numbers.items():
        site.add_many_jobs(count, batch, state)
    return batch


@pytest.mark.parametrize(
    ("chosen", "count"),
    [
        (Selection(), 9),
        (Selection(State.REFUSED), 3),
        (Selection(State.QUARANTINED), 2),
        (Selection(State.CANCELLED), 1),
        (Selection(verdict=Verdict.UNJUDGED), 3),
        (Selection(verdict=Verdict.REJECTED), 1),
        (Selection(State.REFUSED, reason_code="too_large"), 1),
        (Selection(reason_code="too_large"), 1),
    ],
)
def test_the_chosen_photos_are_run_again(site: Site, batch: Batch, chosen: Selection, count: int) -> None:
    with site.services.begin() as session:
        restored, refused = (
            session.scalars(select(Job.id).where(Job.batch_id == batch.id, Job.state == state)).first()
            for state in (State.RESTORED, State.REFUSED)
        )
        session.execute(update(Job).where(Job.id == restored).values(verdict=Verdict.REJECTED))
        session.execute(update(Job).where(Job.id == refused).values(state=State.RUNNING))
        failed = {"state": State.REFUSED, "reason_code": "too_large"}
        session.execute(update(Job).where(Job.id == refused).values(failed))
    assert run_again(site, batch, chosen, recipe=KEEP) == count
    assert site.read_counts(batch.id).by == site.count_rows(batch.id)
    assert site.read_counts(batch.id).total == 11
    assert site.read_counts(batch.id).by[Stage.INGEST, State.READY] == 1 + count


def test_a_crash_between_two_chunks_loses_and_doubles_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_moves, "CHUNK", 10)
    batch = site.add_batch()
    job_ids = site.add_many_jobs(25, batch, State.REFUSED)
    move_id = ask(site, batch, Selection(State.REFUSED))
    with site.services.begin() as session:
        assert long_moves.advance(session, move_id)
        session.rollback()  # as if the portal were killed
    assert count_replaced(site, job_ids) == 0
    with site.services.begin() as session:
        assert long_moves.advance(session, move_id)
    with pytest.raises(IllegalMove, match="already"):
        ask(site, batch, Selection())
    with site.services.begin() as session:  # as the dispatcher
        assert long_moves.list_open(session) == [move_id]
        assert long_moves.advance(session, move_id)
        assert not long_moves.advance(session, move_id)
        assert long_moves.find_run_again(session, batch.id) is None
    assert count_replaced(site, job_ids) == 25
    assert site.read_counts(batch.id).by == {(Stage.INGEST, State.READY): 25}


def test_what_ends_again_meanwhile_is_not_run_a_third_time(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_moves, "CHUNK", 2)
    batch = site.add_batch()
    site.add_many_jobs(4, batch, State.REFUSED)
    with site.services.begin() as session:
        session.execute(update(Job).values(created_at=now(-60)))
    move_id = ask(site, batch, Selection(State.REFUSED))
    with site.services.begin() as session:
        assert long_moves.advance(session, move_id)
        ended = update(Job).where(Job.replaces.is_not(None)).values(state=State.REFUSED, created_at=now(1))
        session.execute(ended)
    assert long_moves.carry_out(site.services, move_id).moved == 4
    assert site.read_counts(batch.id).by == {(Stage.INGEST, State.REFUSED): 2, (Stage.INGEST, State.READY): 2}


def test_without_a_recipe_each_photo_keeps_its_own(site: Site) -> None:
    batch = site.add_batch()
    first, _ = site.add_many_jobs(2, batch, State.REFUSED)
    run_again(site, batch, Selection(), recipe=KEEP)
    with site.services.begin() as session:
        session.execute(update(Job).where(Job.state == State.READY).values(state=State.REFUSED))
    run_again(site, batch, Selection())
    with site.services.read() as session:
        newest = chains.load(session, batch.tenant_id, first)[-1]
        assert chains.get_recipe(session, session.get_one(Job, newest.job_id)) == KEEP


def test_a_batch_that_is_cancelled_meanwhile_ends_the_move(site: Site) -> None:
    batch = site.add_batch()
    job_ids = site.add_many_jobs(3, batch, State.REFUSED)
    move_id = ask(site, batch, Selection())
    with site.services.begin() as session:
        changes.close_batch(session, batch.tenant_id, batch.id)
    move = long_moves.carry_out(site.services, move_id)
    assert (move.moved, move.ended_at is not None) == (0, True)
    assert count_replaced(site, job_ids) == 0
    with pytest.raises(IllegalMove, match="cancelled"):
        ask(site, batch, Selection())


def test_what_cannot_be_asked_for_is_told(site: Site) -> None:
    batch, other = site.add_batch(), site.add_batch("archive")
    with pytest.raises(InvalidRequest, match="has not ended"):
        ask(site, batch, Selection(State.RUNNING))
    with pytest.raises(NotFound), site.services.begin() as session:
        long_moves.run_again(session, other.tenant_id, batch.id, Selection())
