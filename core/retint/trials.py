"""Trials: one photo through several recipes, side by side, before a thousand photos go through one.

A try is a batch of one job that carries the trial's id; so it runs exactly as a deposit would, and what is seen is what
a deposit gives. The photo is kept once however often it is tried, and need not be sent again when it is deposited.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from retint import batches, recipes
from retint.errors import InvalidRequest, NotFound, Refused
from retint.jobs import changes
from retint.lifecycle import ACTIVE, Outcome, Stage, State
from retint.names import clean_name
from retint.recipes import Recipe
from retint.tables import Attempt, Batch, Job, Photo, new_id
from retint.tenancy import get_owned, owned
from retint_models.weights.cards import IMPORTED, Card, read_cards

USUAL: Final = 12
"""Tries of the usual set, at most: what a person can compare."""
MOST: Final = 24
"""Tries of one trial, at most, with those that were added."""
PRIORITY: Final = 8
"""Before deposits: a person looks at an empty frame."""
VARIED: Final = ("render_factor", "gain")
"""The settings that change a picture most; a network has one of them or none."""
SPREAD: Final = (1.0, 0.6, 1.25)
"""Which shares of its default are tried, the most telling first."""


@dataclass(frozen=True)
class Try:
    """One recipe of a trial, and how far its picture is."""

    batch_id: UUID
    job_id: UUID
    recipe: Recipe
    stage: Stage
    state: State
    reason_code: str | None
    reason: str | None
    seconds: float = 0
    """Time that done attempts worked on it."""
    files: dict[str, str] = field(default_factory=dict)
    """Name to key in the store."""
    facts: dict[Stage, dict[str, Any]] = field(default_factory=dict)
    """What each done stage found."""

    @property
    def remark(self) -> str | None:
        """A sentence about the result that people must read, such as that it has no color; None if there is none."""
        return self.facts.get(Stage.RENDER, {}).get("colorless")


@dataclass(frozen=True)
class Trial:
    """One photo and all that was tried with it."""

    id: UUID
    name: str
    created_at: datetime
    photo: Photo
    tries: list[Try]

    @property
    def is_over(self) -> bool:
        """Whether nothing more comes by itself."""
        return not any(each.state in ACTIVE for each in self.tries)


@dataclass(frozen=True)
class Listed:
    """A trial in a list."""

    id: UUID
    name: str
    created_at: datetime
    tries: int
    job_id: UUID | None
    """One of its jobs that are restored, to show its picture; none before one is."""


def usual(names: Sequence[str] = (), base: Recipe | None = None, imported: Path = IMPORTED) -> list[Recipe]:
    """Put together what is tried if nobody says: every network that is here, at up to three settings each.

    Args:
        names: of which colorizers; all of them where none is named.
        base: what all tries have in common.
        imported: folder of imported weights.

    Raises:
        InvalidRequest: a colorizer is named that is not here.
    """
    base = base or Recipe.model_validate({})
    here = recipes.usable_networks("colorizer", imported)
    for name in names:
        recipes.check(Recipe.model_validate({"colorizer": name}), imported)
    wanted = [here[name] for name in names] if names else [here[name] for name in here if name != "keep"]
    # The usual setting of each before the second setting of any: nobody is left out where there are many.
    turns = zip_longest(*(_variants(network) for network in wanted))
    tried = [one for turn in turns for one in turn if one is not None][:USUAL]
    places = {network.name: place for place, network in enumerate(wanted)}
    tried.sort(key=lambda one: (places[one[0]], list(one[1].values())))
    return [base.model_copy(update={"colorizer": name, "colorizer_settings": settings}) for name, settings in tried]


def _variants(network: Card) -> list[tuple[str, dict[str, float]]]:
    """Name a network's settings that are worth comparing, the usual one first."""
    for name in VARIED:
        if name in network.settings:
            setting = network.settings[name]
            shares = (round(round(setting.default * share / setting.step) * setting.step, 6) for share in SPREAD)
            values = dict.fromkeys(min(max(value, setting.least), setting.most) for value in shares)
            return [(network.name, {name: value}) for value in values]
    return [(network.name, {})]


def open(
    session: Session,
    tenant_id: UUID,
    photo: Photo,
    name: str,
    wanted: Sequence[Recipe],
    *,
    created_by: UUID | None = None,
    imported: Path = IMPORTED,
) -> UUID:
    """Begin to try a photo with some recipes; gives the trial's id.

    Raises:
        InvalidRequest: no recipe, too many, one that cannot be run here, or no name.
    """
    if not 0 < len(wanted) <= MOST:
        raise InvalidRequest(f"A trial has 1 to {MOST} recipes.", code="too_many_tries")
    trial_id = new_id()
    for recipe in {recipe.hash: recipe for recipe in wanted}.values():
        _begin(session, tenant_id, trial_id, photo, name, recipe, created_by, imported)
    return trial_id


def add(
    session: Session,
    tenant_id: UUID,
    trial_id: UUID,
    recipe: Recipe,
    *,
    created_by: UUID | None = None,
    imported: Path = IMPORTED,
) -> UUID:
    """Try one recipe more; one that is tried already is not tried again. Gives its job's id.

    Raises:
        NotFound: no such trial.
        InvalidRequest: the recipe cannot be run here.
        Refused: the trial is full.
    """
    tried = {batch.id: batch for batch in _batches(session, tenant_id, trial_id)}
    found = session.scalars(owned(Job, tenant_id).where(Job.batch_id.in_(tried)).order_by(Job.id)).all()
    for job in found:
        if tried[job.batch_id].recipe_hash == recipe.hash and job.state is not State.CANCELLED:
            return job.id
    if len(found) >= MOST:
        raise Refused(f"A trial has at most {MOST} tries. Begin another one with this photo.", code="too_many_tries")
    photo = get_owned(session, Photo, tenant_id, found[0].photo_id)
    return _begin(session, tenant_id, trial_id, photo, found[0].name, recipe, created_by, imported).id


def _begin(
    session: Session,
    tenant_id: UUID,
    trial_id: UUID,
    photo: Photo,
    name: str,
    recipe: Recipe,
    created_by: UUID | None,
    imported: Path,
) -> Job:
    name = clean_name(name)
    batch = batches.open(
        session,
        tenant_id,
        name[-200:],
        recipe,
        priority=PRIORITY,
        created_by=created_by,
        trial=trial_id,
        imported=imported,
    )
    return changes.add_job(session, batch, photo, name)


def show(session: Session, tenant_id: UUID, trial_id: UUID) -> Trial:
    """Gather everything that a trial's page shows.

    Raises:
        NotFound: no such trial.
    """
    tried = {batch.id: batch for batch in _batches(session, tenant_id, trial_id)}
    found = session.scalars(owned(Job, tenant_id).where(Job.batch_id.in_(tried)).order_by(Job.id)).all()
    done: dict[UUID, list[Attempt]] = {job.id: [] for job in found}
    for attempt in session.scalars(
        owned(Attempt, tenant_id)
        .where(Attempt.job_id.in_(done), Attempt.outcome == Outcome.DONE)
        .order_by(Attempt.number)
    ):
        done[attempt.job_id].append(attempt)
    return Trial(
        id=trial_id,
        name=found[0].name,
        created_at=min(batch.created_at for batch in tried.values()),
        photo=get_owned(session, Photo, tenant_id, found[0].photo_id),
        tries=sorted((_try(tried[job.batch_id], job, done[job.id]) for job in found), key=_place),
    )


def _place(each: Try) -> tuple[Any, ...]:
    """Put what is alike next to each other: by network, then by setting."""
    networks = [*read_cards(), "keep"]
    recipe = each.recipe
    place = networks.index(recipe.colorizer) if recipe.colorizer in networks else len(networks)
    return place, sorted(recipe.colorizer_settings.items()), recipe.defader, recipe.strength, each.job_id


def _try(batch: Batch, job: Job, done: Sequence[Attempt]) -> Try:
    files: dict[str, str] = {}
    for attempt in done:
        files |= attempt.files
    spans = [(attempt.ended_at - attempt.started_at).total_seconds() for attempt in done if attempt.started_at]
    return Try(
        batch_id=batch.id,
        job_id=job.id,
        recipe=Recipe.model_validate(batch.recipe),
        stage=job.stage,
        state=job.state,
        reason_code=job.reason_code,
        reason=job.reason,
        seconds=round(sum(spans), 3),
        files=files,
        facts={Stage(attempt.stage): attempt.facts for attempt in done},
    )


def page(session: Session, tenant_id: UUID, after: UUID | None = None, limit: int = 50) -> list[Listed]:
    """List a tenant's trials, newest first, those after the trial `after`."""
    # Ids are time-ordered, those of trials, too.
    newest = (
        select(Batch.trial)
        .where(Batch.tenant_id == tenant_id, Batch.trial.is_not(None))
        .distinct()
        .order_by(Batch.trial.desc())
        .limit(limit)
    )
    wanted = session.scalars(newest if after is None else newest.where(Batch.trial < after)).all()
    tried = (
        select(Batch.trial, Batch.created_at, Job.id, Job.name, Job.state)
        .join(Job, Job.batch_id == Batch.id)
        .where(Batch.tenant_id == tenant_id, Batch.trial.in_(wanted))
        .order_by(Job.id)
    )
    found: dict[UUID, Listed] = {}
    for row in session.execute(tried):
        so_far = found.get(row.trial, Listed(row.trial, row.name, row.created_at, 0, None))
        picture = so_far.job_id or (row.id if row.state is State.RESTORED else None)
        found[row.trial] = replace(so_far, tries=so_far.tries + 1, job_id=picture)
    return [found[trial_id] for trial_id in wanted if trial_id]


def cancel(session: Session, tenant_id: UUID, trial_id: UUID) -> int:
    """Cancel what has not ended of a trial; tells how many tries.

    Raises:
        NotFound: no such trial.
    """
    return sum(changes.cancel_batch(session, tenant_id, batch.id) for batch in _batches(session, tenant_id, trial_id))


def _batches(session: Session, tenant_id: UUID, trial_id: UUID) -> Sequence[Batch]:
    found = session.scalars(owned(Batch, tenant_id).where(Batch.trial == trial_id).order_by(Batch.id)).all()
    if not found:
        raise NotFound("There is no such trial.")
    return found
