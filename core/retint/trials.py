"""Trials: one photo through several recipes, side by side, before a thousand photos go through one.

A try is a batch of one job that carries the trial's id. It runs exactly as a deposit does, and gives the same result.
The photo is stored once, however many tries it has, and is not sent again when it is deposited.
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

from retint import audit, batches, quotas, recipes
from retint.columns import new_id
from retint.errors import InvalidRequest, NotFound, Refused
from retint.jobs import changes
from retint.lifecycle import ACTIVE, Outcome, Stage, State
from retint.names import clean_name
from retint.recipes import Recipe
from retint.tables import Attempt, Batch, Job, Photo
from retint.tenancy import get_owned, select_owned
from retint_models.weights.cards import IMPORTED, Card, read_cards

SUGGESTED_LIMIT: Final = 12
"""Most recipes that are suggested: as many as a person can compare."""
TRY_LIMIT: Final = 24
"""Most tries of one trial, with those that were added."""
PRIORITY: Final = 8
"""Priority of tries, above that of deposits: a person waits in front of an empty frame."""
VARIED_SETTINGS: Final = ("render_factor", "side", "gain")
"""The settings that change a picture most; a network has one of them or none."""
FACTORS: Final = (1.0, 0.6, 1.25)
"""Factors of the default value that are tried, the most informative first."""
LEADING: Final = ("compact", "artistic", "ddcolor")
"""Colorizers of the shortest comparison: ours, and the most vivid that others published under a permissive license."""


@dataclass(frozen=True)
class Try:
    """One photo through one recipe, of a trial or of a proof, and the progress of its job."""

    batch_id: UUID
    job_id: UUID
    photo_id: UUID
    name: str
    recipe: Recipe
    stage: Stage
    state: State
    reason_code: str | None
    reason: str | None
    seconds: float = 0
    """Time that its done attempts took."""
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
    """One photo and all of its tries."""

    id: UUID
    name: str
    created_at: datetime
    photo: Photo
    tries: list[Try]

    @property
    def is_over(self) -> bool:
        """Whether no try waits or runs any more."""
        return not any(one.state in ACTIVE for one in self.tries)


@dataclass(frozen=True)
class TrialSummary:
    """A trial in a list."""

    id: UUID
    name: str
    created_at: datetime
    tries: int
    job_id: UUID | None
    """One of its restored jobs, to show its picture; None until there is one."""


def suggest_recipes(names: Sequence[str] = (), base: Recipe | None = None, imported: Path = IMPORTED) -> list[Recipe]:
    """Suggest recipes for a trial: every colorizer that is here, at up to three values of its main setting.

    Args:
        names: only these colorizers; if empty, all but those whose training data are undisclosed: they must be named.
        base: the other fields of the recipes.
        imported: folder of imported weights.

    Raises:
        InvalidRequest: a named colorizer is not here.
    """
    base = base or Recipe.model_validate({})
    here = recipes.usable_networks("colorizer", imported)
    for name in names:
        recipes.check(Recipe.model_validate({"colorizer": name}), imported)
    disclosed = [name for name, card in here.items() if name != "keep" and not card.undisclosed_data]
    wanted = [here[name] for name in names or disclosed]
    # First the best variant of every colorizer, then the second ones: no colorizer is left out.
    rounds = zip_longest(*(_list_variants(network) for network in wanted))
    variants = [variant for one_round in rounds for variant in one_round if variant is not None][:SUGGESTED_LIMIT]
    places = {network.name: place for place, network in enumerate(wanted)}
    variants.sort(key=lambda variant: (places[variant[0]], list(variant[1].values())))
    return [base.model_copy(update={"colorizer": name, "colorizer_settings": settings}) for name, settings in variants]


def suggest_leading(base: Recipe | None = None, imported: Path = IMPORTED) -> list[Recipe]:
    """Suggest the shortest comparison: those of the `LEADING` colorizers that are here, with their usual settings.

    Args:
        base: the other fields of the recipes.
        imported: folder of imported weights.
    """
    base = base or Recipe.model_validate({})
    here = recipes.usable_networks("colorizer", imported)
    return [base.model_copy(update={"colorizer": name, "colorizer_settings": {}}) for name in LEADING if name in here]


def _list_variants(network: Card) -> list[tuple[str, dict[str, float]]]:
    """List a network's settings that are worth comparing, as its name and the settings; the default comes first."""
    for name in VARIED_SETTINGS:
        if name in network.settings:
            setting = network.settings[name]
            stepped = (round(round(setting.default * factor / setting.step) * setting.step, 6) for factor in FACTORS)
            values = dict.fromkeys(min(max(value, setting.least), setting.most) for value in stepped)
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
    """Open a trial of a photo with some recipes. Returns the trial's id.

    Raises:
        InvalidRequest: no recipe, too many, one that cannot be used here, or no name.
    """
    if not 0 < len(wanted) <= TRY_LIMIT:
        raise InvalidRequest(f"A trial has 1 to {TRY_LIMIT} recipes.", code="too_many_tries")
    trial_id = new_id()
    for recipe in {recipe.hash: recipe for recipe in wanted}.values():
        _start_try(session, tenant_id, trial_id, photo, name, recipe, created_by, imported)
    after = {"photo": photo.id, "recipes": [recipe.hash for recipe in wanted]}
    audit.record(session, "trial_begun", trial_id, tenant_id=tenant_id, after=after)
    return trial_id


def add_try(
    session: Session,
    tenant_id: UUID,
    trial_id: UUID,
    recipe: Recipe,
    *,
    created_by: UUID | None = None,
    imported: Path = IMPORTED,
) -> UUID:
    """Add a recipe to a trial, unless it is there already. Returns the id of its job.

    Raises:
        NotFound: no such trial.
        InvalidRequest: the recipe cannot be used here.
        Refused: the trial is full.
    """
    tried = {batch.id: batch for batch in _get_batches(session, tenant_id, trial_id)}
    found = session.scalars(select_owned(Job, tenant_id).where(Job.batch_id.in_(tried)).order_by(Job.id)).all()
    for job in found:
        if tried[job.batch_id].recipe_hash == recipe.hash and job.state is not State.CANCELLED:
            return job.id
    if len(found) >= TRY_LIMIT:
        raise Refused(
            f"A trial has at most {TRY_LIMIT} tries. Begin another one with this photo.", code="too_many_tries"
        )
    photo = get_owned(session, Photo, tenant_id, found[0].photo_id)
    audit.record(session, "trial_try_added", trial_id, tenant_id=tenant_id, after={"recipe": recipe.model_dump()})
    return _start_try(session, tenant_id, trial_id, photo, found[0].name, recipe, created_by, imported).id


def _start_try(
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
        priority=quotas.cap_priority(session, tenant_id, PRIORITY),
        created_by=created_by,
        trial=trial_id,
        imported=imported,
    )
    return changes.add_job(session, batch, photo, name)


def load(session: Session, tenant_id: UUID, trial_id: UUID) -> Trial:
    """Load everything that a trial's page shows.

    Raises:
        NotFound: no such trial.
    """
    tried = _get_batches(session, tenant_id, trial_id)
    tries = load_tries(session, tenant_id, tried)
    return Trial(
        id=trial_id,
        name=tries[0].name,
        created_at=min(batch.created_at for batch in tried),
        photo=get_owned(session, Photo, tenant_id, tries[0].photo_id),
        tries=sorted(tries, key=_sort_key),
    )


def load_tries(session: Session, tenant_id: UUID, tried: Sequence[Batch]) -> list[Try]:
    """Load what has become of the jobs of batches, in the order in which they were added."""
    recipe_of = {batch.id: Recipe.model_validate(batch.recipe) for batch in tried}
    found = session.scalars(select_owned(Job, tenant_id).where(Job.batch_id.in_(recipe_of)).order_by(Job.id)).all()
    done: dict[UUID, list[Attempt]] = {job.id: [] for job in found}
    for attempt in session.scalars(
        select_owned(Attempt, tenant_id)
        .where(Attempt.job_id.in_(done), Attempt.outcome == Outcome.DONE)
        .order_by(Attempt.number)
    ):
        done[attempt.job_id].append(attempt)
    return [_make_try(recipe_of[job.batch_id], job, done[job.id]) for job in found]


def _sort_key(one: Try) -> tuple[Any, ...]:
    """Sort similar tries next to each other: by network, then by setting."""
    networks = [*read_cards(), "keep"]
    recipe = one.recipe
    place = networks.index(recipe.colorizer) if recipe.colorizer in networks else len(networks)
    return place, sorted(recipe.colorizer_settings.items()), recipe.defader, recipe.strength, one.job_id


def _make_try(recipe: Recipe, job: Job, done: Sequence[Attempt]) -> Try:
    files: dict[str, str] = {}
    for attempt in done:
        files |= attempt.files
    return Try(
        batch_id=job.batch_id,
        job_id=job.id,
        photo_id=job.photo_id,
        name=job.name,
        recipe=recipe,
        stage=job.stage,
        state=job.state,
        reason_code=job.reason_code,
        reason=job.reason,
        seconds=round(sum(attempt.seconds for attempt in done), 3),
        files=files,
        facts={Stage(attempt.stage): attempt.facts for attempt in done},
    )


def list_page(session: Session, tenant_id: UUID, after: UUID | None = None, limit: int = 50) -> list[TrialSummary]:
    """List a tenant's trials, newest first, those after the trial `after`."""
    # Ids are time-ordered, also those of trials.
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
    found: dict[UUID, TrialSummary] = {}
    for row in session.execute(tried):
        so_far = found.get(row.trial, TrialSummary(row.trial, row.name, row.created_at, 0, None))
        picture = so_far.job_id or (row.id if row.state is State.RESTORED else None)
        found[row.trial] = replace(so_far, tries=so_far.tries + 1, job_id=picture)
    return [found[trial_id] for trial_id in wanted if trial_id]


def cancel(session: Session, tenant_id: UUID, trial_id: UUID) -> int:
    """Cancel the jobs of a trial that have not ended. Returns how many.

    Raises:
        NotFound: no such trial.
    """
    tried = _get_batches(session, tenant_id, trial_id)
    for batch in tried:
        changes.close_batch(session, tenant_id, batch.id)
    audit.record(session, "trial_cancelled", trial_id, tenant_id=tenant_id)
    return changes.cancel(session, Job.batch_id.in_([batch.id for batch in tried]))


def _get_batches(session: Session, tenant_id: UUID, trial_id: UUID) -> Sequence[Batch]:
    found = session.scalars(select_owned(Batch, tenant_id).where(Batch.trial == trial_id).order_by(Batch.id)).all()
    if not found:
        raise NotFound("There is no such trial.")
    return found
