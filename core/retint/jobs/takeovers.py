"""Results that are here are not computed again: a ready job takes over what another job of its tenant has made.

The photo must be the same, and what the result was made with (see `recipes.hash_making`): recipe, weights, version. The
job gets done attempts of its own, which name the other job and the other job's files; they took no seconds. So these
files have several users, and stay as long as a done attempt of any of them names them (see `sweeps`).
"""

import uuid
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Double, case, cast, insert, select, text, update
from sqlalchemy.orm import Session

from retint import recipes
from retint.columns import now
from retint.database import NO_SYNC
from retint.jobs.attempts import ATTEMPTS
from retint.lifecycle import READY_PHASES, STAGES, Outcome, Stage, State
from retint.recipes import Recipe
from retint.tables import IS_MADE, IS_READY, Batch, Job, StoredRecipe

Making = tuple[uuid.UUID, str]
"""A photo, and the hash of what a result of it is made with."""


class Source(NamedTuple):
    """A job that made a result, and how risky that is."""

    job_id: uuid.UUID
    risk: float | None


def take_over(
    session: Session, tenant_id: uuid.UUID, batch_id: uuid.UUID, recipe: Recipe, limit: int, imported: Path
) -> int:
    """Let those of the next ready jobs of a batch that have not begun take over results that are here.

    Args:
        session: the transaction.
        tenant_id: the batch's; results of other tenants are never taken over.
        batch_id: the batch; nothing is done where it is paused or cancelled.
        recipe: the batch's.
        limit: most jobs to look at, in the order in which they are queued.
        imported: folder of imported weights (`Settings.weights`).

    Returns:
        How many took over a result.
    """
    following = (
        select(Job.id, Job.photo_id, Job.recipe_hash)
        .join(Batch, Batch.id == Job.batch_id)
        .where(
            text(IS_READY),
            Job.batch_id == batch_id,
            Job.phase == READY_PHASES[Stage.INGEST],
            Job.not_before <= now(),
            Batch.paused_at.is_(None),
            Batch.cancelled_at.is_(None),
        )
        .order_by(Job.not_before)
        .limit(limit)
        .with_for_update(of=Job, skip_locked=True)
    )
    waiting = session.execute(following).all()
    made_with = _hash_makings(session, recipe, {row.recipe_hash for row in waiting}, imported)
    wanted = {row.id: (row.photo_id, made_with[row.recipe_hash]) for row in waiting if row.recipe_hash in made_with}
    made = _find_made(session, tenant_id, set(wanted.values()))
    return _restore(session, {job_id: made[making] for job_id, making in wanted.items() if making in made})


def _hash_makings(
    session: Session, recipe: Recipe, own: Collection[str | None], imported: Path
) -> dict[str | None, str]:
    """Return what results are made with today, by the hash of a job's own recipe; that of the batch's by None.

    Recipes of which a network's weights are not known are left out.
    """
    named: dict[str | None, Recipe] = {None: recipe}
    if hashes := [recipe_hash for recipe_hash in own if recipe_hash]:
        for row in session.execute(select(StoredRecipe.hash, StoredRecipe.recipe).where(StoredRecipe.hash.in_(hashes))):
            named[row.hash] = Recipe.model_validate(row.recipe)
    found = {key: recipes.hash_making(each, recipes.find_weights(each, imported)) for key, each in named.items()}
    return {key: made_with for key, made_with in found.items() if made_with}


def _find_made(session: Session, tenant_id: uuid.UUID, wanted: Collection[Making]) -> dict[Making, Source]:
    """Find the jobs that made these results, the first one of each."""
    if not wanted:
        return {}
    photo_ids, made_with = {photo_id for photo_id, _ in wanted}, {made_with for _, made_with in wanted}
    made = (
        select(Job.id, Job.photo_id, Job.made_with, Job.risk)
        .where(
            text(IS_MADE),
            Job.tenant_id == tenant_id,
            Job.photo_id.in_(photo_ids),
            Job.made_with.in_(made_with),
            Job.state == State.RESTORED,
        )
        .order_by(Job.id.desc())
    )
    return {(row.photo_id, row.made_with): Source(row.id, row.risk) for row in session.execute(made)}


def _restore(session: Session, sources: Mapping[uuid.UUID, Source]) -> int:
    """Move ready jobs to restored, each with the done attempts of its source. Returns how many moved."""
    if not sources:
        return 0
    risks = {job_id: source.risk for job_id, source in sources.items()}
    moved = session.execute(
        update(Job)
        .where(Job.id.in_(sources), Job.state == State.READY, Job.stage == Stage.INGEST)
        .values(
            stage=STAGES[-1],
            state=State.RESTORED,
            attempt=Job.attempt + len(STAGES),
            faults=0,
            worker_id=None,
            started_at=None,
            reason_code=None,
            reason=None,
            ended_at=now(),
            risk=cast(case(risks, value=Job.id), Double),  # PostgreSQL takes unknown risks for text
        )
        .returning(Job.id, Job.tenant_id, Job.attempt),
        execution_options=NO_SYNC,
    ).all()
    done = session.execute(
        select(*(ATTEMPTS.c[name] for name in ("job_id", "stage", "files", "facts"))).where(
            ATTEMPTS.c.job_id.in_({source.job_id for source in sources.values()}), ATTEMPTS.c.outcome == Outcome.DONE
        )
    )
    found = {(row.job_id, Stage(row.stage)): row for row in done}
    rows = [
        {
            "job_id": job.id,
            "number": job.attempt - len(STAGES) + place,
            "tenant_id": job.tenant_id,
            "stage": stage,
            "outcome": Outcome.DONE,
            "files": found[source, stage].files,
            "facts": found[source, stage].facts,
            "timings": {},
            "source": source,
        }
        for job in moved
        for source in [sources[job.id].job_id]
        for place, stage in enumerate(STAGES, 1)
    ]
    if rows:
        session.execute(insert(ATTEMPTS), rows)
    return len(moved)
