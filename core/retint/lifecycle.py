"""The life of a job: its stages, its states, and the moves between them. Pure; `jobs` carries them out."""

import random
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Stage(StrEnum):
    """A step of the pipeline, in the order of a photo's way."""

    INGEST = "ingest"
    COLORIZE = "colorize"
    DEFADE = "defade"
    RENDER = "render"

    @property
    def next(self) -> "Stage | None":
        """The stage after this one; none after the last."""
        following = STAGES[STAGES.index(self) + 1 :]
        return following[0] if following else None


STAGES: Final = tuple(Stage)

QUEUES: Final[dict[Stage, str]] = {
    Stage.INGEST: "cpu",
    Stage.COLORIZE: "gpu",
    Stage.DEFADE: "gpu",
    Stage.RENDER: "cpu",
}
"""Which fleet runs a stage."""

FLEETS: Final = ("cpu", "gpu")


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


FINAL: Final = frozenset({State.RESTORED, State.REFUSED, State.CANCELLED})
ACTIVE: Final = frozenset({State.READY, State.QUEUED, State.RUNNING})

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
    State.READY: frozenset({State.QUEUED, State.RUNNING, State.QUARANTINED, State.CANCELLED}),
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
"""From each state, the states that one move may lead to."""


@dataclass(frozen=True)
class Position:
    """Where a job stands: the cursor, and how many attempts of this stage ended in faults."""

    stage: Stage
    state: State
    faults: int = 0


def next_position(stage: Stage, faults: int, outcome: Outcome) -> Position:
    """Tell where a running job stands when its attempt has ended.

    Args:
        stage: the stage that was attempted.
        faults: attempts of this stage that had ended in faults before this one.
        outcome: how it ended.
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
    """Tell how many seconds to wait after the nth fault: doubled each time, times 0.5 to 1.5 by chance."""
    return first_s * 2.0 ** (faults - 1) * random.uniform(0.5, 1.5)  # noqa: S311
