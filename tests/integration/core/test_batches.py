"""Batches on both databases."""

import uuid

from sqlalchemy import update

from retint import accounts, batches
from retint.jobs.changes import add_job
from retint.lifecycle import Stage, State
from retint.recipes import Recipe
from retint.services import Services
from retint.tables import Job, Photo


def test_a_page_of_one_state_neither_skips_nor_repeats_what_stays_while_others_move(services: Services) -> None:
    """Between any two pages the jobs change their stage, their time, or their state."""
    with services.begin() as session:
        tenant = accounts.get_or_create_tenant(session, "museum")
        batch = batches.open(session, tenant.id, "Box", Recipe.model_validate({}))
        ids = []
        for n in range(40):
            photo = Photo(tenant_id=tenant.id, sha256=f"{n:064}", size=1)
            session.add(photo)
            session.flush()
            ids.append(add_job(session, batch, photo, f"{n}.jpg").id)
    seen: list[uuid.UUID] = []
    while True:
        with services.read() as session:
            after = seen[-1] if seen else None
            page = batches.list_jobs_page(session, tenant.id, batch.id, state=State.READY, after=after, limit=7)
        if not page:
            break
        seen += [each.id for each in page]
        n = len(seen)
        with services.begin() as session:
            # The last one of the page goes on, and one that was not shown yet is done; both stood at the cursor.
            for job_id, state in ((seen[-1], State.READY), (ids[min(n, 39)], State.RESTORED)):
                moved = {"stage": Stage.COLORIZE, "state": state, "not_before": Job.created_at}
                session.execute(update(Job).where(Job.id == job_id).values(moved))
    assert len(seen) == len(set(seen))
    gone = {ids[n] for n in range(40)} - set(seen)
    with services.read() as session:
        states = {job_id: session.get_one(Job, job_id).state for job_id in gone}
    assert set(states.values()) == {State.RESTORED}
