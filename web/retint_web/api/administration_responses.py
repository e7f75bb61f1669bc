"""What the API answers to those who rule the house: workers, queues, fleets, failures."""

from datetime import datetime
from uuid import UUID

from pydantic import Field

from retint.demand import Rule
from retint.lifecycle import Mode, Stage, State
from retint.settings import Driver
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
    mode: Mode
    wanted: int = Field(description="Workers that it should have now.")
    live: int
    least: int
    most: int
    wait_s: float
    cap: int = Field(description="Most that this installation can have.")
    driver: Driver = Field(description="Who starts and stops its workers.")


class Demand(Answer):
    """How many workers a fleet should have now, and why."""

    name: str
    wanted: int = Field(description="What an autoscaler scales to.")
    why: str
    rule: Rule = Field(description="What decided it.")
    live: int
    work_s: float = Field(description="A worker's time for all that waits and runs; paused batches left out.")
    wait_s: float = Field(description="How long work may wait: so much of the work is one worker's share.")
    waiting: int = Field(description="Jobs that are ready or queued.")
    running: int
    coming: int = Field(description="Jobs at stages of the other fleet that come here later.")
    least: int
    most: int
    assessed_at: datetime | None
    short_since: datetime | None = Field(description="Since when fewer workers live than wanted; null if enough do.")
    is_unmet: bool = Field(description="Whether that is longer than starting takes: no machine can be had.")


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
