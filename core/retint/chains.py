"""Chains: the jobs that one deposited file went through, each of which took the place of the one before."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import CTE, Select, and_, select, union
from sqlalchemy.orm import Session, aliased

from retint import records
from retint.errors import NotFound
from retint.lifecycle import Outcome, Stage, State
from retint.recipes import Recipe
from retint.tables import Attempt, Batch, Job


@dataclass(frozen=True)
class Link:
    """One job of a chain."""

    job_id: UUID
    replaced_by: UUID | None
    """The job that took its place; None for the newest."""
    state: State
    created_at: datetime
    result_sha256: str | None
    """None without a result."""


def load(session: Session, tenant_id: UUID, job_id: UUID) -> list[Link]:
    """Load the whole chain that a job belongs to, the oldest first; mostly that is the job alone.

    Raises:
        NotFound: no such job.
    """
    after, before = _follow([job_id], forward=True), _follow([job_id], forward=False)
    ids = union(select(after.c.id), select(before.c.id)).subquery()
    found = session.execute(_select_links().where(Job.tenant_id == tenant_id, Job.id.in_(select(ids.c.id)))).all()
    if not found:
        raise NotFound("There is no such photo.")
    return [Link(*row) for row in found]


def load_earlier(session: Session, job_ids: Iterable[UUID]) -> dict[UUID, list[Link]]:
    """Load what these jobs replace, by job, the oldest first; a job that replaces none has no entry."""
    before = _follow(list(job_ids), forward=False)
    rows = session.execute(
        _select_links().add_columns(before.c.start).join(before, and_(before.c.id == Job.id, before.c.start != Job.id))
    )
    chains: dict[UUID, list[Link]] = {}
    for *link, start in rows:
        chains.setdefault(start, []).append(Link(*link))
    return chains


def get_recipe(session: Session, job: Job) -> Recipe:
    """Return the recipe that a job goes through: its own, or its batch's."""
    batch = session.get_one(Batch, job.batch_id)
    return Recipe.model_validate(records.read_recipe(session, batch, job.recipe_hash))


def _follow(job_ids: Sequence[UUID], *, forward: bool) -> CTE:
    """Select chains from these jobs on, to newer or to earlier ones; each row says at which job its chain started."""
    first = aliased(Job)
    chain = (
        select(first.id.label("start"), first.id.label("id"), first.replaces.label("replaces"))
        .where(first.id.in_(job_ids))
        .cte("newer" if forward else "earlier", recursive=True)
    )
    step = Job.replaces == chain.c.id if forward else Job.id == chain.c.replaces
    return chain.union_all(select(chain.c.start, Job.id, Job.replaces).where(step))


def _select_links() -> Select[UUID, UUID | None, State, datetime, str | None]:
    rendered = and_(Attempt.job_id == Job.id, Attempt.stage == Stage.RENDER, Attempt.outcome == Outcome.DONE)
    return (
        select(Job.id, Job.replaced_by, Job.state, Job.created_at, Attempt.facts["sha256"].as_string())
        .outerjoin(Attempt, rendered)
        .order_by(Job.created_at, Job.id)
    )
