"""Demand: how many workers each fleet should have now. One function for KEDA, for `retint up`, and for people.

The work that waits and runs, in measured seconds, is divided by what one worker does while work may wait. The
dispatcher assesses it every few seconds, from counts that it reads anyway, and writes it into the fleets' rows; whoever
asks reads a row. More workers are wanted at once, fewer only after `SCALE_IN_S`.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from retint.columns import now
from retint.errors import Transient
from retint.fleet_tables import Fleet
from retint.jobs.tallies import Load
from retint.lifecycle import ACTIVE, FLEETS, QUEUES, STAGES, Mode, Stage, State
from retint.recipes import Recipe
from retint.settings import Driver, Settings
from retint.tables import IS_UNFINISHED_FILM, Batch, Job

SCALE_IN_S: Final = 300.0
"""Fewer workers must have been enough for so long before fewer are wanted."""
STALE_S: Final = 60.0
"""An older assessment counts no more: no dispatcher leads."""
UNMET_S: Final = 300.0
"""Workers that have been missing for longer are told as missing, and not as starting."""
TOLERANCE: Final = 0.1
"""Share of the demand by which Kubernetes' autoscaler may stay behind: it does nothing about less."""
FIRST_SECONDS: Final = {Stage.INGEST: 1.0, Stage.COLORIZE: 1.0, Stage.DEFADE: 0.2, Stage.RENDER: 1.5}
"""A worker's time for a photo, until it is measured."""
FIRST_FRAME_SECONDS: Final = {Stage.INGEST: 0.02, Stage.COLORIZE: 0.2, Stage.DEFADE: 0.01, Stage.RENDER: 0.1}
"""The same for one frame of a film."""

Seconds = Mapping[tuple[str, str], float]
"""Mean seconds by stage and network (see `name_network`)."""


class Rule(StrEnum):
    """What decided a demand."""

    FIXED = "fixed"
    WORK = "work"
    FILMS = "films"
    COMING = "coming"
    IDLE = "idle"
    LEAST = "least"
    MOST = "most"
    HELD = "held"


class DemandUnknown(Transient):
    """No dispatcher has assessed the work lately."""

    code = "demand_unknown"


@dataclass(frozen=True)
class Speeds:
    """How long work takes, as measured: mean seconds of a photo, and of one frame of a film."""

    photo: Seconds = field(default_factory=dict)
    frame: Seconds = field(default_factory=dict)


@dataclass(frozen=True)
class FilmLoad:
    """Unfinished films of one batch at one stage in one active state: how many, and their frames together."""

    batch_id: object
    stage: Stage
    state: State
    n: int
    frames: int


@dataclass(frozen=True)
class Work:
    """The work of one fleet.

    Attributes:
        seconds: a worker's time for all of it.
        waiting: jobs that are ready or queued; those of paused batches are left out.
        running: jobs that a worker has.
        film_seconds: the films' share of it.
        films: films that wait or run: no two workers share one.
        running_films: those that run: each keeps its worker for long.
        coming: jobs at stages of the other fleet that come here later.
    """

    seconds: float = 0.0
    waiting: int = 0
    running: int = 0
    film_seconds: float = 0.0
    films: int = 0
    running_films: int = 0
    coming: int = 0


@dataclass(frozen=True)
class Limits:
    """What the operator wants of one fleet, and `cap`, the most that the installation can have."""

    mode: Mode
    wanted: int
    least: int
    most: int
    wait_s: float
    cap: int


@dataclass(frozen=True)
class Decision:
    """The newest demand, the rule that made it, and since when fewer workers would do, and at most how many."""

    demand: int = 0
    rule: Rule = Rule.IDLE
    lower_since: datetime | None = None
    lower_peak: int = 0


@dataclass(frozen=True)
class Demand:
    """A fleet's demand as it is told.

    Attributes:
        name: the fleet.
        limits: its limits.
        wanted: workers that it should have now.
        rule: what decided it.
        work: what it was made from.
        assessed_at: when; None for a fixed number, which needs no assessment.
        short_since: since when fewer workers live than wanted; None while there are enough.
        is_unmet: whether that is longer than starting takes.
    """

    name: str
    limits: Limits
    wanted: int
    rule: Rule
    work: Work
    assessed_at: datetime | None
    short_since: datetime | None
    is_unmet: bool

    @property
    def why(self) -> str:
        """Why so many are wanted, in a sentence or two."""
        return _explain(self)


def name_network(stage: str, recipe: Recipe) -> str:
    """Return the network that decides how long a stage takes; empty for a stage without one."""
    return {Stage.COLORIZE: recipe.colorizer, Stage.DEFADE: recipe.defader}.get(Stage(stage), "")


def measure_work(loads: Collection[Load], films: Collection[FilmLoad], speeds: Speeds) -> dict[str, Work]:
    """Measure the work of each fleet. A paused batch counts only where it runs."""
    work = {fleet: Work() for fleet in FLEETS}
    lengths = {(film.batch_id, film.stage, film.state): film for film in films}
    for load in loads:
        is_running = load.state is State.RUNNING
        if load.paused and not is_running:
            continue
        film = lengths.get((load.batch_id, load.stage, load.state))
        network = name_network(load.stage, load.recipe)
        photo_s = speeds.photo.get((load.stage, network), FIRST_SECONDS[load.stage])
        frame_s = speeds.frame.get((load.stage, network), FIRST_FRAME_SECONDS[load.stage])
        film_n, film_s = (min(film.n, load.n), film.frames * frame_s) if film else (0, 0.0)
        fleet = QUEUES[load.stage]
        found = work[fleet]
        work[fleet] = replace(
            found,
            seconds=found.seconds + (load.n - film_n) * photo_s + film_s,
            waiting=found.waiting + (0 if is_running else load.n),
            running=found.running + (load.n if is_running else 0),
            film_seconds=found.film_seconds + film_s,
            films=found.films + film_n,
            running_films=found.running_films + (film_n if is_running else 0),
        )
        for later in {QUEUES[stage] for stage in STAGES[STAGES.index(load.stage) + 1 :]} - {fleet}:
            work[later] = replace(work[later], coming=work[later].coming + load.n)
    return work


def decide(work: Work, limits: Limits, before: Decision, at: datetime) -> Decision:
    """Decide how many workers are wanted.

    Args:
        work: of the fleet.
        limits: of the fleet; the operator's count at once, also where they take workers away.
        before: the decision before this one.
        at: the time now.
    """
    if limits.mode is Mode.FIXED:
        wanted = min(limits.wanted, limits.cap)
        return Decision(wanted, Rule.FIXED if wanted == limits.wanted else Rule.MOST)
    need, rule = _limit(*_count_needed(work, limits), limits)
    most = min(limits.most, limits.cap)
    if need >= min(before.demand, most):
        return Decision(need, rule)
    since, peak = before.lower_since or at, max(need, before.lower_peak)
    if at - since < timedelta(seconds=SCALE_IN_S):
        return Decision(min(before.demand, most), Rule.HELD, since, peak)
    return Decision(peak, rule if peak == need else Rule.HELD, at if peak > need else None, need if peak > need else 0)


def _count_needed(work: Work, limits: Limits) -> tuple[int, Rule]:
    """Return how many workers the work needs, whatever the limits, and why."""
    by_time = math.ceil(work.seconds / limits.wait_s - 1e-9)
    for_photos = math.ceil((work.seconds - work.film_seconds) / limits.wait_s - 1e-9)
    by_time = min(by_time, work.films + for_photos)
    if work.running_films + for_photos > by_time:
        return work.running_films + for_photos, Rule.FILMS
    if work.waiting or work.running:
        return max(1, by_time), Rule.WORK
    # A worker that starts now is there when the first photo comes.
    return (1, Rule.COMING) if work.coming else (0, Rule.IDLE)


def _limit(need: int, rule: Rule, limits: Limits) -> tuple[int, Rule]:
    most = min(limits.most, limits.cap)
    if need > most:
        return most, Rule.MOST
    return (min(limits.least, most), Rule.LEAST) if need < limits.least else (need, rule)


def list_films(session: Session) -> list[FilmLoad]:
    """Count the unfinished films whose length is known; the cost grows with their number only."""
    key = (Job.batch_id, Job.stage, Job.state)
    rows = session.execute(
        select(*key, func.count().label("n"), func.sum(Job.frames).label("frames"))
        .join(Batch, Batch.id == Job.batch_id)
        .where(text(f"jobs.{IS_UNFINISHED_FILM.replace(' AND ', ' AND jobs.')}"), Job.state.in_(ACTIVE))
        .group_by(*key)
    )
    return [FilmLoad(row.batch_id, row.stage, row.state, row.n, int(row.frames)) for row in rows]


def assess(
    session: Session, settings: Settings, loads: Collection[Load], speeds: Speeds, live: Mapping[str, int]
) -> dict[str, Decision]:
    """Assess the demand of all fleets, and write it into their rows.

    Args:
        session: the transaction.
        settings: what the installation can have.
        loads: all active jobs (`tallies.list_loads`).
        speeds: how long work takes.
        live: workers by fleet that live and are sound.
    """
    work = measure_work(loads, list_films(session), speeds)
    at = session.scalars(select(now())).one()
    decisions = {}
    for name in FLEETS:
        fleet = session.get(Fleet, name) or _add_fleet(session, name)
        before = Decision(fleet.demand or 0, Rule.IDLE, fleet.lower_since, fleet.lower_peak or 0)
        found = decide(work[name], read_limits(fleet, settings), before, at)
        is_short = live.get(name, 0) < math.ceil(found.demand * (1 - TOLERANCE))
        fleet.demand, fleet.rule, fleet.work, fleet.assessed_at = found.demand, found.rule, asdict(work[name]), at
        fleet.lower_since, fleet.lower_peak = found.lower_since, found.lower_peak
        fleet.short_since = (fleet.short_since or at) if is_short else None
        decisions[name] = found
    return decisions


def _add_fleet(session: Session, name: str) -> Fleet:
    fleet = Fleet(name=name, wanted=1, least=_first_least(name))
    session.add(fleet)
    session.flush()  # so that it has its defaults
    return fleet


def _first_least(name: str) -> int:
    # A cpu worker also makes what people ask for while they look, such as a deep zoom.
    return 1 if name == "cpu" else 0


def read_limits(fleet: Fleet | None, settings: Settings, name: str = "") -> Limits:
    """Return a fleet's limits; those of a fleet that nobody has set follow from who starts its workers."""
    name = fleet.name if fleet else name
    cap = settings.most_workers(name)
    first = Mode.AUTOMATIC if settings.fleet_driver is Driver.KUBERNETES else Mode.FIXED
    fleet = fleet or Fleet(name=name, wanted=1, least=_first_least(name), wait_s=300.0)
    return Limits(
        mode=fleet.mode or first,
        wanted=fleet.wanted,
        least=fleet.least,
        most=cap if fleet.most is None else fleet.most,
        wait_s=fleet.wait_s,
        cap=cap,
    )


def read(session: Session, settings: Settings) -> dict[str, Demand]:
    """Read the demand of all fleets; a few rows, whatever there is to do.

    A fixed number counts at once. An automatic fleet that was not assessed yet wants its least.
    """
    rows = {fleet.name: fleet for fleet in session.scalars(select(Fleet))}
    at = session.scalars(select(now())).one()
    return {name: _read_one(rows.get(name), read_limits(rows.get(name), settings, name), name, at) for name in FLEETS}


def _read_one(fleet: Fleet | None, limits: Limits, name: str, at: datetime) -> Demand:
    assessed_at = fleet.assessed_at if fleet else None
    short_since = fleet.short_since if fleet else None
    wanted = min(limits.least, limits.most, limits.cap)
    rule = Rule.LEAST if wanted else Rule.IDLE
    if limits.mode is Mode.FIXED:
        found = decide(Work(), limits, Decision(), at)
        wanted, rule = found.demand, found.rule
    elif fleet and fleet.demand is not None:
        wanted, rule = min(fleet.demand, limits.most, limits.cap), Rule(fleet.rule or Rule.WORK)
    return Demand(
        name=name,
        limits=limits,
        wanted=wanted,
        rule=rule,
        work=_read_work(fleet.work if fleet else None),
        assessed_at=assessed_at,
        short_since=short_since,
        is_unmet=short_since is not None and at - short_since > timedelta(seconds=UNMET_S),
    )


def _read_work(stored: dict[str, float] | None) -> Work:
    """Read what the dispatcher stored; another version's may know more or less."""
    return Work(**{name: n for name, n in (stored or {}).items() if name in Work.__dataclass_fields__})  # type: ignore[arg-type]


def require_fresh(demand: Demand, at: datetime) -> Demand:
    """Return the demand if it is of now.

    Raises:
        DemandUnknown: it was made too long ago; whoever scales by it should change nothing.
    """
    if demand.limits.mode is Mode.AUTOMATIC:
        known = demand.assessed_at
        if known is None or at - known > timedelta(seconds=STALE_S):
            raise DemandUnknown("No dispatcher has assessed the work in the last minute. Keep the workers that run.")
    return demand


def _explain(demand: Demand) -> str:
    limits, work = demand.limits, demand.work
    if limits.mode is Mode.FIXED:
        if demand.rule is Rule.MOST:
            return f"The operator wants {limits.wanted}; this installation can have {limits.cap} at most."
        return "The operator has set this number."
    amount = f"{work.seconds:,.0f} s of work wait or run; one worker does {limits.wait_s:,.0f} s while work may wait."
    amount = amount if work.waiting or work.running else "Nothing waits or runs."
    most = min(limits.most, limits.cap)
    of_whom = "this installation can have" if limits.cap < limits.most else "the operator allows"
    return {
        Rule.IDLE: "Nothing waits or runs.",
        Rule.COMING: f"Nothing waits here yet, but work is coming: {work.coming:,} at the stages before.",
        Rule.WORK: amount,
        Rule.FILMS: f"{amount} Each film that runs, {work.running_films} in all, keeps a worker.",
        Rule.LEAST: f"{amount} The operator wants {limits.least} at least.",
        Rule.MOST: f"{amount} No more than {most} are wanted: {of_whom} no more.",
        Rule.HELD: f"{amount} Fewer would do; they are let go once that has been so for {SCALE_IN_S / 60:.0f} min.",
    }.get(demand.rule, amount)
