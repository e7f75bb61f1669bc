"""Proofs: some photographs of a paused batch through two or three recipes, before all of it goes through one.

A proof is a batch a recipe. They name the batch whose proof they are, and have the same photographs. They run exactly
as deposits do, so what a proof has made is taken over when the batch is released with the same recipe (`takeovers`).
Which photographs are proved is chosen by what is known before a file is opened; ingest is part of the proof.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import mean
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row, Select, select, update
from sqlalchemy.orm import Session, aliased

from retint import audit, batches, fleets, quotas, recipes, samples, trials
from retint.columns import now
from retint.database import NO_SYNC
from retint.errors import IllegalMove, InvalidRequest, NotFound
from retint.jobs import changes, tallies
from retint.lifecycle import ACTIVE, QUEUES, READY_PHASES, Outcome, Stage, State, phases_of
from retint.recipes import Recipe
from retint.tables import Attempt, Batch, Job
from retint.tenancy import get_owned, select_owned
from retint.trials import Try
from retint_models.weights.cards import IMPORTED

MOST_RECIPES: Final = 3
ENOUGH: Final = 6
"""Restored photographs after which the time of the whole batch is told; else, at the proof's end."""

WAIT_S: Final = 120.0
"""How long a released batch waits for those photos of its proof that are not restored yet, in seconds."""

_BEGUN: Final = tuple(
    phase
    for state in State
    for phase in phases_of(state)
    if phase != READY_PHASES[Stage.INGEST] and state is not State.CANCELLED
)


@dataclass(frozen=True)
class Estimate:
    """What the whole batch will take with one recipe, as measured on this proof.

    Attributes:
        photo_s: seconds that one worker of each fleet has for a photograph.
        total_s: the same for all photographs of the batch.
        wall_s: seconds until the last one is restored, with the workers that run now; None where a fleet has none.
    """

    photo_s: dict[str, float]
    total_s: dict[str, float]
    wall_s: float | None


@dataclass(frozen=True)
class Column:
    """One recipe of a proof.

    Attributes:
        batch_id: its batch.
        recipe: the recipe.
        tries: one a photograph, in the order of the rows.
        estimate: None until enough is measured.
    """

    batch_id: UUID
    recipe: Recipe
    tries: list[Try]
    estimate: Estimate | None

    @property
    def is_taken_over(self) -> bool:
        """Whether all of it is here, and nothing was computed that could be measured."""
        return self.estimate is None and all(each.state is State.RESTORED for each in self.tries)

    @property
    def restored(self) -> int:
        """How many photographs are restored."""
        return sum(each.state is State.RESTORED for each in self.tries)


@dataclass(frozen=True)
class Proof:
    """A batch's proof; without columns where it has none.

    Attributes:
        batch: the batch that is proved.
        photos: how many photographs a release would restore.
        columns: the recipes, as they were asked for.
        can_begin: see `may_begin`.
    """

    batch: Batch
    photos: int
    columns: list[Column]
    can_begin: bool

    @property
    def rows(self) -> list[list[Try]]:
        """The tries of each photograph, in the order of the columns."""
        return [list(row) for row in zip(*(column.tries for column in self.columns), strict=True)]

    @property
    def is_over(self) -> bool:
        """Whether nothing of it waits or runs any more."""
        return not any(each.state in ACTIVE for column in self.columns for each in column.tries)


def suggest_recipes(recipe: Recipe, imported: Path = IMPORTED) -> list[Recipe]:
    """Suggest recipes for a proof: the batch's own, and others that differ from it in the colorizer alone.

    Args:
        recipe: the batch's.
        imported: folder of imported weights.
    """
    here = recipes.usable_networks("colorizer", imported)
    names = [*trials.LEADING, *(name for name, card in here.items() if not card.undisclosed_data)]
    others = [name for name in dict.fromkeys(names) if name in here and name not in ("keep", recipe.colorizer)]
    return [recipe, *(vary(recipe, name) for name in others)][:MOST_RECIPES]


def vary(recipe: Recipe, colorizer: str) -> Recipe:
    """Return a recipe with another colorizer at its usual settings, and all else as it was."""
    if colorizer == recipe.colorizer:
        return recipe
    return recipe.model_copy(update={"colorizer": colorizer, "colorizer_settings": {}})


def open(
    session: Session,
    tenant_id: UUID,
    batch_id: UUID,
    wanted: Sequence[Recipe],
    *,
    created_by: UUID | None = None,
    imported: Path = IMPORTED,
) -> None:
    """Open the proof of a batch. Opened again with the same recipes, it is the same proof.

    Raises:
        NotFound: no such batch.
        IllegalMove: the batch is cancelled, not paused, or has begun; it has a proof of other recipes, or nothing to
            prove.
        InvalidRequest: no recipe, too many, or one that cannot be used here.
    """
    batch = _lock(session, tenant_id, batch_id)
    different = {recipe.hash: recipe for recipe in wanted}
    if not 0 < len(different) <= MOST_RECIPES:
        raise InvalidRequest(f"A proof has 1 to {MOST_RECIPES} recipes.", code="proof_recipes")
    if open_ones := _list_open(session, batch):
        if {each.recipe_hash for each in open_ones} == different.keys():
            return
        raise IllegalMove("The batch has a proof already. Discard it to prove other recipes.", code="has_proof")
    _refuse_begun(session, batch)
    sample = samples.choose(session, batch)
    for recipe in different.values():
        proof = batches.open(
            session,
            tenant_id,
            batch.name,
            recipe,
            priority=quotas.cap_priority(session, tenant_id, trials.PRIORITY),
            created_by=created_by,
            proof_of=batch.id,
            imported=imported,
        )
        changes.add_jobs(session, proof, sample)
    after = {"recipes": list(different), "photos": len(sample)}
    audit.record(session, "proof_begun", batch_id, tenant_id=tenant_id, after=after)


def load(session: Session, tenant_id: UUID, batch_id: UUID) -> Proof:
    """Load everything that the page of a batch's proof shows.

    Raises:
        NotFound: no such batch, or it is itself a trial's or a proof.
    """
    batch = get_owned(session, Batch, tenant_id, batch_id)
    _refuse_hidden(batch)
    counts = tallies.count_jobs(session, [batch_id])[batch_id]
    photos = counts.total - counts.cancelled
    open_ones = _list_open(session, batch)
    tries: dict[UUID, list[Try]] = defaultdict(list)
    for one in trials.load_tries(session, tenant_id, open_ones) if open_ones else ():
        tries[one.batch_id].append(one)
    spent = _measure_spent(session, [one.job_id for column in tries.values() for one in column])
    live = Counter(worker.fleet for worker in fleets.list_live(session) if worker.trouble is None)
    columns = [
        _make_column(each, sorted(tries[each.id], key=lambda one: (one.name, one.photo_id)), spent, photos, live)
        for each in open_ones
    ]
    return Proof(batch, photos, columns, may_begin(session, batch))


def _make_column(
    of_recipe: Batch, tries: list[Try], spent: Mapping[UUID, Mapping[Stage, float]], photos: int, live: Counter[str]
) -> Column:
    restored = sum(one.state is State.RESTORED for one in tries)
    is_enough = restored >= ENOUGH or not any(one.state in ACTIVE for one in tries)
    measured = [spent[one.job_id] for one in tries if one.job_id in spent]
    estimate = _estimate(measured, photos, live) if is_enough else None
    return Column(of_recipe.id, Recipe.model_validate(of_recipe.recipe), tries, estimate)


def may_begin(session: Session, batch: Batch) -> bool:
    """Whether a batch can be proved, or released with a recipe of its proof: it is paused, and has not begun."""
    return batch.paused_at is not None and batch.cancelled_at is None and not _has_begun(session, batch.id)


def release(session: Session, tenant_id: UUID, batch_id: UUID, recipe_hash: str) -> Batch:
    """Resume a batch with a recipe of its proof. Released again with the same one, nothing changes.

    What the proof has made with this recipe is taken over; what is left of the other recipes is cancelled.

    Raises:
        NotFound: no such batch.
        IllegalMove: its proof has no such recipe; or it is cancelled, was resumed, released with another recipe, or has
            begun.
    """
    batch = _lock(session, tenant_id, batch_id)
    changes.refuse_cancelled(batch.cancelled_at)
    chosen = [each for each in _list_open(session, batch) if each.recipe_hash == recipe_hash]
    if not chosen:
        raise IllegalMove("The batch has no proof of this recipe. Prove it first.", code="not_proved")
    if batch.paused_at is None and batch.recipe_hash == recipe_hash:
        return batch
    _refuse_begun(session, batch)
    before, after = {"recipe": batch.recipe}, {"recipe": chosen[0].recipe}
    audit.record(session, "batch_released", batch_id, tenant_id=tenant_id, before=before, after=after)
    session.execute(
        update(Batch)
        .where(Batch.id == batch.id)
        .values(recipe=chosen[0].recipe, recipe_hash=recipe_hash, paused_at=None),
        execution_options=NO_SYNC,
    )
    _let_wait_for(session, batch, chosen[0])
    others = [each.id for each in _list_open(session, batch) if each.recipe_hash != recipe_hash]
    changes.cancel(session, Job.batch_id.in_(others))
    session.refresh(batch)
    return batch


def _let_wait_for(session: Session, batch: Batch, chosen: Batch) -> None:
    """Let jobs of a released batch wait for what the proof is still making of their photos, so that it is made once."""
    own, proof = aliased(Job), aliased(Job)
    unfinished = select(proof.photo_id).where(proof.batch_id == chosen.id, proof.state.in_(ACTIVE))
    waiting = select(own.id).where(own.batch_id == batch.id, own.photo_id.in_(unfinished))
    session.execute(update(Job).where(Job.id.in_(waiting)).values(not_before=now(WAIT_S)), execution_options=NO_SYNC)


def discard(session: Session, tenant_id: UUID, batch_id: UUID) -> None:
    """Discard a batch's proof: what has not ended is cancelled, and another one can be opened. Idempotent.

    Raises:
        NotFound: no such batch.
    """
    changes.cancel_proofs(session, tenant_id, _lock(session, tenant_id, batch_id).id)
    audit.record(session, "proof_discarded", batch_id, tenant_id=tenant_id)


def _lock(session: Session, tenant_id: UUID, batch_id: UUID) -> Batch:
    """Fetch a batch; until the transaction ends, nobody else opens, releases or resumes it."""
    query = select_owned(Batch, tenant_id).where(Batch.id == batch_id)
    batch = session.scalar(query.with_for_update().execution_options(populate_existing=True))
    if batch is None:
        raise NotFound("There is no such batch.")
    _refuse_hidden(batch)
    return batch


def _refuse_hidden(batch: Batch) -> None:
    """Refuse the batches of trials and proofs: they have no proof."""
    if not batch.is_deposit:
        raise NotFound("There is no such batch.")


def _refuse_begun(session: Session, batch: Batch) -> None:
    """Refuse a batch whose recipe can no longer be chosen.

    Raises:
        IllegalMove: says why.
    """
    changes.refuse_cancelled(batch.cancelled_at)
    if batch.paused_at is None:
        named = Recipe.model_validate(batch.recipe).colorizer
        message = f"The batch is not paused: it runs with the colorizer {named}."
        raise IllegalMove(message, code="batch_not_paused")
    if _has_begun(session, batch.id):
        message = "The restoration of this batch has begun. Resume it, or deposit the photos as another batch."
        raise IllegalMove(message, code="batch_begun")


def _has_begun(session: Session, batch_id: UUID) -> bool:
    """Whether a job of a batch is in flight, has passed its first stage, or has ended, other than cancelled."""
    begun = select(Job.id).where(Job.batch_id == batch_id, Job.phase.in_(_BEGUN)).limit(1)
    return session.scalar(begun) is not None


def _list_open(session: Session, batch: Batch) -> Sequence[Batch]:
    """List the batches of a proof that is not discarded, in the order of their recipes."""
    of_batch = (Batch.proof_of.is_not(None), Batch.proof_of == batch.id, Batch.cancelled_at.is_(None))
    return session.scalars(
        select_owned(Batch, batch.tenant_id).where(*of_batch).order_by(Batch.created_at, Batch.id)
    ).all()


# --- how long all of them will take -----------------------------------------------------------------------------------


def _measure_spent(session: Session, job_ids: Sequence[UUID]) -> dict[UUID, dict[Stage, float]]:
    """Measure the seconds of a worker that each stage of jobs took; of what was taken over, nothing is known.

    The photos of a bundle are claimed together, so the time of a bundle is divided among them. The first bundle of a
    worker counts only where there is no other: then it loads the networks.
    """
    done: Select[*tuple[Any, ...]] = (
        select(Attempt.job_id, Job.batch_id, Attempt.stage, Attempt.worker_id, Attempt.started_at, Attempt.ended_at)
        .join(Job, Job.id == Attempt.job_id)
        .where(
            Attempt.job_id.in_(job_ids),
            Attempt.outcome == Outcome.DONE,
            Attempt.source.is_(None),
            Attempt.started_at.is_not(None),
        )
    )
    bundles: dict[tuple[UUID, Stage, UUID | None], dict[datetime, list[Row[Any]]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for row in session.execute(done) if job_ids else ():
        bundles[row.batch_id, row.stage, row.worker_id][row.started_at].append(row)
    spent: dict[UUID, dict[Stage, float]] = defaultdict(dict)
    for (_, stage, _), by_start in bundles.items():
        for started_at, rows in sorted(by_start.items())[len(by_start) > 1 :]:
            seconds = (max(row.ended_at for row in rows) - started_at).total_seconds() / len(rows)
            spent |= {row.job_id: spent[row.job_id] | {stage: seconds} for row in rows}
    return spent


def _estimate(spent: Sequence[Mapping[Stage, float]], photos: int, live: Counter[str]) -> Estimate | None:
    """Estimate what a number of photos takes; None where a stage was not measured."""
    photo_s = dict.fromkeys(QUEUES.values(), 0.0)
    for stage, fleet in QUEUES.items():
        measured = [each[stage] for each in spent if stage in each]
        if not measured:
            return None
        photo_s[fleet] += mean(measured)
    total_s = {fleet: seconds * photos for fleet, seconds in photo_s.items()}
    has_workers = all(live[fleet] for fleet in total_s)
    wall_s = max(seconds / live[fleet] for fleet, seconds in total_s.items()) if has_workers else None
    return Estimate(photo_s, total_s, wall_s)
