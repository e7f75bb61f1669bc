"""What the API answers to those who rule the house: workers, queues, fleets, failures."""

from datetime import datetime
from uuid import UUID

from pydantic import Field

from retint.lifecycle import Stage, State
from retint_web.api.responses import Answer


class Worker(Answer):
    """A process that runs stages."""

    id: UUID
    fleet: str
    host: str
    pid: int
    device: str
    version: str
    activity: str = Field(description="What it does now; empty if idle.")
    trouble: str | None = Field(description="Why it claims nothing, a sentence; null for a sound worker.")
    trouble_since: datetime | None
    started_at: datetime
    heartbeat_at: datetime


class Workers(Answer):
    """The running workers."""

    items: list[Worker]


class Queue(Answer):
    """The jobs that wait or run at one stage."""

    stage: Stage
    fleet: str
    ready: int
    queued: int
    running: int
    oldest_s: float = Field(description="How long the oldest job has waited, in seconds.")


class Queues(Answer):
    """The queues of all stages."""

    items: list[Queue]


class Fleet(Answer):
    """The workers of one queue."""

    name: str
    wanted: int
    live: int


class FailureGroup(Answer):
    """Jobs that failed for one reason."""

    reason_code: str
    reason: str = Field(description="The sentence of one of these jobs.")
    state: State
    count: int
    batches: int


class Failures(Answer):
    """Failed jobs by reason."""

    items: list[FailureGroup]


class RetriedJobs(Answer):
    """How many jobs are retried."""

    retried: int
    complete: bool = Field(description="False while more follow, some thousand in a second.")


class Sweep(Answer):
    """The sweep of the store, which deletes what nothing names."""

    started_at: datetime | None = Field(description="When the present round began; null before the first.")
    looked_at: int = Field(description="Files of this round.")
    deleted: int = Field(description="Orphans deleted in this round.")
    kept: dict[str, int] = Field(description="Files of this round that stay, by why.")
    stopped_code: str | None = Field(description="`too_many` or `wrong_store`; null while it goes on.")
    stopped: str | None = Field(description="Why it stopped and waits for an operator, in a sentence.")
