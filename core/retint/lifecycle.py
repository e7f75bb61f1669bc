"""The life cycle of a job: its stages, its states, and the moves between them. No I/O; `jobs` carries out the moves."""

import random
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Stage(StrEnum):
    """A step of the pipeline; the members are in the order of the pipeline."""

    INGEST = "ingest"
    COLORIZE = "colorize"
    DEFADE = "defade"
    RENDER = "render"

    @property
    def next(self) -> "Stage | None":
        """The stage after this one; None after the last."""
        following = STAGES[STAGES.index(self) + 1 :]
        return following[0] if following else None


STAGES: Final = tuple(Stage)

QUEUES: Final[dict[Stage, str]] = {
    Stage.INGEST: "cpu",
    Stage.COLORIZE: "gpu",
    Stage.DEFADE: "gpu",
    Stage.RENDER: "cpu",
}
"""Fleet that runs each stage."""

FLEETS: Final = ("cpu", "gpu")
MOST_WORKERS: Final = 1000
"""Most workers that a fleet may be asked to have."""
FIRST_WAIT_S: Final = 300.0
"""How long work may wait for an automatic fleet, until an operator says otherwise."""


class Mode(StrEnum):
    """Who decides how many workers a fleet has."""

    FIXED = "fixed"
    """The operator, by a number."""
    AUTOMATIC = "automatic"
    """The demand, between limits that the operator sets."""


class State(StrEnum):
    """Where a job stands in its stage."""

    READY = "ready"
    QUEUED = "queued"
    RUNNING = "running"
    QUARANTINED = "quarantined"
    RESTORED = "restored"
    REFUSED = "refused"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether the job has ended. A quarantined one waits for an administrator."""
        return self in FINAL


class Verdict(StrEnum):
    """What a reviewer says of a result. Beside the state, and never part of it."""

    UNJUDGED = "unjudged"
    APPROVED = "approved"
    REJECTED = "rejected"
    REWORK = "rework"


FINAL: Final = frozenset({State.RESTORED, State.REFUSED, State.CANCELLED})
ACTIVE: Final = frozenset({State.READY, State.QUEUED, State.RUNNING})

IN_FLIGHT_PHASE: Final = "in_flight"
"""Phase of the queued and running jobs of every stage."""
READY_PHASES: Final = {stage: f"ready_{stage}" for stage in STAGES}
"""Phase of the ready jobs of each stage."""


def phases_of(state: State) -> tuple[str, ...]:
    """Return the phases that a job in this state may have.

    A phase is what indexes know of a job's cursor. It is the same for all stages while a job is queued and running: so
    most moves change no index (on PostgreSQL they are heap-only updates). The database derives it from the cursor.
    """
    if state in (State.QUEUED, State.RUNNING):
        return (IN_FLIGHT_PHASE,)
    return tuple(READY_PHASES.values()) if state is State.READY else (state.value,)


FAULT_LIMIT: Final = 3
"""Attempts of one stage that may end in a fault or an expired lease before the job is quarantined."""


class Outcome(StrEnum):
    """How an attempt ended."""

    DONE = "done"
    REFUSED = "refused"
    FAULT = "fault"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


MOVES: Final[dict[State, frozenset[State]]] = {
    State.READY: frozenset({State.QUEUED, State.RUNNING, State.RESTORED, State.QUARANTINED, State.CANCELLED}),
    State.QUEUED: frozenset({State.RUNNING, State.READY, State.QUARANTINED, State.CANCELLED}),
    State.RUNNING: frozenset(
        {
            State.RUNNING,
            State.QUEUED,
            State.READY,
            State.RESTORED,
            State.REFUSED,
            State.QUARANTINED,
            State.CANCELLED,
        }
    ),
    State.QUARANTINED: frozenset({State.READY, State.CANCELLED}),
    State.RESTORED: frozenset(),
    State.REFUSED: frozenset(),
    State.CANCELLED: frozenset(),
}
"""For each state, the states that one move may lead to."""


@dataclass(frozen=True)
class Position:
    """A job's cursor (stage and state), and how many attempts of the stage ended in faults."""

    stage: Stage
    state: State
    faults: int = 0


def next_position(stage: Stage, faults: int, outcome: Outcome) -> Position:
    """Return the position of a running job after its attempt.

    Args:
        stage: stage of the attempt.
        faults: attempts of this stage that ended in faults before this one.
        outcome: how the attempt ended.
    """
    if outcome is Outcome.DONE:
        return Position(stage.next, State.QUEUED) if stage.next else Position(stage, State.RESTORED)
    if outcome is Outcome.REFUSED:
        return Position(stage, State.REFUSED, faults)
    if outcome is Outcome.CANCELLED:
        return Position(stage, State.CANCELLED, faults)
    state = State.READY if faults + 1 < FAULT_LIMIT else State.QUARANTINED
    return Position(stage, state, faults + 1)


def backoff(faults: int, first_s: float) -> float:
    """Return the seconds to wait after the nth fault: exponential backoff with jitter (a factor of 0.5 to 1.5)."""
    return first_s * 2.0 ** (faults - 1) * random.uniform(0.5, 1.5)  # noqa: S311
